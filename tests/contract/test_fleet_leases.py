"""What leases promise on a real Postgres: who gets an account, when, and what becomes of a lease that is no longer theirs."""

from __future__ import annotations

import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from threading import Lock, Thread

import pytest

from ledger import AccountId, BadValue, JournalBusy, JournalError, JournalNewer, Ledger
from ledger.fleet.accounts import fleet_account
from ledger.fleet.leases import CALLS_MAX, Ended, FleetAccount, Leases, is_possible, stop
from ledger.fleet.slots import FAILURES_MAX
from ledger.metrics.of_journal import JournalMetrics
from ledger.metrics.textfile import exposition
from tests.support.fleet import ADDRESS, LEASE_US, OTHER_ADDRESS, desk_of_fleet, names
from tests.support.journals import new_url

ONE, TWO = names(2)


@pytest.fixture
def desk():
    with desk_of_fleet() as found:
        yield found


def claimed(leases):
    return sorted(one.account for one in leases)


@pytest.mark.parametrize("url", ["memory://", "sqlite"])
def test_a_journal_outside_postgres_has_no_fleet(url, tmp_path):
    with Ledger.open(new_url("sqlite", tmp_path) if url == "sqlite" else url) as ledger:
        assert not is_possible(ledger.journal)
        assert not stop(ledger.journal, ONE)
        with pytest.raises(BadValue, match="a fleet needs a journal in Postgres"):
            Leases(ledger.journal)


def test_an_account_is_claimed_when_it_is_due_and_by_one_worker(desk):
    desk.add([ONE, TWO], every="1h")
    assert desk.claim("a") == []
    desk.let_all_be_due()
    assert claimed(desk.claim("a", 1) + desk.claim("b")) == [ONE, TWO]
    assert desk.claim("c") == []


def test_a_lease_that_is_given_back_is_due_within_the_interval(desk):
    desk.add([ONE], every="20s")
    desk.let_all_be_due()
    (lease,) = desk.claim("a")
    desk.leases.release("a", [Ended(lease=lease)])
    (found,) = desk.leases.accounts()
    assert found.worker is None
    assert found.synced_us is not None
    assert found.synced_us < found.due_us <= found.synced_us + 20_000_000


def test_what_was_not_synced_is_due_at_once(desk):
    desk.add([ONE], every="1h")
    desk.let_all_be_due()
    desk.leases.release("a", [Ended(lease=one, is_done=False, is_synced=False) for one in desk.claim("a")])
    assert claimed(desk.claim("b", grace_us=0)) == [ONE]


def test_a_worker_is_preferred_for_what_it_synced_last(desk):
    desk.add([ONE])
    desk.let_all_be_due()
    desk.leases.release("a", [Ended(lease=one, is_done=False, is_synced=False) for one in desk.claim("a")])
    assert desk.claim("b") == []
    assert claimed(desk.claim("a")) == [ONE]


@pytest.mark.parametrize("how", ["grace passed", "evicted", "worker left", "not warm"])
def test_another_worker_gets_what_nobody_has_in_memory(how, desk):
    desk.add([ONE])
    desk.let_all_be_due()
    (lease,) = desk.claim("a")
    desk.leases.release("a", [Ended(lease=lease, is_done=False, is_synced=False, is_warm=how != "not warm")])
    if how == "evicted":
        desk.leases.forget("a", [ONE])
    if how == "worker left":
        desk.leases.leave("a")
    assert claimed(desk.claim("b", grace_us=0 if how == "grace passed" else LEASE_US)) == [ONE]


def test_a_lapsed_lease_goes_to_another_worker_at_once_and_counts_as_lost(desk):
    desk.add([ONE])
    desk.let_all_be_due()
    (before,) = desk.claim("a")
    assert desk.claim("b") == []
    desk.let_all_lapse()
    (after,) = desk.claim("b")
    assert after.epoch == before.epoch + 1
    assert desk.leases.state(late_us=0).gateways[0].losses == 1


