"""What a worker of a fleet notes of its accounts and gateways, on a real Postgres."""

from __future__ import annotations

import pytest

from tests.support.fleet import HoldingGateway, connecting, desk_of_fleet, names, serving, working
from tests.support.served import until
from tools.testkit.fleet import FIRST_LOGIN

(ONE,) = names(1)
LOGINS = range(FIRST_LOGIN, FIRST_LOGIN + 1)
NOBODY = "tcp://127.0.0.1:9"
ELSEWHERE = "tcp://192.0.2.1:5555"


@pytest.fixture
def desk():
    with desk_of_fleet() as found:
        yield found


def test_an_account_counts_as_synced_after_a_good_sync_alone(desk):
    with serving(HoldingGateway(LOGINS)) as (address,), connecting(desk.ledger, timeout_ms=50) as connect:
        desk.add([ONE], NOBODY, "1s")
        with working(desk, connect):
            until(lambda: desk.leases.state(late_us=0).gateways[0].failures >= 3, "three failed syncs, two of them given back")
            assert desk.leases.accounts()[0].synced_us is None
            assert [one.synced_us for one in desk.leases.state(late_us=0).workers] in ([], [None])
            desk.add([ONE], address, "1s")
            until(lambda: desk.leases.accounts()[0].synced_us, "a good sync")


def test_a_worker_without_keys_says_nothing_about_the_gateway(desk):
    desk.ledger.account(ONE).open(currency="USD", mode="hedging")
    desk.add([ONE], ELSEWHERE, "1s")
    with connecting(desk.ledger) as connect, working(desk, connect) as logged:
        until(lambda: [event for event, _ in logged].count("sync failed") >= 3, "three syncs")
    (reason, *_) = {str(fields["reason"]) for event, fields in logged if event == "sync failed"}
    assert "is on another machine" in reason
    assert desk.leases.state(late_us=0).gateways[0].failures == 0
    assert [one.kind for one in desk.ledger.account(ONE).events()] == ["AccountOpened"]


def test_a_worker_uses_the_new_key_of_a_gateway_from_the_next_sync_on(desk):
    used = []
    with serving(HoldingGateway(LOGINS)) as (address,), connecting(desk.ledger) as connect:

        def noting(lease, before_use):
            used.append(lease.server_key)
            return connect(lease._replace(server_key=None), before_use)

        desk.add([ONE], address, "1s")
        with working(desk, noting):
            until(lambda: desk.leases.accounts()[0].synced_us, "a sync")
            desk.leases.set_gateway(address, server_key="/keys/new.key")
            until(lambda: used[1:], "another connection")
    assert used == [None, "/keys/new.key"]
