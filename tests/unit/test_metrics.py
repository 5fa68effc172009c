"""Metrics by example: what is exported of whom, what is counted as what, and what an answer is where there is none."""

from __future__ import annotations

import urllib.error
import urllib.request
from types import SimpleNamespace
from typing import Any, cast

import attrs
import pytest

from ledger import (
    AccountId,
    BadValue,
    BreakOpened,
    CorruptEvent,
    DealConflict,
    GatewayDenied,
    GatewayRefused,
    GatewayTimeout,
    GatewayUnavailable,
    JournalBusy,
    JournalError,
    JournalUnavailable,
    Ledger,
    SnapshotRefused,
    SyncDegraded,
    VersionConflict,
)
from ledger.cli.metrics import _lags
from ledger.event_filter import GROUPS
from ledger.journal.health import SyncHealth
from ledger.metrics import families, of_journal
from ledger.metrics.of_alerts import AlertMetrics
from ledger.metrics.of_journal import JournalMetrics
from ledger.metrics.of_process import ProcessMetrics
from ledger.metrics.server import MetricsServer
from ledger.metrics.textfile import TextFile
from ledger.proposals import CorrectionRequest, propose, reject, set_policy
from ledger.reconciler import SyncResult, SyncStatus
from tools.testkit.facts import ACCOUNT, OTHER, START_MSC, START_US, fill, opened

NOW_US = START_US + 60_000_000


def ledger_of(*names, events=()):
    ledger = Ledger.open("memory://", now_us=lambda: NOW_US)
    for name in names:
        ledger.journal.append(name, [opened(name), *events])
    return ledger


def synced(ledger, name, seen_us=NOW_US, **changes):
    health = SyncHealth(
        account=name, status="SUCCESS", reason=None, since_us=seen_us, seen_us=seen_us, verified_us=seen_us, success_us=seen_us,
        duration_us=1, interval_us=15_000_000, verified_sec=60.0, balance_halts=False, held=(), gateway=None, host="desk",
        pid=1, started_us=seen_us, program="1",
    )  # fmt: skip
    ledger.journal.save_sync_health(attrs.evolve(health, **changes))


def figures(metrics, name):
    """Return the values of the labels, in the order of the family, and the figure of each sample of a family."""
    return {
        tuple(sample.labels.values()): sample.value
        for metric in metrics.collect()
        for sample in metric.samples
        if sample.name == f"ledger_{name}"
    }


# ---- of the journal


def test_an_account_that_was_never_synced_is_unsafe_and_has_no_made_up_time():
    metrics = JournalMetrics(ledger_of(ACCOUNT))
    assert figures(metrics, "safe_to_trade") == {("Broker-Live", "70113"): False}
    assert figures(metrics, "accounts")["Broker-Live", "never"] == 1
    assert figures(metrics, "sync_last_success_timestamp_seconds") == {}
    assert figures(metrics, "sync_last_attempt_timestamp_seconds") == {}


def test_times_are_those_of_the_last_attempt_and_of_the_last_verification():
    ledger = ledger_of(ACCOUNT)
    synced(ledger, ACCOUNT, START_US + 1_500_000)
    synced(ledger, ACCOUNT, START_US + 9_000_000, status="FAILED", verified_us=None, success_us=None)
    metrics = JournalMetrics(ledger)
    assert figures(metrics, "sync_last_success_timestamp_seconds") == {("Broker-Live", "70113"): START_US / 1e6 + 1.5}
    assert figures(metrics, "sync_last_attempt_timestamp_seconds") == {("Broker-Live", "70113"): START_US / 1e6 + 9}
    assert figures(metrics, "sync_degraded") == {("Broker-Live", "70113"): True}
    assert figures(metrics, "accounts")["Broker-Live", "failed"] == 1


