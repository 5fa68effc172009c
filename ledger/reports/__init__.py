"""Reports: what an account earned, by month or symbol, as people compare it with the terminal's own report.

``account.report(...)`` and ``ledger.report(...)`` return frozen values. Money is counted by deal time and adds up exactly;
trades are counted when they close, with the net of their whole life; beside them are the figures that MT5 prints, counted as
MT5 counts.
"""

from __future__ import annotations

from ledger.performance.values import (
    Drawdown,
    EquityDrawdown,
    Fall,
    Money,
    Ratios,
    Series,
    Trades,
    add_money,
    add_trades,
    join_money,
)
from ledger.reports.build import BY, account_report, make_question, report, total_of
from ledger.reports.values import AccountReport, Bucket, CurrencyTotal, Question, Report

__all__ = [
    "BY",
    "AccountReport",
    "Bucket",
    "CurrencyTotal",
    "Drawdown",
    "EquityDrawdown",
    "Fall",
    "Money",
    "Question",
    "Ratios",
    "Report",
    "Series",
    "Trades",
    "account_report",
    "add_money",
    "add_trades",
    "join_money",
    "make_question",
    "report",
    "total_of",
]
