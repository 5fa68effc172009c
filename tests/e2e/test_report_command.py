"""The command report: text that fits a terminal, JSON, CSV and HTML, on SQLite and Postgres, of tables and of events."""

from __future__ import annotations

import csv
import io
import re
from decimal import Decimal
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from ledger import CashMoved, FillRecorded, Ledger
from ledger.clock import ClockRule
from ledger.importer import ImportOptions, import_files
from ledger.marks import Mark
from ledger.reports.build import report_of_events, report_of_tables
from ledger.reports.html import report_html
from tests.support.commands import run
from tests.support.journals import new_url
from tools.samples.account import make_history
from tools.samples.render import LOGIN, SERVER, render_html
from tools.testkit.facts import ACCOUNT, START_MSC, START_US, cash, fill, opened

NAME = f"{SERVER}/{LOGIN}"
EVIL = "<script>alert('\u202e')</script>\"&'"


def filled(url: str, folder: Path) -> str:
    """Fill a journal with an invented account."""
    file = folder / "history.html"
    file.write_bytes(render_html(make_history(7, "hedging", 300), "en", columns=15))
    with Ledger.create(url) as ledger:
        list(import_files(ledger, [file], options=ImportOptions(clock=ClockRule("ny-close"))))
    return url


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("report")
    return filled(f"sqlite:///{folder}/desk.db", folder)


@pytest.fixture
def hostile(tmp_path: Path) -> str:
    """A journal whose broker gives a symbol a hostile name."""
    url = f"sqlite:///{tmp_path}/hostile.db"
    with Ledger.create(url, now_us=lambda: START_US + 10**12) as ledger:
        account = ledger.account(ACCOUNT)
        about = {"symbol": EVIL, "position_id": 5}
        closing = fill(6, 9, side="sell", entry="out", profit=-3, **about)
        account.record_many([opened(), cash(1, profit=1000), fill(5, 5, **about), closing])
        account.record(fill(8, 20, symbol="=1+1", profit=None))
        for second, equity in ((1, 1000), (10, 900)):
            ledger.journal.save_mark(ACCOUNT, Mark(at_us=(START_MSC + second * 1000) * 1000, equity=Decimal(equity)))
    return url


# ------------------------------------------------------------------------------------------------------------------ text


def test_the_text_has_both_groups_the_sum_the_figures_and_those_of_mt5(url: str) -> None:
    ran = run("report", journal=url)
    text = ran.text
    assert ran.code == 0
    assert f"{NAME} USD hedging, server clock ny-close\nreport by month (server days)\nat version 302, head " in text
    titles = ("money, by deal time", "trades, when they closed", "by position (over its whole life)", "as MT5 counts (by clo")
    assert [title in text for title in titles] == [True] * 4
    (line,) = re.findall(r"^start .* = end .*$", text, re.MULTILINE)
    numbers = [Decimal(one) for one in re.findall(r"-?[0-9.]+", line)]
    assert sum(numbers[:-1]) == numbers[-1]
    assert "without drawdown on equity: no sample of equity is stored for the period" in text


@pytest.mark.parametrize("words", [(), ("--by", "day"), ("--by", "symbol"), ("--by", "week", "--symbol", "EURUSD")])
def test_a_terminal_of_80_columns_cuts_no_figure(url: str, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]) -> None:
    piped = run("report", *words, journal=url).text
    monkeypatch.setattr("ledger.cli.streams.Stream.isatty", lambda _: True)
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "80")
    shown = run("report", *words, journal=url).text
    assert max(map(len, shown.splitlines())) <= 80
    assert "\u2026" not in shown
    assert set(re.findall(r"\S*\d\S*", shown)) >= set(re.findall(r"\S*\d\S*", piped))


def test_a_narrow_terminal_gets_the_columns_in_several_tables(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ledger.cli.streams.Stream.isatty", lambda _: True)
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "40")
    shown = run("report", journal=url).text
    assert "money, by deal time (continued)" in shown
    assert shown.count("\ntotal ") > 2


def test_what_is_not_known_is_marked(hostile: str) -> None:
    text = run("report", "--by", "symbol", journal=hostile).text
    assert re.search(r"^=1\+1 +0\.00\?", text, re.MULTILINE)
    assert "? 1 deals whose money is not known in full" in text
    assert "\u202e" not in text
    assert re.search(r"^on equity +100\.00  10\.00 %", text, re.MULTILINE)


def test_an_empty_journal_and_an_empty_period_are_no_errors(tmp_path: Path, url: str) -> None:
    Ledger.create(f"sqlite:///{tmp_path}/empty.db").close()
    assert run("report", journal=f"sqlite:///{tmp_path}/empty.db").text == "no accounts yet\n"
    ran = run("report", "--since", "2040-01-01", journal=url)
    assert (ran.code, "nothing was booked and no trade closed in this period" in ran.text) == (0, True)


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("--by", "year"), "'year' is not one of"),
        (("--day", "Mars"), "a day is of the clock server, utc or a zone"),
        (("--json", "--csv"), "several formats: choose one"),
        (("--since", "2026-01-02", "--until", "2026-01-01"), "the period ends before it begins"),
        (("--account", "No/1"), "account No/1 is not in this journal"),
    ],
)
def test_wrong_use_is_refused(url: str, words: tuple[str, ...], complaint: str) -> None:
    ran = run("report", *words, journal=url)
    assert (ran.code, complaint in ran.text) == (2, True)