def test_what_the_journal_has_as_degraded_is_not_safe_whoever_stored_the_last_attempt():
    ledger = ledger_of(ACCOUNT)
    synced(ledger, ACCOUNT)
    metrics = JournalMetrics(ledger)
    assert figures(metrics, "safe_to_trade") == {("Broker-Live", "70113"): True}
    ledger.account(ACCOUNT).record(SyncDegraded(reason="the terminal is gone", time_msc=START_MSC + 1))
    assert figures(metrics, "safe_to_trade") == {("Broker-Live", "70113"): False}
    assert figures(metrics, "sync_degraded") == {("Broker-Live", "70113"): True}
    assert figures(metrics, "accounts")["Broker-Live", "degraded"] == 1


def test_the_age_of_breaks_is_the_time_of_the_oldest_of_a_kind_and_escalated_ones_are_counted():
    seen = [
        BreakOpened(kind=kind, position_id=number, time_msc=START_MSC + number * 1000, attempts=attempts)
        for number, (kind, attempts) in enumerate((("ghost", 2), ("ghost", 3), ("drift", 0)), 1)
    ]
    ledger = ledger_of(ACCOUNT, OTHER, events=seen)
    metrics = JournalMetrics(ledger)
    assert figures(metrics, "breaks_open")["Broker-Live", "70113", "ghost"] == 2
    assert figures(metrics, "breaks_oldest_timestamp_seconds")["Broker-Live", "70113", "ghost"] == START_MSC / 1000 + 1
    assert figures(metrics, "breaks_escalated") == {("Broker-Live", "70113"): 1, ("Broker-Live", "70114"): 1}
    assert figures(JournalMetrics(ledger, attempts_max=2), "breaks_escalated")["Broker-Live", "70113"] == 2
    assert figures(metrics, "breaks_opened_total")["Broker-Live", "ghost"] == 4
    assert figures(metrics, "breaks_closed_total")["Broker-Live", "ghost", "explained"] == 0


def test_above_the_limit_only_accounts_that_are_not_safe_have_series_and_the_counts_are_still_complete(monkeypatch):
    monkeypatch.setattr(of_journal, "ACCOUNTS_MAX", 2)
    names = [AccountId("Broker-Live", login) for login in (1, 2, 3)]
    ledger = ledger_of(*names[:2])
    for name in names[:2]:
        synced(ledger, name)
    metrics = JournalMetrics(ledger)
    assert set(figures(metrics, "safe_to_trade")) == {("Broker-Live", "1"), ("Broker-Live", "2")}
    ledger.journal.append(names[2], [opened(names[2])])
    assert figures(metrics, "safe_to_trade") == {("Broker-Live", "3"): False}
    assert set(figures(metrics, "account_version")) == {("Broker-Live", "3")}
    assert figures(metrics, "accounts") == {
        ("Broker-Live", "success"): 2, ("Broker-Live", "partial"): 0, ("Broker-Live", "degraded"): 0,
        ("Broker-Live", "failed"): 0, ("Broker-Live", "never"): 1,
    }  # fmt: skip
    assert figures(metrics, "accounts_unsafe") == {("Broker-Live",): 1}


@pytest.mark.parametrize("error", [CorruptEvent("version 1: AccountOpened cannot be read"), TypeError("None * 1")])
def test_an_account_that_cannot_be_read_is_unsafe_shows_nothing_of_itself_and_hides_no_other(error, monkeypatch):
    ledger = ledger_of(ACCOUNT, OTHER)
    for name in (ACCOUNT, OTHER):
        synced(ledger, name)

    def damaged():
        raise error

    monkeypatch.setattr(ledger.account(ACCOUNT), "current_with_orders", damaged)
    metrics = JournalMetrics(ledger)
    assert figures(metrics, "safe_to_trade") == {("Broker-Live", "70113"): False, ("Broker-Live", "70114"): True}
    assert set(figures(metrics, "positions_open")) == {("Broker-Live", "70114")}
    assert figures(metrics, "accounts_unsafe") == {("Broker-Live",): 1}


def test_a_daemon_shows_an_account_that_is_not_in_the_journal_yet_and_none_of_others():
    ledger = ledger_of(OTHER)
    metrics = JournalMetrics(ledger, accounts=lambda: [ACCOUNT])
    assert figures(metrics, "safe_to_trade") == {("Broker-Live", "70113"): False}
    assert figures(metrics, "accounts")["Broker-Live", "never"] == 1
    assert figures(metrics, "account_version") == {}
    assert figures(metrics, "events_appended_total") == {}