def test_whoever_lost_a_lease_changes_nothing_any_more(desk):
    desk.add([ONE])
    desk.let_all_be_due()
    (before,) = desk.claim("a")
    desk.let_all_lapse()
    (after,) = desk.claim("b")
    assert desk.leases.renew("a", [before], lease_us=LEASE_US) == set()
    desk.leases.release("a", [Ended(lease=before)])
    assert desk.leases.accounts()[0].worker == "b"
    assert desk.leases.renew("b", [after], lease_us=LEASE_US) == {ONE}


def test_a_renewed_lease_does_not_lapse(desk):
    desk.add([ONE])
    desk.let_all_be_due()
    leases = desk.claim("a")
    desk.let_all_lapse()
    assert desk.leases.renew("a", leases, lease_us=LEASE_US) == {ONE}
    assert desk.claim("b", grace_us=0) == []


def test_those_that_wait_longest_are_claimed_first(desk):
    desk.add(names(20))
    desk.let_all_be_due()
    desk.execute("UPDATE fleet_leases SET ready_us = 0 WHERE login = ?", names(20)[11].login)
    assert claimed(desk.claim("a", 1)) == [names(20)[11]]


def test_a_gateway_never_gets_more_calls_at_once_than_it_takes(desk):
    desk.add(names(40))
    desk.add(names(40, first=1), OTHER_ADDRESS)
    desk.leases.set_gateway(OTHER_ADDRESS, calls_max=7, server_key=None)
    desk.let_all_be_due()

    def claim_some(worker):
        return [desk.claim(f"worker {worker}", 3) for _ in range(8)]

    with ThreadPoolExecutor(6) as threads:
        found = [lease for some in threads.map(claim_some, range(6)) for leases in some for lease in leases]
    assert Counter(one.gateway for one in found) == {ADDRESS: CALLS_MAX, OTHER_ADDRESS: 7}
    assert len({one.account for one in found}) == len(found)


def test_a_lapsed_lease_takes_no_room(desk):
    desk.add(names(2 * CALLS_MAX))
    desk.let_all_be_due()
    assert len(desk.claim("dead")) == CALLS_MAX
    desk.let_all_lapse()
    assert len(desk.claim("a")) == CALLS_MAX


def test_all_accounts_of_a_silent_gateway_are_left_alone_and_one_finds_it_again(desk):
    desk.add(names(10))
    desk.add(names(1, first=1), OTHER_ADDRESS)
    desk.let_all_be_due()
    for number in range(FAILURES_MAX):
        assert desk.leases.state(late_us=0).gateways[0].retry_us is None, number
        desk.leases.gateway_failed(ADDRESS, "no answer")
    state = desk.leases.state(late_us=0).gateways[0]
    assert (state.failures, state.reason) == (FAILURES_MAX, "no answer")
    assert claimed(desk.claim("a")) == names(1, first=1)  # of the other gateway
    desk.execute("UPDATE fleet_gateways SET retry_us = 1 WHERE retry_us IS NOT NULL")
    (probe,) = desk.claim("a")
    assert probe.failures == FAILURES_MAX
    assert desk.claim("b", grace_us=0) == []
    desk.leases.gateway_answered(ADDRESS)
    assert len(desk.claim("b", grace_us=0)) == CALLS_MAX - 1
    assert desk.leases.state(late_us=0).gateways[0].failures == 0


def test_a_stopped_account_is_claimed_by_nobody_until_it_is_resumed(desk):
    desk.add([ONE, TWO])
    assert stop(desk.ledger.journal, ONE)
    desk.let_all_be_due()
    assert claimed(desk.claim("a")) == [TWO]
    assert desk.leases.accounts()[0].is_stopped
    assert desk.leases.resume(ONE)
    assert not desk.leases.resume(ONE)
    assert claimed(desk.claim("b")) == [ONE]


@pytest.mark.parametrize("is_held", [False, True])
def test_a_stopped_account_stays_so_when_it_is_added_again(is_held, desk):
    desk.add([ONE, TWO])
    desk.let_all_be_due()
    leases = desk.claim("a") if is_held else []
    desk.leases.stop(ONE)
    assert desk.leases.add([fleet_account(one, OTHER_ADDRESS, "1m") for one in (ONE, TWO)]) == (1, 0)
    desk.leases.release("a", [Ended(lease=one, is_done=False, is_synced=False) for one in leases])
    desk.let_all_be_due()
    assert claimed(desk.claim("b", grace_us=0)) == [TWO]
    assert desk.leases.resume(ONE)
    (lease,) = desk.claim("c", grace_us=0)
    assert (lease.account, lease.gateway, lease.interval_us) == (ONE, OTHER_ADDRESS, 60_000_000)


