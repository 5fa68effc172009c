"""The command status: from the journal's database alone, with reasons of now and exit codes for scripts."""

from __future__ import annotations

import json
from threading import Thread
from typing import Any

import attrs
import pytest

from ledger import AccountId, BadValue, BreakOpened, Ledger, OrderIntended, StateReconciler, SyncDegraded, open_gateway
from ledger.cli.health import HealthFile
from ledger.clock import utc_text_us
from ledger.journal.health import SyncHealth
from ledger.service import utc_now_us
from tests.gateway.terminals import Terminal, plain, positions
from tests.support.commands import run
from tests.support.journals import ACCOUNT, OTHER, START_MSC, Intruder, fill, new_url, opened

SECOND = 1_000_000


def health(account=ACCOUNT, age_sec=1, **changes) -> SyncHealth:
    now = utc_now_us()
    good = SyncHealth(
        account=account, status="SUCCESS", reason=None, since_us=now - 3600 * SECOND, seen_us=now - age_sec * SECOND,
        verified_us=now - age_sec * SECOND, success_us=now - age_sec * SECOND, duration_us=5, interval_us=15 * SECOND,
        verified_sec=60.0, balance_halts=False, held=(), gateway="tcp://127.0.0.1:5555", host="desk1", pid=4711, started_us=now,
        program="0.1.0",
    )  # fmt: skip
    return attrs.evolve(good, **changes)


@pytest.fixture(params=["sqlite", "postgres"])
def url(request, tmp_path):
    url = new_url(request.param, tmp_path)
    with Ledger.create(url) as ledger:
        ledger.journal.append(ACCOUNT, [opened()])
    return url


def store(url, one, *events):
    with Ledger.open(url) as ledger:
        if events:
            ledger.journal.append(one.account, list(events))
        ledger.journal.save_sync_health(one)


def checked(url, *words):
    ran = run("status", "--check", *words, journal=url)
    return ran.code, ran.text


def test_an_unknown_order_and_breaks_of_orders_are_named(url):
    now_msc = utc_now_us() // 1000
    unknown = OrderIntended(
        client_id="c-1", token="L" + "A" * 19, kind="market", symbol="EURUSD", side="buy", volume=1, time_msc=now_msc,
        valid_until_utc_msc=now_msc - 1,
    )  # fmt: skip
    store(url, health(), unknown)
    code, text = checked(url)
    assert (code, "order c-1 of EURUSD may or may not have been executed" in text) == (1, True)
    assert checked(url, "--symbol", "USDJPY")[0] == 0
    why = "in neither list"
    missing = BreakOpened(kind="order", field="missing", order=901, client_id="c-1", symbol="EURUSD", why=why, time_msc=now_msc)
    store(url, health(), missing)
    (item,) = run("breaks", "--json", journal=url).json()
    assert (item["order"], item["client_id"], item["field"]) == (901, "c-1", "missing")
    assert "order 901 missing: in neither list" in run("breaks", journal=url).text
    assert "order 901" in run("positions", journal=url).text or "order 901" in run("replay", journal=url).text


def test_a_healthy_account_is_safe_and_states_by_whom(url):
    store(url, health())
    (item,) = run("status", "--json", journal=url).json()
    assert (item["state"], item["why"], item["safe_to_trade"], item["why_not_safe"]) == (
        "SUCCESS",
        None,
        True,
        None,
    )
    assert (item["by"]["host"], item["by"]["pid"]) == ("desk1", 4711)
    assert 0 < item["last_seen_age_sec"] < 60
    assert checked(url) == (0, "")
    text = run("status", journal=url).text
    assert "desk1, process 4711" in text
    assert max(map(len, text.splitlines())) <= 80


GHOST: dict[str, Any] = {
    "kind": "ghost",
    "position_id": 7,
    "symbol": "EURUSD",
    "time_msc": 1_767_607_200_000,
    "why": "missing in 1 of 2",
}


@pytest.mark.parametrize(
    ("changes", "events", "code", "state", "why"),
    [
        ({"age_sec": 240}, (), 5, "STALE", "240 s old"),
        ({"age_sec": -3600}, (), 5, "STALE", "60 min in the future"),
        ({"verified_sec": float("nan")}, (), 5, "STALE", "compared"),
        ({"verified_us": None, "success_us": None}, (), 5, "STALE", "no snapshot was believed"),
        ({"status": "DEGRADED", "reason": "timeout"}, (), 4, "DEGRADED", "DEGRADED: timeout"),
        ({"status": "FAILED", "reason": "disk"}, (), 4, "FAILED", "FAILED: disk"),
        ({}, (SyncDegraded(reason="gone", time_msc=1_767_607_200_000),), 4, "DEGRADED", "DEGRADED: gone"),
        ({"status": "PARTIAL", "reason": "ghost 7: young"}, (BreakOpened(**GHOST),), 1, "PARTIAL", "missing in 1 of 2"),
    ],
)
def test_each_danger_has_its_code_its_state_and_its_reason(changes, events, code, state, why, url):
    store(url, health(**changes), *events)
    found, output = checked(url)
    assert found == code
    assert output.startswith(f"{ACCOUNT}: ")
    assert why in output
    (item,) = run("status", "--json", journal=url).json()
    assert (item["state"], item["safe_to_trade"]) == (state, False)
    assert run("status", "--check", "--quiet", journal=url).text == ""
    assert run("status", "--check", "--quiet", journal=url).code == code