def test_an_older_copy_in_the_journals_place_is_counted_anew():
    ledger = ledger_of(ACCOUNT, events=[fill(number) for number in range(1, 6)])
    metrics = JournalMetrics(ledger)
    assert figures(metrics, "events_appended_total")["Broker-Live", "FillRecorded"] == 5
    metrics._ledger = ledger_of(ACCOUNT, events=[fill(1), fill(2)])
    assert figures(metrics, "events_appended_total")["Broker-Live", "FillRecorded"] == 2
    assert figures(metrics, "positions_open") == {("Broker-Live", "70113"): 2}


def test_states_of_limits_are_exported_as_they_are_given():
    metrics = JournalMetrics(ledger_of(ACCOUNT), limits=lambda *_: {"daily_loss": 1, "max_drawdown": -1})
    assert figures(metrics, "limit_state") == {
        ("Broker-Live", "70113", "daily_loss"): 1, ("Broker-Live", "70113", "max_drawdown"): -1,
    }  # fmt: skip


def test_what_waits_for_a_second_person_is_counted_by_server_with_the_oldest():
    now_us = [START_US]
    ledger = Ledger.open("memory://", now_us=lambda: now_us[0])
    for name in (ACCOUNT, OTHER, AccountId("Elsewhere", 1)):
        ledger.journal.append(name, [opened(name), fill(1), fill(2)])
        set_policy(ledger.account(name), approvals=2, operator="ann", reason="the desk's rule")
    account, metrics = ledger.account(ACCOUNT), JournalMetrics(ledger)

    def waiting():
        oldest = figures(metrics, "approvals_oldest_pending_timestamp_seconds")
        return figures(metrics, "approvals_pending"), {server: round(at - START_US / 1e6) for (server,), at in oldest.items()}

    here, elsewhere = (ACCOUNT.server,), ("Elsewhere",)
    assert waiting() == ({here: 0, elsewhere: 0}, {})
    made: list[Any] = []
    for position in (1, 2):
        now_us[0] += 60_000_000
        request = CorrectionRequest({"what": "close", "position_id": position})
        proposal = propose(account, request, operator="ann", reason="it is gone").proposal
        assert proposal is not None
        made.append(proposal)
    assert waiting() == ({here: 2, elsewhere: 0}, {ACCOUNT.server: 60})
    urgent = CorrectionRequest({"what": "close", "position_id": 1})
    propose(ledger.account(OTHER), urgent, operator="ann", reason="at once", urgent=True)
    assert waiting() == ({here: 2, elsewhere: 0}, {ACCOUNT.server: 60})  # it was applied, and is an open break
    reject(account, made[0].version, operator="bob", reason="it is not")
    assert waiting() == ({here: 1, elsewhere: 0}, {ACCOUNT.server: 120})
    now_us[0] += 3_601_000_000  # it lapses, and nothing is recorded
    assert waiting() == ({here: 0, elsewhere: 0}, {})


def test_limits_that_cannot_be_computed_are_left_out_and_hide_nothing_else():
    def limits(one, _):
        return {"daily_loss": 2} if one.name == OTHER else 1 / 0

    metrics = JournalMetrics(ledger_of(ACCOUNT, OTHER), limits=limits)
    assert figures(metrics, "limit_state") == {("Broker-Live", "70114", "daily_loss"): 2}
    assert len(figures(metrics, "safe_to_trade")) == 2


def test_corrections_are_those_that_the_log_lists_as_such():
    assert set(families.CORRECTION_KINDS) == GROUPS["corrections"]


# ---- of the process


class Fails:
    """A journal, or a gateway, of which every call ends in the same way."""

    def __init__(self, error=None):
        self.error = error

    def append(self, *_, **__):
        raise self.error

    def positions(self):
        if self.error:
            raise self.error
        return "positions"