def test_an_overdue_account_that_is_added_again_stays_overdue(desk):
    desk.add([ONE], every="1h")
    desk.let_all_be_due()
    desk.add([ONE], every="1h")
    assert claimed(desk.claim("a")) == [ONE]
    desk.add([ONE], every="24h")
    assert desk.leases.accounts()[0].due_us == 1


@pytest.mark.parametrize(("before", "after"), [("15s", "24h"), ("24h", "15s")])
def test_an_account_that_is_added_again_is_due_within_the_shorter_of_both_intervals(before, after, desk):
    desk.add([ONE], every=before)
    now_us = time.time_ns() // 1000
    desk.add([ONE], every=after)
    assert desk.leases.accounts()[0].due_us <= now_us + 20_000_000


def test_an_account_whose_interval_was_changed_while_it_was_synced_is_due_at_once(desk):
    desk.add([ONE, TWO], every="24h")
    desk.let_all_be_due()
    leases = desk.claim("a")
    desk.add([ONE], every="15s")
    desk.leases.release("a", [Ended(lease=one) for one in leases])
    assert claimed(desk.claim("a")) == [ONE]


def test_stopping_waits_until_the_lease_is_given_back(desk):
    desk.add([ONE])
    desk.let_all_be_due()
    (lease,) = desk.claim("a")
    assert 0 < desk.leases.stop(ONE) <= LEASE_US
    with pytest.raises(JournalBusy, match="is being synced for longer than 0 s"):
        stop(desk.ledger.journal, ONE, timeout_sec=0)
    found = []
    waiting = Thread(target=lambda: found.append(stop(desk.ledger.journal, ONE)))
    waiting.start()
    assert desk.leases.renew("a", [lease], lease_us=LEASE_US) == {ONE}  # a sync under way goes on
    desk.leases.release("a", [Ended(lease=lease)])
    waiting.join(30)
    assert found == [True]
    assert desk.claim("b", grace_us=0) == []


def test_a_lease_that_is_given_back_after_its_account_was_stopped_goes_to_nobody(desk):
    desk.add([ONE])
    desk.let_all_be_due()
    (lease,) = desk.claim("a")
    assert desk.leases.stop(ONE) > 0
    desk.leases.release("a", [Ended(lease=lease, is_done=False, is_synced=False)])
    assert desk.claim("b", grace_us=0) == []


def test_stopping_waits_for_a_dead_worker_until_its_lease_lapsed(desk):
    desk.add([ONE])
    desk.let_all_be_due()
    (lease,) = desk.claim("dead")
    desk.let_all_lapse()
    assert stop(desk.ledger.journal, ONE, timeout_sec=0)
    assert desk.leases.renew("dead", [lease], lease_us=LEASE_US) == set()


def test_a_stopped_account_whose_worker_died_goes_to_nobody(desk):
    desk.add([ONE])
    desk.let_all_be_due()
    assert claimed(desk.claim("dead")) == [ONE]
    assert desk.leases.stop(ONE) > 0
    desk.let_all_lapse()
    assert desk.claim("b", grace_us=0) == []


def test_an_account_that_no_fleet_syncs_is_stopped_already(desk):
    assert not stop(desk.ledger.journal, ONE)


def test_an_account_is_moved_to_another_gateway_while_it_is_synced(desk):
    desk.add([ONE])
    desk.let_all_be_due()
    (lease,) = desk.claim("a")
    desk.add([ONE], OTHER_ADDRESS, "30s")
    (found,) = desk.leases.accounts()
    assert (found.gateway, found.interval_us, found.worker) == (OTHER_ADDRESS, 30_000_000, "a")
    assert [one.gateway for one in desk.leases.state(late_us=0).gateways] == [OTHER_ADDRESS]
    desk.leases.release("a", [Ended(lease=lease)])
    assert desk.leases.accounts()[0].worker is None