def test_the_reason_is_that_of_now_and_not_that_of_when_it_began(url):
    store(url, health(status="DEGRADED", reason="now: the key is refused"),
          SyncDegraded(reason="then: timeout", time_msc=1_767_607_200_000))  # fmt: skip
    (item,) = run("status", "--json", journal=url).json()
    assert (item["why"], item["why_not_safe"]) == ("now: the key is refused", "DEGRADED: now: the key is refused")


def test_partial_shows_its_reasons(url):
    store(url, health(status="PARTIAL", reason="balance: ours 1, theirs 2"))
    assert "PARTIAL: balance: ours 1, theirs 2" in run("status", journal=url).text
    assert checked(url) == (0, "")  # money alone is in nobody's way


def test_the_highest_of_all_accounts_counts_and_a_symbol_alone(url):
    with Ledger.open(url) as ledger:
        ledger.journal.append(OTHER, [opened(OTHER)])
    store(url, health(), BreakOpened(**GHOST))
    store(url, health(OTHER))
    assert checked(url)[0] == 1
    assert checked(url, "--symbol", "XAUUSD") == (0, "")
    assert checked(url, "--account", str(OTHER)) == (0, "")
    store(url, health(OTHER, status="DEGRADED", reason="x"))
    code, output = checked(url)
    assert (code, len(output.splitlines())) == (4, 2)


def test_what_was_never_synced_is_stale_and_wrong_use_is_reported_as_such(url, tmp_path):
    assert checked(url)[0] == 5
    (item,) = run("status", "--json", journal=url).json()
    assert (item["state"], item["last_seen"]) == (None, None)
    assert "never" in run("status", journal=url).text
    assert checked(url, "--account", "No/1")[0] == 2
    assert run("status", "--quiet", journal=url).code == 2


def test_no_account_is_not_safe(tmp_path):
    assert checked(new_url("sqlite", tmp_path))[0] == 5


def test_a_journal_that_does_not_answer_is_code_3():
    assert checked("postgresql+psycopg://postgres@127.0.0.1:1/none")[0] == 3


def test_an_account_that_cannot_be_read_does_not_hide_the_others(tmp_path):
    url = new_url("sqlite", tmp_path)
    with Ledger.open(url) as ledger:
        for account in (ACCOUNT, OTHER):
            ledger.journal.append(account, [opened(account)])
    store(url, health(OTHER))
    intruder = Intruder(url)
    intruder.disarm()
    intruder("UPDATE events SET data = '{' WHERE account_id IN (SELECT account_id FROM accounts WHERE login = 70113)")
    code, output = checked(url)
    assert (code, output.count("\n")) == (1, 1)
    assert "cannot be read" in output
    assert [one["safe_to_trade"] for one in run("status", "--json", journal=url).json()] == [False, True]


def damaged(tmp_path, change):
    """Return the URL of a journal of two accounts with a break each, the first of which cannot be read."""
    url = new_url("sqlite", tmp_path)
    with Ledger.open(url) as ledger:
        for account in (ACCOUNT, OTHER):
            ledger.journal.append(account, [opened(account), fill(1, 1), BreakOpened(kind="drift", time_msc=START_MSC + 2)])
            store(url, health(account))
    intruder = Intruder(url)
    intruder.disarm()
    intruder(f"UPDATE events SET {change} AND account_id IN (SELECT account_id FROM accounts WHERE login = 70113)")  # noqa: S608  # of the test's own
    return url


@pytest.mark.parametrize("change", ["data = '{' WHERE version = 3", "volume = NULL WHERE version = 2"])
def test_of_an_account_that_cannot_be_read_its_sync_is_shown_all_the_same(tmp_path, change):
    url = damaged(tmp_path, change)
    first, second = run("status", "--json", journal=url).json()
    assert "cannot be read" in first["why_not_safe"]
    assert first["open_breaks"] is None
    assert None not in (first["last_seen"], first["last_verified"], second["last_seen"])
    assert "never" not in run("status", journal=url).text


@pytest.mark.parametrize("options", [(), ("--unexplained",), ("--json",), ("--csv",)])
def test_breaks_of_an_account_that_cannot_be_read_hide_no_others(tmp_path, options):
    found = run("breaks", *options, journal=damaged(tmp_path, "data = '{' WHERE version = 3"))
    assert found.code == 1
    assert f"{ACCOUNT}: version 3: BreakOpened cannot be read" in found.err.decode()
    assert (b"drift" in found.out) is (options != ("--unexplained",))