@pytest.mark.parametrize(
    ("error", "counted"),
    [
        (JournalBusy("x"), "JournalBusy"),
        (JournalUnavailable("x"), "JournalUnavailable"),
        (JournalError("x"), "JournalError"),
        (MemoryError(), "other"),
        (VersionConflict("Broker/1", expected=1, found=2), None),  # another writer was faster: no failure
        (DealConflict(1, {}), None),
        (BadValue("x"), None),
    ],
)
def test_an_append_that_the_journal_failed_is_counted_by_its_error(error, counted):
    metrics, journal = ProcessMetrics(), cast("Any", Fails(error))
    metrics.measure_journal(journal)
    with pytest.raises(type(error)):
        journal.append(ACCOUNT, [])
    found = figures(metrics, "journal_append_errors_total")
    assert {name for (name,), count in found.items() if count} == ({counted} if counted else set())
    assert len(found) > 6  # those that did not happen are 0
    assert sum(figures(metrics, "deal_conflicts_total").values()) == isinstance(error, DealConflict)
    assert figures(metrics, "append_duration_seconds_count") == {}


def test_appends_are_timed_and_conflicts_that_were_left_out_are_counted():
    times = iter([10.0, 10.75, 20.0, 20.001])
    metrics, ledger = ProcessMetrics(accounts=lambda: [ACCOUNT], monotonic=lambda: next(times)), ledger_of(ACCOUNT)
    assert figures(metrics, "append_duration_seconds_count") == {("Broker-Live",): 0}
    metrics.measure_journal(ledger.journal)
    ledger.account(ACCOUNT).record(fill(1))
    ledger.journal.append(ACCOUNT, [fill(1, price="1.2"), fill(2)], conflicts="keep")
    assert figures(metrics, "append_duration_seconds_count") == {("Broker-Live",): 2}
    assert figures(metrics, "append_duration_seconds_sum")["Broker-Live",] == pytest.approx(0.751)
    assert figures(metrics, "deal_conflicts_total") == {("Broker-Live",): 1}
    assert ledger.account(ACCOUNT).version == 3


@pytest.mark.parametrize(
    ("error", "result"),
    [
        (None, "ok"),
        (GatewayTimeout("x"), "timeout"),
        (GatewayUnavailable("x"), "unavailable"),
        (GatewayDenied("x"), "denied"),
        (GatewayRefused("GET_POSITIONS"), "refused"),
        (SnapshotRefused("x"), "unreadable"),
        (KeyboardInterrupt(), "other"),
    ],
)
def test_a_request_is_counted_by_how_it_ended(error, result):
    metrics, gateway = ProcessMetrics(), cast("Any", Fails(error))
    metrics.measure_gateway(gateway, "Broker-Live")
    if error is None:
        assert gateway.positions() == "positions"
    else:
        with pytest.raises(type(error)):
            gateway.positions()
    found = figures(metrics, "gateway_requests_total")
    assert {labels: count for labels, count in found.items() if count} == {("Broker-Live", "GET_POSITIONS", result): 1}
    assert len(found) == 7
    assert figures(metrics, "gateway_request_duration_seconds_count") == {("Broker-Live", "GET_POSITIONS"): 1}


def test_syncs_are_counted_from_0_and_timed():
    metrics = ProcessMetrics(accounts=lambda: [ACCOUNT], clock_skews=lambda: {"Broker-Live": -3.5})
    assert set(figures(metrics, "syncs_total").values()) == {0}
    metrics.synced(SyncResult(account=ACCOUNT, status=SyncStatus.DEGRADED), 0.3)
    assert figures(metrics, "syncs_total")["Broker-Live", "70113", "DEGRADED"] == 1
    assert len(figures(metrics, "syncs_total")) == 4
    assert figures(metrics, "sync_duration_seconds_sum") == {("Broker-Live",): 0.3}
    assert figures(metrics, "gateway_clock_skew_seconds") == {("Broker-Live",): -3.5}


