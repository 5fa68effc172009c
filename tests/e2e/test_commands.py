"""The commands as a person types them: real processes, real files, exit codes, what is printed where."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
from decimal import Decimal
from pathlib import Path

import pytest

from tools.samples.history import make_history, render_html, render_xlsx


class Desk:
    """A folder with a journal's name, in which commands are run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.journal = folder / "desk.db"
        self.url = f"sqlite:///{self.journal}"

    def run(self, *words: str, code: int = 0, journal: bool = True, **environment: str) -> str:
        done = self.process(*words, journal=journal, **environment)
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout if code == 0 else done.stdout + done.stderr

    def process(self, *words: str, journal: bool = True, **environment: str) -> subprocess.CompletedProcess[str]:
        inherited = {name: value for name, value in os.environ.items() if name not in ("LEDGER_JOURNAL", "NO_COLOR")}
        settings = {"LEDGER_JOURNAL": self.url} if journal else {}
        root = str(Path(__file__).resolve().parents[2])
        return subprocess.run(
            [sys.executable, "-m", "ledger", *words],
            cwd=self.folder,
            env={**inherited, **settings, "PYTHONPATH": root, "PYTHONUTF8": "1", **environment},
            capture_output=True,
            text=True,
            check=False,
        )

    def json(self, *words: str, code: int = 0) -> object:
        done = self.process(*words, "--json")
        assert done.returncode == code, done.stdout + done.stderr
        return json.loads(done.stdout)

    def write(self, name: str, data: bytes) -> str:
        (self.folder / name).write_bytes(data)
        return name


@pytest.fixture
def desk(tmp_path):
    return Desk(tmp_path)


@pytest.fixture(scope="module")
def later():
    return make_history(seed=3, mode="hedging", deals=120)