HOUR_US = 3_600_000_000


def test_accounts_are_late_and_then_claimed_where_the_clock_of_the_database_went_back(desk):
    desk.add([ONE, TWO])
    desk.let_all_be_due()
    (held,) = desk.claim("a", 1)
    assert desk.leases.bring_forward(lease_us=LEASE_US) == 0
    desk.execute("UPDATE fleet_leases SET due_us = ?, ready_us = ? WHERE worker IS NULL", *[time.time_ns() // 1000] * 2)
    desk.set_clock_back(HOUR_US)
    (state,) = desk.leases.state(late_us=LEASE_US).gateways
    assert (state.due, state.late, state.held) == (1, 2, 1)  # what is held was due long ago
    assert desk.claim("b") == []
    assert desk.leases.bring_forward(lease_us=LEASE_US) == 2
    assert {*claimed(desk.claim("b")), held.account} == {ONE, TWO}
    assert desk.leases.renew("a", [held], lease_us=LEASE_US) == {held.account}  # its worker is there, and keeps it


def test_a_dead_workers_lease_lapses_where_the_clock_of_the_database_went_back(desk):
    desk.add([ONE])
    desk.let_all_be_due()
    assert claimed(desk.claim("dead")) == [ONE]
    desk.set_clock_back(HOUR_US)
    assert desk.leases.bring_forward(lease_us=0) == 1
    assert claimed(desk.claim("b")) == [ONE]


def test_a_silent_gateway_is_asked_again_where_the_clock_of_the_database_went_back(desk):
    desk.add([ONE])
    desk.let_all_be_due()
    for _ in range(FAILURES_MAX):
        desk.leases.gateway_failed(ADDRESS, "no answer")
    desk.set_clock_back(HOUR_US)
    desk.let_all_be_due()
    assert desk.claim("a") == []
    desk.leases.bring_forward(lease_us=LEASE_US)
    assert claimed(desk.claim("a")) == [ONE]


def test_what_was_stopped_stays_so_where_the_clock_of_the_database_went_back(desk):
    desk.add([ONE])
    stop(desk.ledger.journal, ONE)
    desk.set_clock_back(HOUR_US)
    (state,) = desk.leases.state(late_us=LEASE_US).gateways
    assert (state.due, state.late, state.stopped) == (0, 0, 1)
    assert desk.leases.bring_forward(lease_us=LEASE_US) == 0
    assert desk.claim("a") == []


def test_others_are_removed_together_with_what_is_added_or_nothing_changes(desk):
    desk.add([ONE])
    with pytest.raises(JournalError):
        desk.leases.add([FleetAccount(account=TWO, gateway=ADDRESS, interval_us=2**63)], remove_others=True)
    assert [one.account for one in desk.leases.accounts()] == [ONE]
    assert desk.leases.add([fleet_account(TWO, ADDRESS, None)], remove_others=True) == (0, 1)
    assert [one.account for one in desk.leases.accounts()] == [TWO]


def test_the_settings_of_a_gateway_outlast_its_accounts(desk):
    desk.leases.set_gateway(ADDRESS, calls_max=1, server_key="/keys/a.key")
    desk.add(names(3))
    desk.add(names(3), OTHER_ADDRESS)
    assert [one.gateway for one in desk.leases.state(late_us=0).gateways] == [OTHER_ADDRESS]
    for one in names(3):
        desk.leases.remove(one)
    assert desk.leases.state(late_us=0).gateways == []
    desk.add(names(3))
    desk.let_all_be_due()
    assert [one.server_key for one in desk.claim("a")] == ["/keys/a.key"]


def test_what_is_not_set_of_a_gateway_stays_as_it_is(desk):
    assert desk.leases.set_gateway(ADDRESS) == (CALLS_MAX, None)
    assert desk.leases.set_gateway(ADDRESS, server_key="/keys/a.key") == (CALLS_MAX, "/keys/a.key")
    assert desk.leases.set_gateway(ADDRESS, calls_max=8) == (8, "/keys/a.key")
    assert desk.leases.set_gateway(ADDRESS, server_key="/keys/b.key") == (8, "/keys/b.key")
    assert desk.leases.set_gateway(ADDRESS, server_key="") == (8, None)
    assert desk.leases.set_gateway(OTHER_ADDRESS, server_key="") == (CALLS_MAX, None)


def test_accounts_of_a_gateway_are_added_and_removed_at_once_while_others_are_synced(desk):
    many, one_at_a_time = names(40), Lock()
    desk.leases.set_gateway(ADDRESS, calls_max=40)

    def change(turned):
        for _ in range(20):
            desk.add(many[::-1] if turned else many)
            for one in many[:2]:
                desk.leases.remove(one)

    def sync(worker):
        for _ in range(40):
            with one_at_a_time:
                desk.let_all_be_due()
            leases = desk.claim(worker, grace_us=0)
            desk.leases.renew(worker, leases, lease_us=LEASE_US)
            desk.leases.release(worker, [Ended(lease=one) for one in leases])

    with ThreadPoolExecutor(4) as threads:
        work = [threads.submit(change, False), threads.submit(change, True), *(threads.submit(sync, one) for one in "ab")]
        assert [one.result() for one in work] == [None] * 4
    assert {one.account for one in desk.leases.accounts()} >= {*many[2:]}


def test_a_removed_account_is_claimed_no_more(desk):
    desk.add([ONE, TWO])
    desk.let_all_be_due()
    assert desk.leases.remove(ONE)
    assert not desk.leases.remove(ONE)
    assert claimed(desk.claim("a")) == [TWO]


def test_the_state_counts_what_is_due_late_and_held(desk):
    desk.add([*names(10), AccountId("Other", 1)])
    desk.let_all_be_due()
    stop(desk.ledger.journal, AccountId("Other", 1))
    desk.claim("a", 3)
    (state,) = desk.leases.state(late_us=LEASE_US).gateways
    assert (state.accounts, state.due, state.late, state.held, state.stopped) == (11, 7, 10, 3, 1)
    (worker,) = desk.leases.state(late_us=0).workers
    assert (worker.worker, worker.accounts, worker.held) == ("a", 3, 3)


def test_the_metrics_show_how_the_fleet_is(desk):
    assert not [line for line in exported(desk) if not line.startswith("#")]  # without accounts there is nothing
    desk.add(names(3))
    desk.add(names(1, first=1), OTHER_ADDRESS)
    desk.let_all_be_due()
    stop(desk.ledger.journal, names(1, first=1)[0])
    desk.claim("a")
    desk.let_all_lapse()
    desk.claim("b", 2)
    for _ in range(FAILURES_MAX):
        desk.leases.gateway_failed(OTHER_ADDRESS, "no answer")
    found = dict(line.rsplit(" ", 1) for line in exported(desk) if not line.startswith("#"))
    oldest = found.pop("ledger_fleet_oldest_due_timestamp_seconds")
    assert float(oldest) == pytest.approx(1e-6)
    assert found == {
        'ledger_fleet_accounts{state="waiting"}': "0.0",
        'ledger_fleet_accounts{state="due"}': "1.0",
        'ledger_fleet_accounts{state="held"}': "2.0",
        'ledger_fleet_accounts{state="stopped"}': "1.0",
        "ledger_fleet_accounts_late": "3.0",
        'ledger_fleet_gateways{state="answers"}': "1.0",
        'ledger_fleet_gateways{state="failing"}': "0.0",
        'ledger_fleet_gateways{state="backing_off"}': "1.0",
        "ledger_fleet_lease_losses_total": "2.0",
    }


def exported(desk):
    lines = exposition(JournalMetrics(desk.ledger).collect()).decode().splitlines()
    return [line for line in lines if "ledger_fleet_" in line]


def test_nothing_is_claimed_of_a_journal_that_a_newer_program_migrated(desk):
    desk.add([ONE])
    desk.let_all_be_due()
    desk.execute("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(JournalNewer, match=r"migrated to schema 9999 meanwhile.*start a newer ledger"):
        desk.claim("a")
    assert desk.leases.accounts()[0].worker is None