def test_notices_are_counted_from_0_and_a_channel_that_never_delivered_has_no_time():
    channels = [
        SimpleNamespace(name="desk", results={"sent": 2}, last_us=START_US),
        SimpleNamespace(name="mail", results={"failed": 3}, last_us=None),
    ]
    metrics = AlertMetrics(lambda: channels)
    assert figures(metrics, "alert_notices_total") == {
        ("desk", "delivered"): 2, ("desk", "failed"): 0, ("mail", "delivered"): 0, ("mail", "failed"): 3,
    }  # fmt: skip
    assert figures(metrics, "alert_last_delivery_timestamp_seconds") == {("desk",): START_US / 1e6}


# ---- answers and files


class Away:
    def collect(self):
        raise JournalUnavailable("the database does not answer")


def test_a_journal_that_does_not_answer_is_an_error_and_never_figures():
    reasons: list[str] = []
    with MetricsServer("127.0.0.1:0", [ProcessMetrics(), Away()], log=reasons.append) as server:
        with pytest.raises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(server.url)  # noqa: S310  # ours
        answer = caught.value.read().decode()
        caught.value.close()
        assert (caught.value.code, answer) == (503, "the database does not answer\n")
        assert reasons == ["the database does not answer"]
        with pytest.raises(urllib.error.HTTPError, match="404") as caught:
            urllib.request.urlopen(server.url.replace("metrics", "secrets"))  # noqa: S310  # ours
        caught.value.close()


def test_an_address_that_is_taken_is_named():
    with (
        MetricsServer("127.0.0.1:0", []) as server,
        pytest.raises(BadValue, match=r"nothing can listen on 127\.0\.0\.1:.* Name another"),
    ):
        MetricsServer(server.url.removeprefix("http://").removesuffix("/metrics"), [])


@pytest.mark.parametrize("address", ["", "9464", ":9464", "127.0.0.1", "127.0.0.1:x", "127.0.0.1:99999", "http://h:1", "u@h:1"])
def test_what_is_no_address_is_refused(address):
    with pytest.raises(BadValue, match="HOST:PORT"):
        MetricsServer(address, [])


def test_an_address_of_version_6_of_the_protocol_works():
    with MetricsServer("[::1]:0", [ProcessMetrics()]) as server, urllib.request.urlopen(server.url) as answer:  # noqa: S310
        assert b"ledger_syncs_total" in answer.read()


def test_a_file_is_replaced_whole_and_never_by_what_would_remove_anothers_figures(tmp_path):
    path = tmp_path / "verify.prom"
    file = TextFile(path, "verify")
    file.write_figures(3, 1_795_700_000)
    assert "\nledger_verify_problems 3.0\n" in path.read_text("utf-8")
    TextFile(path, "verify").write_figures(0, 1_795_700_001)
    assert "\nledger_verify_problems 0.0\n" in path.read_text("utf-8")
    assert [one.name for one in tmp_path.iterdir()] == ["verify.prom"]
    with pytest.raises(BadValue, match=r"holds ledger_verify_last_timestamp_seconds, .* its own file"):
        TextFile(path, "backup")


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("verify.txt", None, r"end in \.prom"),
        ("missing/verify.prom", None, "there is no folder"),
        ("notes.prom", "call ann\n", "holds no metrics"),
        ("binary.prom", b"\xff\xfe\x00", "cannot be read as metrics"),
        ("desk.prom", b"SQLite format 3\0", "never written over"),
    ],
)
def test_a_file_that_would_not_be_read_or_is_something_else_is_refused(tmp_path, name, content, reason):
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(BadValue, match=reason):
        TextFile(path, "verify")


def test_a_follower_is_as_far_behind_as_all_accounts_together_and_has_no_figure_before_it_ran():
    ledger = ledger_of(ACCOUNT, OTHER)
    metrics = JournalMetrics(ledger, lags=_lags(ledger))
    assert figures(metrics, "follower_lag_events") == {}
    ledger.account(ACCOUNT).derived.catch_up()
    behind = ledger.account(OTHER).version  # never followed
    assert figures(metrics, "follower_lag_events") == {("derived",): behind}
    ledger.account(OTHER).derived.catch_up()
    assert figures(metrics, "follower_lag_events") == {("derived",): 0}
    ledger.account(ACCOUNT).record(fill(77))
    assert figures(metrics, "follower_lag_events") == {("derived",): 1}