@pytest.fixture(scope="module")
def history(later):
    """The same account, exported earlier: at the end of a second, as nobody can do otherwise."""
    seconds = [deal.time_msc // 1000 for deal in later.deals]
    cut = next(at for at in range(80, len(seconds)) if seconds[at] != seconds[at - 1])
    return later.window(0, cut)


@pytest.fixture
def imported(desk, history):
    desk.run("import", desk.write("history.html", render_html(history)), "--server-tz", "ny-close")
    return desk


# --------------------------------------------------------------------------------------------------------------- import


def test_an_import_reproduces_every_figure_of_the_broker(desk, history):
    (report,) = desk.json("import", desk.write("h.xlsx", render_xlsx(history)), "--server-tz", "ny-close")["files"]
    assert (report["read"], report["appended"], report["duplicates"]) == (len(history.deals), len(history.deals), 0)
    assert report["account"] == {"server": "Sample-Demo", "login": 70113, "currency": "USD", "mode": "hedging"}
    assert report["conflicts"] == []
    assert report["skipped"] == []
    checks = report["checks"]
    assert checks["balance_column"]["agreed"] == len(history.deals)
    assert checks["closed_positions"]["agreed"] == checks["closed_positions"]["checked"] == len(history.closed)
    assert checks["open_positions"]["agreed"] == checks["open_positions"]["checked"] == len(history.open)
    assert checks["account_figures"]["agreed"] == 1


def test_importing_twice_appends_nothing(imported):
    before = imported.json("accounts")
    (report,) = imported.json("import", "history.html")["files"]
    assert report["appended"] == 0
    assert report["duplicates"] == report["read"]
    assert imported.json("accounts") == before


def test_a_dry_run_states_what_would_happen_and_makes_nothing(desk, history):
    name = desk.write("history.html", render_html(history))
    (report,) = desk.json("import", name, "--dry-run")["files"]
    assert report["appended"] == len(history.deals)
    assert not desk.journal.exists()


def test_a_dry_run_on_a_journal_leaves_it_as_it_is(imported, history, later):
    before = imported.json("accounts")
    (report,) = imported.json("import", imported.write("later.html", render_html(later)), "--dry-run")["files"]
    assert (report["appended"], report["duplicates"]) == (len(later.deals) - len(history.deals), len(history.deals))
    assert imported.json("accounts") == before


def test_a_later_export_appends_only_what_is_new(imported, history, later):
    (report,) = imported.json("import", imported.write("later.xlsx", render_xlsx(later)))["files"]
    assert (report["appended"], report["duplicates"]) == (len(later.deals) - len(history.deals), len(history.deals))
    assert Decimal(imported.json("replay")["balance"]) == later.balance


def test_one_bad_file_appends_nothing_of_any(desk, history):
    good = desk.write("good.html", render_html(history))
    bad = desk.write("bad.html", render_html(history)[:20_000])
    output = desk.run("import", good, bad, code=2)
    assert "bad.html" in output
    assert desk.json("accounts") == []


@pytest.mark.parametrize(
    "data", [b"", b"nonsense", b"PK\x03\x04 not a zip", b"%PDF-1.4", b"a,b\n1,2\n", "\ufeff<html>".encode("utf-16")]
)
def test_a_file_that_is_no_export_is_refused_by_name(desk, data):
    output = desk.run("import", desk.write("what.bin", data), code=2)
    assert "what.bin" in output
    assert "Traceback" not in output


def test_a_file_of_another_account_is_refused(desk, history):
    output = desk.run("import", desk.write("h.html", render_html(history)), "--account", "Sample-Demo/1", code=2)
    assert "Sample-Demo/70113" in output
    assert "Sample-Demo/1" in output


def test_another_clock_rule_than_the_accounts_is_refused(imported):
    output = imported.run("import", "history.html", "--server-tz", "+03:00", code=2)
    assert "ledger account clock" in output


def test_a_deal_recorded_with_other_content_is_a_conflict_and_the_rest_is_recorded(imported, history):
    changed = render_html(history).decode("utf-16").replace(">Deposit<", ">Deposits<", 1)
    deal = next(deal for deal in history.deals if deal.symbol and deal.entry == "out")
    row = changed.index(f">{deal.ticket}<")
    price = f">{deal.price:.{deal.symbol.digits}f}<"
    at = changed.index(price, row)
    changed = changed[:at] + price.replace("<", "9<") + changed[at + len(price) :]
    (report,) = imported.json("import", imported.write("changed.html", changed.encode("utf-16")), code=1)["files"]
    assert [conflict["deal"] for conflict in report["conflicts"]] == [deal.ticket]
    assert set(report["conflicts"][0]["differences"]) == {"price"}
    assert report["duplicates"] == len(history.deals) - 1


def test_a_wrong_balance_column_is_named_and_exits_1(desk, history):
    text = render_html(history).decode("utf-16")
    last = history.deals[-1]
    row = text.index(f">{last.ticket}<")
    shown = f"{last.balance:,.{history.digits}f}".replace(",", " ")
    at = text.index(f">{shown}<", row)
    text = text[:at] + ">1.23<" + text[at + len(shown) + 2 :]
    output = desk.run("import", desk.write("h.html", text.encode("utf-16")), code=1)
    assert f"balance after deal {last.ticket}" in output
    assert len(desk.json("accounts")) == 1  # the facts are recorded all the same


def test_a_missing_opening_in_a_file_from_the_first_deal_on_is_a_disagreement(desk, history):
    text = render_html(history).decode("utf-16")
    ended = {row.position_id for row in history.closed}
    orders = [deal.order for deal in history.deals if deal.entry == "in"]
    free = next(
        deal
        for deal in history.deals
        if deal.entry == "in" and not deal.commission + deal.fee and deal.order in ended and orders.count(deal.order) == 1
    )
    rows = text.split("<tr")
    (at,) = [number for number, row in enumerate(rows) if f">{free.ticket}<" in row]
    name = desk.write("h.html", "<tr".join(rows[:at] + rows[at + 1 :]).encode("utf-16"))
    assert f"closed position {free.order}, opening: ours not recorded" in desk.run("import", name, code=1)


def test_a_dumps_trade_of_an_unknown_kind_is_refused(desk):
    head = "ticket,order,time,type,entry,position_id,volume,price,commission,swap,profit,fee,symbol\n"
    name = desk.write("d.csv", f"{head}5,6,1752779272,zz,0,6,0.1,1.1,0,0,0,0,EURUSD\n".encode())
    output = desk.run("import", name, "--account", "A/1", "--mode", "hedging", "--currency", "USD", code=2)
    assert "row 2, column type" in output


# --------------------------------------------------------------------------------------------------------------- replay


def test_replay_until_any_deal_gives_the_balance_of_its_row(imported, history):
    from ledger import Ledger

    last_of_second = {deal.time_msc // 1000: deal for deal in history.deals}
    with Ledger.open(imported.url) as ledger:
        (account,) = ledger.accounts()
        clock = account.terms.clock
        for deal in last_of_second.values():
            from ledger.clock import utc_text

            moment = utc_text(clock.to_utc_msc(deal.time_msc // 1000 * 1000))
            portfolio = account.replay(until=moment)
            assert portfolio.balance + portfolio.credit == deal.balance, deal


def test_replay_json_has_the_fields_that_programs_rely_on(imported, history):
    item = imported.json("replay")
    assert set(item) >= {
        "account", "until", "known_at", "version", "head", "selected", "balance", "credit", "positions", "unexplained",
        "breaks",
    }  # fmt: skip
    assert Decimal(item["balance"]) == history.balance
    assert {position["position_id"] for position in item["positions"]} == {row.position_id for row in history.open}
    position = item["positions"][0]
    assert set(position) >= {"position_id", "ticket", "symbol", "side", "volume", "price_open", "opened_at", "basis", "magic"}
    assert position["opened_at"].endswith("Z")
    assert item["selected"] == item["version"]


def test_nothing_was_known_before_the_import(imported):
    item = imported.json("replay", "--known-at", "2001-01-01")
    assert (item["balance"], item["positions"], item["selected"]) == ("0.00", [], 0)


def test_versions_are_replayed_one_by_one(imported):
    whole = imported.json("replay")
    assert imported.json("replay", "--version", str(whole["version"]))["balance"] == whole["balance"]
    assert imported.json("replay", "--version", "1")["balance"] == "0.00"
    assert "versions" in imported.run("replay", "--version", "999999", code=2)


def test_a_time_that_is_none_is_refused_with_how_to_write_one(imported):
    assert "2026-06-15" in imported.run("replay", "--until", "yesterday", code=2)


# -------------------------------------------------------------------------------------------------------------- listings


def test_trades_are_the_closed_positions_of_the_report(imported, history):
    trades = imported.json("trades")
    ended = {row.position_id: row for row in history.closed if row.position_id not in {one.position_id for one in history.open}}
    assert {trade["position_id"] for trade in trades} == set(ended)
    for trade in trades:
        row = ended[trade["position_id"]]
        assert (Decimal(trade["profit"]), Decimal(trade["swap"])) == (row.profit, row.swap)
        assert Decimal(trade["volume"]) == row.volume


def test_the_log_has_an_object_a_line(imported):
    lines = [json.loads(line) for line in imported.run("log", "--json").splitlines()]
    assert [line["version"] for line in lines] == list(range(1, len(lines) + 1))
    assert lines[0]["kind"] == "AccountOpened"
    assert all(
        set(line) >= {
            "version", "kind", "event_time", "recorded_at", "position_id", "deal", "natural_key", "caused_by",
            "correlation", "evidence", "data",
        }
        for line in lines
    )  # fmt: skip
    assert [line["recorded_at"] for line in lines] == sorted({line["recorded_at"] for line in lines})


def test_log_last_shows_the_last(imported):
    last = imported.json("accounts")[0]["version"]
    lines = [json.loads(line) for line in imported.run("log", "--last", "3", "--json").splitlines()]
    assert [line["version"] for line in lines] == [last - 2, last - 1, last]


def test_balance_adds_up(imported):
    (item,) = imported.json("balance")
    money = sum(Decimal(item[name]) for name in ("profit", "swap", "fee", "commission"))
    cash = sum(Decimal(amount) for amount in item["cash"].values())
    assert Decimal(item["balance"]) + Decimal(item["credit"]) == money + cash


def test_positions_carry_their_account(imported, history):
    positions = imported.json("positions")
    assert len(positions) == len(history.open)
    assert positions[0]["account"]["login"] == 70113


@pytest.mark.parametrize("command", ["accounts", "positions", "balance", "replay"])
def test_tables_fit_eighty_columns(imported, command):
    done = imported.process(command, COLUMNS="80")
    assert max(len(line) for line in done.stdout.splitlines()) <= 100
    assert "\x1b" not in done.stdout  # a pipe gets no colours


# --------------------------------------------------------------------------------------------------------------- verify


def test_an_untouched_journal_verifies(imported):
    item = imported.json("verify")
    assert item["ok"] is True
    assert item["problems"] == []


def test_a_changed_byte_is_named_with_account_version_and_field(imported):
    connection = sqlite3.connect(imported.journal)
    connection.execute("DROP TRIGGER events_no_update")
    connection.execute("UPDATE events SET price = price + 1 WHERE version = 5")
    connection.commit()
    connection.close()
    item = imported.json("verify", code=1)
    assert item["ok"] is False
    (problem,) = item["problems"]
    assert (problem["account"]["login"], problem["version"], problem["field"]) == (70113, 5, "price")


def test_an_empty_journal_is_fine_and_no_journal_is_wrong_use(desk):
    assert "there is no journal" in desk.run("verify", code=2)
    desk.run("init")
    assert desk.json("verify") == {"ok": True, "accounts": [], "problems": [], "schema": [], "signed_decisions": 0}
    (desk.folder / "other.db").write_text("this is not a database, whatever it is called" * 100)
    assert "not a journal" in desk.run("verify", "--journal", f"sqlite:///{desk.folder}/other.db", code=2)


# ------------------------------------------------------------------------------------------------------------- accounts


def test_an_account_is_opened_once_and_with_one_set_of_terms(desk):
    desk.run("init")
    words = ("account", "open", "Broker-Live/70113", "--currency", "usd", "--mode", "hedging", "--server-tz", "ny-close")
    assert "opened" in desk.run(*words)
    assert "already" in desk.run(*words)
    assert "other terms" in desk.run(*words[:-4], "--mode", "netting", code=2)
    (item,) = desk.json("accounts")
    assert (item["server"], item["login"], item["currency"], item["mode"], item["clock"], item["version"]) == (
        "Broker-Live", 70113, "USD", "hedging", "ny-close", 1,
    )  # fmt: skip


def test_a_wrong_clock_is_corrected_by_an_event(imported):
    before = [json.loads(line) for line in imported.run("log", "--json").splitlines()]
    imported.run("account", "clock", "Sample-Demo/70113", "+05:00", "--reason", "the broker confirmed it", "--operator", "Ann")
    after = [json.loads(line) for line in imported.run("log", "--json").splitlines()]
    assert [line["data"]["time_msc"] for line in after[: len(before)]] == [line["data"]["time_msc"] for line in before]
    assert after[3]["event_time"] != before[3]["event_time"]
    assert after[-1]["kind"] == "Adjusted"
    assert (after[-1]["data"]["operator"], after[-1]["data"]["clock_after"]) == ("Ann", "+05:00")
    assert imported.json("verify")["ok"]


# ------------------------------------------------------------------------------------------------------- the command line


def test_the_journal_is_named_before_or_behind_the_command_by_environment_or_by_file(imported):
    for words in (("--journal", imported.url, "positions"), ("positions", "--journal", imported.url)):
        assert "open positions" in imported.run(*words, journal=False)
    (imported.folder / "ledger.toml").write_text(f'journal = "{imported.url}"\n')
    assert "open positions" in imported.run("positions", journal=False)
    (imported.folder / "ledger.toml").unlink()
    assert "--journal" in imported.run("positions", journal=False, code=2)


def test_only_some_commands_make_a_journal(desk):
    for command in ("positions", "trades", "balance", "log", "replay", "accounts", "verify"):
        assert "there is no journal" in desk.run(command, code=2)
    assert not desk.journal.exists()


@pytest.mark.parametrize(
    "command", ["init", "account", "import", "accounts", "positions", "trades", "balance", "log", "replay", "verify"]
)
def test_every_command_helps(desk, command):
    output = desk.run(command, "--help")
    assert "Usage: ledger" in output
    assert command in desk.run("--help")


def test_an_unknown_command_is_answered_with_those_that_there_are(desk):
    output = desk.run("positons", code=2)
    assert "positions" in output


def test_an_unknown_account_is_answered_with_those_that_there_are(imported):
    assert "Sample-Demo/70113" in imported.run("positions", "--account", "Sample-Demo/1", code=2)


def test_no_traceback_when_the_reader_of_a_pipe_leaves(imported):
    root = str(Path(__file__).resolve().parents[2])
    done = subprocess.run(  # noqa: S602  # a pipe of the shell is what is tried
        f"{sys.executable} -m ledger log --json --journal {imported.url} | head -1",
        shell=True,
        env={**os.environ, "PYTHONPATH": root},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == ""
    assert json.loads(done.stdout)["version"] == 1


def test_completion_is_there_for_the_shell(desk):
    assert "complete" in desk.run(_LEDGER_COMPLETE="bash_source")


def test_the_version_is_the_distributions(desk):
    from importlib.metadata import version

    assert desk.run("--version").strip() == f"ledger {version('mt5-position-ledger')}"


def test_a_second_name_calls_the_same_command(desk):
    named = shutil.which("mt5-ledger", path=str(Path(sys.executable).parent))
    assert named, "python3 tools/test.py installs it"

    def output(*words: str, **environment: str) -> str:
        run = subprocess.run([named, *words], env={**os.environ, **environment}, capture_output=True, text=True, check=True)
        return run.stdout

    assert output("--version") == desk.run("--version")
    assert output("positions", "--help") == desk.run("positions", "--help").replace("Usage: ledger", "Usage: mt5-ledger")
    assert "-F _mt5_ledger_completion mt5-ledger\n" in output(_MT5_LEDGER_COMPLETE="bash_source")
