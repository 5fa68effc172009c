"""This script is an invented trading account, written to a file as a terminal would.

    python3 tools/samples/history.py --mode hedging --deals 60 --seed 7 --format html --out report.html

The same seed gives the same bytes.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # Python looks in the folder of a script, not in the project

from tools.dev import python_check  # noqa: F401  # stops a Python that is too old
from tools.samples.account import Closed, Deal, History, Open, Order, Symbol, make_history
from tools.samples.render import LANGUAGES, LOGIN, SERVER, render_csv, render_html, render_xlsx

__all__ = [
    "LANGUAGES",
    "LOGIN",
    "SERVER",
    "Closed",
    "Deal",
    "History",
    "Open",
    "Order",
    "Symbol",
    "make_history",
    "render_csv",
    "render_html",
    "render_xlsx",
]


def main(arguments: Sequence[str] | None = None) -> int:
    """Write one file, or the bytes to standard output."""
    parser = argparse.ArgumentParser(description="Write an invented account's history as a terminal would.")
    parser.add_argument("--mode", choices=("hedging", "netting"), default="hedging")
    parser.add_argument("--deals", type=int, default=60, help="how many deals the account has (default 60)")
    parser.add_argument("--seed", type=int, default=1, help="the same seed gives the same bytes (default 1)")
    parser.add_argument("--format", choices=("html", "xlsx", "csv"), default="html")
    parser.add_argument("--language", choices=LANGUAGES, default="en")
    parser.add_argument("--currency", default="USD", help="account currency (default USD)")
    parser.add_argument("--columns", type=int, choices=(13, 14, 15), help="columns of the deals table")
    parser.add_argument("--from-deal", type=int, default=0, help="leave out so many deals at the beginning (date filter)")
    parser.add_argument("--to-deal", type=int, help="stop before this deal: an earlier export of the same account")
    parser.add_argument("--big-tickets", action="store_true", help="tickets of more than 32 bits")
    parser.add_argument("--out", type=Path, help="file to write; standard output without it")
    given = parser.parse_args(arguments)
    history = make_history(
        given.seed, given.mode, given.deals, currency=given.currency, fees=given.columns != 13,
        big_tickets=given.big_tickets,
    ).window(given.from_deal, given.to_deal)  # fmt: skip
    if given.format == "csv":
        data = render_csv(history)
    elif given.format == "html":
        data = render_html(history, given.language, columns=given.columns or 15)
    else:
        data = render_xlsx(history, given.language, columns=given.columns or 14)
    if given.out:
        given.out.write_bytes(data)
    else:
        sys.stdout.buffer.write(data)
    return 0


if __name__ == "__main__":
    sys.exit(main())