@pytest.mark.parametrize("several", [False, True])
def test_listed_breaks_name_their_account_where_several_have_some(tmp_path, several):
    url = new_url("sqlite", tmp_path)
    ghost = BreakOpened(
        kind="ghost", position_id=1, symbol="EURUSD", ours="buy 1 EURUSD @ 1.1", why="held", time_msc=START_MSC + 2
    )
    with Ledger.open(url) as ledger:
        for name in (ACCOUNT, OTHER):
            events: list[Any] = [opened(name), fill(1, 1), fill(2, 2, side="sell", entry="out", volume=2, position_id=1)]
            ledger.journal.append(name, [*events, ghost] if several or name == ACCOUNT else [opened(name)])
    for options in ([], ["--unexplained"]):
        lines = run("breaks", *options, journal=url).text.splitlines()
        assert (len({line.split()[0] for line in lines if line.startswith((str(ACCOUNT), str(OTHER)))}) == 2) is several, lines
        assert ("account" in lines[1].split()) is several
    words = [line for line in run("breaks", journal=url).text.splitlines() if line.endswith(": held")]
    assert words == ([f"{name} ghost 1: held" for name in (ACCOUNT, OTHER)] if several else ["ghost 1: held"])


@pytest.mark.parametrize("command", ["positions", "balance", "report"])
def test_where_an_error_ends_a_command_the_account_is_named(tmp_path, command):
    """Sums and totals without it would be wrong."""
    url = damaged(tmp_path, "data = '{' WHERE version = 3")
    found = run(command, journal=url)
    assert found.code not in (0, 70)
    assert f"{ACCOUNT} cannot be read; --account chooses others" in found.err.decode()
    assert run(command, "--account", str(OTHER), journal=url).code == 0


def test_what_is_not_known_beside_several_balances_names_its_account(tmp_path):
    url = new_url("sqlite", tmp_path)
    ghost = BreakOpened(kind="ghost", position_id=1, symbol="EURUSD", ours="buy 1 EURUSD @ 1.1", time_msc=START_MSC + 2)
    with Ledger.open(url) as ledger:
        for name in (ACCOUNT, OTHER):
            ledger.journal.append(name, [opened(name), fill(1, 1, profit=None), ghost])
    lines = run("balance", journal=url).text.splitlines()
    for name in (ACCOUNT, OTHER):
        assert f"{name} break: ghost position 1: ours buy 1 EURUSD @ 1.1, theirs none" in lines
        assert f"{name}: 1 deals have incomplete money; the balance excludes it" in lines


def test_a_reconciler_in_an_engine_stores_it_too_and_survives_a_failure_to_store_it(url, caplog):
    with Ledger.open(url) as ledger, Terminal(plain) as terminal:
        gateway = open_gateway(terminal.endpoint)
        reconciler = StateReconciler(ledger.account(ACCOUNT), gateway, sync_interval_sec=7)
        assert reconciler.startup_recovery().status.value == "SUCCESS"
        stored = ledger.journal.sync_health(ACCOUNT)
        assert stored is not None
        assert (stored.status, stored.interval_us, stored.gateway) == ("SUCCESS", 7 * SECOND, terminal.endpoint)
        Intruder(url)("DROP TABLE sync_health CASCADE" if url.startswith("postgres") else "DROP TABLE sync_health")
        for _ in range(2):
            assert reconciler.sync_positions().status.value == "SUCCESS"
        assert len([one for one in caplog.messages if "sync health was not stored" in one]) == 1
        gateway.close()
    assert AccountId.parse(str(ACCOUNT)) == ACCOUNT


# ------------------------------------------------------------------------------------------------------- the health file


def test_the_file_is_whole_however_many_threads_write_it(tmp_path):
    with Ledger.open("memory://") as ledger, Terminal(lambda *_: (positions(7),)) as terminal:
        gateway = open_gateway(terminal.endpoint)
        account = ledger.account(ACCOUNT)
        account.open(currency="USD", mode="hedging")
        reconciler = StateReconciler(account, gateway)
        reconciler.sync_positions()
        file = HealthFile(tmp_path / "health.json")
        seen = []

        def write():
            for _ in range(20):
                file.write([reconciler.get_status()] * 50)
                seen.append(json.loads((tmp_path / "health.json").read_text())["accounts"][str(ACCOUNT)]["state"])

        threads = [Thread(target=write) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        gateway.close()
    assert seen == ["SUCCESS"] * 80
    assert [path.name for path in tmp_path.iterdir()] == ["health.json"]


def test_another_file_is_not_replaced(tmp_path):
    (tmp_path / "mine.json").write_text('{"accounts": {}}')
    with pytest.raises(BadValue, match="was not made by this command"):
        HealthFile(tmp_path / "mine.json")
    assert (tmp_path / "mine.json").read_text() == '{"accounts": {}}'


def test_times_of_the_status_are_utc(url):
    one = health()
    store(url, one)
    assert run("status", "--json", journal=url).json()[0]["last_seen"] == utc_text_us(one.seen_us)