def test_figures_that_do_not_add_up_end_with_1(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ledger.portfolio.Portfolio.money_units", (1, 0))
    ran = run("report", journal=url)
    assert ran.code == 1
    assert "differ from the end balance by" in ran.err.decode()


# -------------------------------------------------------------------------------------------------------- for programs


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_every_journal_and_both_sources_give_the_same_report(kind: str, tmp_path: Path, url: str) -> None:
    other = filled(new_url(kind, tmp_path), tmp_path)
    asked: list[dict[str, Any]] = [
        {"by": by} | period
        for by in ("month", "week", "day", "weekday", "symbol", "magic", "side")
        for period in ({}, {"since": "2024-01-10", "until": "2024-01-20"}, {"symbols": ["EURUSD"]})
    ]
    with Ledger.open(url) as first, Ledger.open(other) as second:
        (ours,), (theirs,) = first.accounts(), second.accounts()
        theirs.derived.catch_up()
        for how in asked:
            expected = ours.report(**how)
            found = theirs.report(**how)
            assert report_of_tables(theirs, found.question) == report_of_events(theirs, found.question) == found
            assert (found.money, found.trades, found.buckets) == (expected.money, expected.trades, expected.buckets)
            assert (found.drawdown, found.series, found.ratios) == (expected.drawdown, expected.series, expected.ratios)
            assert found.results == expected.results


def test_json_and_csv_have_the_same_figures(url: str) -> None:
    report = run("report", "--by", "week", "--json", journal=url).json()
    (account,) = report["accounts"]
    rows = list(csv.DictReader(io.StringIO(run("report", "--by", "week", "--csv", journal=url).out.decode())))
    assert [row["bucket"] for row in rows] == [one["bucket"] for one in account["buckets"]]
    for row, one in zip(rows, account["buckets"], strict=True):
        assert row["account"] == NAME
        for group in ("money", "trades"):
            for name, value in one[group].items():
                assert f"{group}_{name}" not in row or row[f"{group}_{name}"] == ("" if value is None else str(value))
    assert account["money"]["end"] == run("balance", "--json", journal=url).json()[0]["balance"]
    assert report["totals"][0]["money"] == account["money"]


def test_with_a_filter_there_is_no_balance_and_the_reason_is_given(url: str) -> None:
    (account,) = run("report", "--symbol", "EURUSD", "--json", journal=url).json()["accounts"]
    assert [account["money"][name] for name in ("start", "flows", "other", "adjusted", "end")] == [None] * 5
    assert (account["ratios"], account["results"], account["drawdown"]["equity"]) == (None, None, None)
    assert set(account["unavailable"]) == {"equity", "ratios", "results"}


# ------------------------------------------------------------------------------------------------------------------ HTML


class Page(HTMLParser):
    """What a page is made of."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def test_the_page_is_one_file_without_scripts_and_outside_resources(url: str, tmp_path: Path) -> None:
    file = tmp_path / "report.html"
    ran = run("report", "--html", str(file), journal=url)
    assert (ran.code, ran.text) == (0, f"written to {file}\n")
    text = file.read_text(encoding="utf-8")
    page = Page(text)
    assert not {"script", "link", "img", "iframe", "object", "base", "form"} & {tag for tag, _ in page.tags}
    assert not re.search(r"(?:https?:)?//|url\(|@import|\bon\w+=", text)
    named = {name for _, attributes in page.tags for name in attributes}
    assert not {"src", "srcset", "action"} & named
    figures = [attributes for tag, attributes in page.tags if tag == "figure"]
    assert len(figures) == 3
    ids = {attributes.get("id") for _, attributes in page.tags}
    drawings = [attributes for tag, attributes in page.tags if tag == "svg"]
    for one in (*figures, *drawings):
        assert set(f"{one['aria-labelledby']} {one.get('aria-describedby', '')}".split()) <= ids
    (account,) = run("report", "--json", journal=url).json()["accounts"]
    words = " ".join(page.words)
    assert f"{Decimal(account['money']['end']):,}" in words
    assert account["head"] in words
    assert "Balance Drawdown Maximal" in words


def test_the_command_on_the_page_makes_the_same_page_also_when_more_is_recorded(tmp_path: Path) -> None:
    url = filled(f"sqlite:///{tmp_path}/desk.db", tmp_path)
    first, second = tmp_path / "1.html", tmp_path / "2.html"
    with Ledger.open(url) as ledger:  # samples are taken after the newest event, too
        newest_us = ledger.accounts()[0].report().recorded_us
        for later_ms, equity in ((1, 1000), (2, 900)):
            mark = Mark(at_us=newest_us + later_ms * 1000, equity=Decimal(equity))
            ledger.journal.save_mark(ledger.accounts()[0].name, mark)
    run("report", "--html", str(first), "--by", "week", "--since", "2024-01-05", journal=url)
    (command,) = re.findall("<pre>ledger (.*?)</pre>", first.read_text(encoding="utf-8"))
    with Ledger.open(url) as ledger:
        ledger.accounts()[0].record(cash(900_000, profit=77))
    assert run(*command.split(), "--html", str(second), journal=url).code == 0
    strip = re.compile("<header>.*?</header>|<footer>.*?</footer>", re.DOTALL)
    assert strip.sub("", first.read_text(encoding="utf-8")) == strip.sub("", second.read_text(encoding="utf-8"))


def test_text_from_the_broker_is_text_on_the_page(hostile: str, tmp_path: Path) -> None:
    file = tmp_path / "report.html"
    assert run("report", "--by", "symbol", "--html", str(file), journal=hostile).code == 0
    text = file.read_text(encoding="utf-8")
    page = Page(text)
    assert "script" not in {tag for tag, _ in page.tags}
    assert "\u202e" not in text
    assert "<script>alert('\\u202e')</script>\"&'" in page.words
    words = " ".join(page.words)
    assert "1 deals whose money is not known in full" in words
    assert re.search(r"balance went from 0\.00 USD to 997\.00\? USD; .* The deepest fall was 3\.00\? USD", words, re.DOTALL)


def test_a_file_that_is_no_report_is_only_replaced_when_asked(url: str, tmp_path: Path) -> None:
    file = tmp_path / "mine.html"
    file.write_text("mine", encoding="utf-8")
    refused = run("report", "--html", str(file), journal=url)
    assert (refused.code, file.read_text(encoding="utf-8")) == (2, "mine")
    for words in (("--force",), ()):
        assert run("report", "--html", str(file), *words, journal=url).code == 0
    database = url.removeprefix("sqlite:///")
    assert run("report", "--html", database, "--force", journal=url).code == 2


def test_the_curve_shows_the_exact_extremes_of_many_deals() -> None:
    deals: list[CashMoved | FillRecorded] = [
        cash(1, profit=10**6),
        *(fill(at, at * 977, profit=(at * 37) % 101 - 50) for at in range(2, 4000)),
    ]
    account = Ledger.open("memory://", now_us=lambda: START_US + 10**13).account(ACCOUNT)
    account.record(opened())
    account.record_many(deals)
    report = account.report(with_curve=True)
    assert report.curve is not None
    columns = report.curve.columns
    assert 700 < len(columns) <= 1600
    balances, balance = [], Decimal(0)
    for deal in deals:
        balance += deal.profit or 0
        balances.append(balance)
    assert (max(one.high for one in columns), min(one.low for one in columns)) == (max(balances), min(balances))
    assert columns[-1].last == balances[-1] == report.money.end
    assert report.drawdown.relative is not None
    assert max(one.fall_percent or 0 for one in columns) == report.drawdown.relative.percent
    assert len(report_html(account.ledger.report(with_curve=True), command=["ledger"])) < 200_000


def test_several_accounts_follow_one_another_with_a_total_for_each_currency(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/desk.db"
    with Ledger.create(url, now_us=lambda: START_US + 10**12) as ledger:
        for login, currency in ((1, "USD"), (2, "USD"), (3, "JPY")):
            account = ledger.account(f"Broker/{login}")
            account.record(opened(account.name, currency=currency, currency_digits=0 if currency == "JPY" else 2))
            account.record_many([cash(1), fill(2), fill(3, 1, side="sell", entry="out", position_id=2, profit=login)])
    text = run("report", journal=url).text
    heads = re.findall(r"^(Broker/\d \w+|all .*)", text, re.MULTILINE)
    assert heads == ["Broker/1 USD", "Broker/2 USD", "Broker/3 JPY", "all 2 accounts in USD"]
    assert "start 0.00 + flows 200.00 + net 3.00 = end 203.00" in text
    assert run("report", "--account", "Broker/2", "--account", "Broker/3", journal=url).text.count("server clock") == 2
    file = tmp_path / "report.html"
    assert run("report", "--by", "symbol", "--html", str(file), journal=url).code == 0
    page = Page(file.read_text(encoding="utf-8"))
    links = [attributes["href"] for tag, attributes in page.tags if tag == "a"]
    assert links == ["#account-1", "#account-2", "#account-3", "#total-1"]
    assert {f"#{attributes.get('id')}" for tag, attributes in page.tags if tag == "section"} == set(links)
    words = " ".join(page.words)
    assert "1 of 1 were above 0. The best was EURUSD with 3.00 USD" in words
    assert "no symbol with" not in words
