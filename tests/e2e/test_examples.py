"""Every example that a command's help gives is a command that runs, on an account as the examples speak of it."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import click
import duckdb
import pytest

from ledger import AccountId, CashMoved, FillRecorded, Ledger
from ledger.cli import COMMANDS, cli
from tests.support.commands import run
from tools.samples.history import make_history, render_html, render_xlsx

LIVE, PROP = AccountId("Broker-Live", 70113), AccountId("Prop-2", 881)
START = 1_780_272_000_000  # 2026-06-01, of the server's clock, which is UTC
#: What starts a server, speaks to a terminal or gateway that is not there, waits for ever or makes keys for other machines.
ELSEWHERE = {"sync", "drift", "sandbox", "gateway", "keys", "doctor", "page"}
OTHER_FILES = (
    "deals.csv", "tester.html", "engine.key", "desk.seal", "2026-06-15.seal", "desk-2026-06-15.db", "seal.pub.pem",
    "gateway.key", "engine.key_secret", "keys/seal.pub.pem", "keys/seal.pem", "keys/bob.pem", "accounts.csv",
)  # fmt: skip
#: Exit codes of answers: the account of the examples is not synced, and differs from itself at other moments.
ANSWERS = {"status": {0, 1, 5}, "compare": {0, 1}, "orders": {0, 1}}


def examples() -> Iterator[tuple[str, str]]:
    """Yield each line of each command's help that calls the program, with its command."""
    context = click.Context(cli)
    found: dict[str, click.Command] = {name: cli.get_command(context, name) for name in COMMANDS}  # type: ignore[misc]
    for name, command in list(found.items()):
        if isinstance(command, click.Group):
            found |= {f"{name} {inner}": command.commands[inner] for inner in command.commands}
    for name, command in found.items():
        for line in (command.help or "").splitlines():
            if re.match(r"(ledger|duckdb) ", line.strip()):
                yield name, re.split(r"  {2,}", line.strip())[0].removesuffix("\\").strip()


EXAMPLES = sorted(set(examples()))


@pytest.fixture(scope="module")
def desk(tmp_path_factory) -> Path:
    """Make the folder that the examples speak of: an account with its position, deal and versions, and the files."""
    folder = tmp_path_factory.mktemp("examples")
    now = [(START + 20 * 86_400_000) * 1000]

    def tick() -> int:
        now[0] += 1000
        return now[0]

    with Ledger.create(f"sqlite:///{folder / 'desk.db'}", now_us=tick) as ledger:
        for name, currency in ((LIVE, "USD"), (PROP, "EUR")):
            account = ledger.account(name)
            account.open(currency=currency, mode="hedging", time_msc=START)
            account.record_many(
                [
                    CashMoved(deal=1, time_msc=START, type=2, profit=10_000),
                    *fills(466442493, 5000),
                    *fills(50629002942, 5002)[:1],
                ]
            )
        ledger.account(LIVE).record_many([one for n in range(700) for one in fills(n + 1, 10_000 + 2 * n, n)])
    history = make_history(seed=3, mode="hedging", deals=60)
    (folder / "keys").mkdir()
    (folder / "archive").mkdir()
    for file, content in {
        "history.html": render_html(history), "ReportHistory-70113.html": render_html(history),
        "ReportHistory.html": render_html(history), "june.xlsx": render_xlsx(history), "july.xlsx": render_xlsx(history),
        "limits.toml": b"volume_per_order_max = 0.50\n",
        **dict.fromkeys(OTHER_FILES, b""),
    }.items():  # fmt: skip
        (folder / file).write_bytes(content)
    return Path(folder)


def fills(position: int, deal: int, minutes: int = 0) -> list[FillRecorded]:
    common: dict[str, Any] = {
        "symbol": "EURUSD", "volume": "0.10", "price": "1.1", "commission": 0, "fee": 0, "swap": 0, "position_id": position,
        "order": position,
    }  # fmt: skip
    begin = START + 3_600_000 + minutes * 60_000
    return [
        FillRecorded(deal=deal, time_msc=begin, side="buy", entry="in", profit=0, **common),
        FillRecorded(deal=deal + 1, time_msc=begin + 1000, side="sell", entry="out", profit="1.25", **common),
    ]


def words_of(line: str) -> list[str]:
    """Return the words of the first command of a line, without what a shell does with it."""
    words = shlex.split(line, posix=True)
    ends = [at for at, word in enumerate(words) if word in ("|", "||", "&&", ">", "<", "\\")]
    return words[1 : min(ends, default=len(words))]


@pytest.mark.parametrize(("command", "line"), [one for one in EXAMPLES if one[1].startswith("ledger ")], ids=str)
def test_the_words_of_an_example_are_the_ones_that_its_command_takes(command, line, desk, monkeypatch):
    monkeypatch.chdir(desk)
    words, context = words_of(line), click.Context(cli, obj=None)
    found: Any = cli
    while isinstance(found, click.Group) and words and (inner := found.get_command(context, words[0])):
        found, words = inner, words[1:]
        context = click.Context(found, parent=context, info_name=found.name)
    assert not isinstance(found, click.Group) or found.invoke_without_command, line
    with found.make_context(found.name, list(words), parent=context.parent):
        pass


READING = ("positions", "trades", "balance", "log", "replay", "explain", "compare", "status", "breaks", "orders", "limits")
ASKED = [
    line
    for command, line in EXAMPLES
    if command.split()[0] in READING and line.startswith("ledger ") and not re.search("--follow|--evidence| set ", line)
]


@pytest.mark.parametrize("line", ASKED)
def test_an_example_that_asks_something_gets_an_answer(line, desk):
    words = words_of(line)
    ran = run(*words, journal=f"sqlite:///{desk / 'desk.db'}")
    assert ran.code in ANSWERS.get(words[0], {0}), ran.text
    assert ran.out or "--quiet" in words


def test_every_kind_of_example_was_found():
    assert {command.split()[0] for command, _ in EXAMPLES} >= {*READING, *ELSEWHERE} - {"gateway"}
    assert len(ASKED) >= 25


SUMS = sorted({line for _, line in EXAMPLES if line.startswith("duckdb ")})


@pytest.mark.parametrize("line", SUMS)
def test_an_example_that_adds_up_adds_up_what_counts_and_no_two_currencies(line, desk, monkeypatch):
    """Deposits are no profit, a completed deal counts once, and dollars and euros have a row each."""
    monkeypatch.chdir(desk)
    url = f"sqlite:///{desk / 'desk.db'}"
    (desk / "trades.csv").write_bytes(run("trades", "--csv", journal=url).out)
    assert run("export", "--out", "desk.parquet", "--force", journal=url).code == 0
    (query,) = (word for word in shlex.split(line) if word.startswith("SELECT"))
    with duckdb.connect() as database:
        rows = database.execute(query).fetchall()
    assert rows
    if "sum(" in query:
        (live, prop) = (run("trades", "--json", "--account", str(name), journal=url).json() for name in (LIVE, PROP))
        nets = {name: sum(Decimal(one["profit"]) for one in items) for name, items in (("USD", live), ("EUR", prop))}
        assert {row[0]: round(Decimal(row[-1]), 2) for row in rows} == nets
