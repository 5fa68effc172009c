"""Two engines order at the same moment, again and again: one intent fits the limits, and one of them may send an id."""

from __future__ import annotations

import json

import pytest

from ledger import Ledger, OrderDenied, OrderIntended
from ledger.reconciler import StateReconciler
from tests.support.broker import ACCOUNT, Watch
from tests.support.journals import new_url
from tests.support.order_desk import OrderingGateway

RACES = 100
SAME_IDS = 30

#: Both create an order of the same race when they read its line, and report what they have then. The gateway sends nothing.
WORK = """
import json
from tests.support.order_desk import OrderingGateway
from tests.support.broker import ACCOUNT as NAME, Watch
from ledger.order_manager import Limits, OrderManager, OrderRequest
from ledger.orders.states import OrderState

who, is_shared = sys.argv[2], sys.argv[3] == "same id"
clock = Watch()
clock.move(60)
clock.stop()
account = Ledger.open(url, now_us=clock).account(NAME)
gateway = OrderingGateway(now_us=clock)
limits = Limits(volume_per_symbol_max="1", verified_within_sec=10**8)
manager = OrderManager(account, gateway, limits=limits, allow_unknown=True)
report("ready")
while (line := read_line()):
    volume = "0.6"
    symbol = f"S{int(line):03}"
    name = line if is_shared else f"{who}-{line}"
    order = manager.create_order(OrderRequest.market(symbol, "buy", volume), name)
    may_send = name in manager._may_send
    report(json.dumps([order.state.value, may_send]))
report("done")
"""


@pytest.fixture(params=["sqlite", "postgres"])
def url(request, tmp_path):
    """Return a journal whose account a sync has verified."""
    url = new_url(request.param, tmp_path)
    watch = Watch()
    with Ledger.open(url, now_us=watch) as ledger:
        account = ledger.account(ACCOUNT)
        account.open(currency="USD", mode="hedging")
        gateway = OrderingGateway(now_us=watch)
        reconciler = StateReconciler(account, gateway, monotonic=watch.monotonic, sleep=watch.sleep)
        assert reconciler.sync_positions().status.value == "SUCCESS"
    return url


def race(start, url, mode, races):
    """Let two processes order in each race at the same moment; return what both have of each."""
    children = [start(WORK, url, who, mode) for who in ("a", "b")]
    for child in children:
        assert child.read_line() == "ready"
    found = []
    for number in range(1, races + 1):
        for child in children:
            child.send(number)
        found.append([json.loads(child.read_line()) for child in children])
    for child in children:
        child.send("")
        assert child.read_line() == "done"
        child.end()
    return found


def recorded(url):
    with Ledger.open(url) as ledger:
        return [one.event for one in ledger.account(ACCOUNT).events()]


def test_two_engines_share_a_limit_and_one_order_fits(start, url):
    found = race(start, url, "own ids", RACES)
    assert {tuple(sorted(state for state, _ in both)) for both in found} == {("denied", "intended")}
    assert all(may_send == (state == "intended") for both in found for state, may_send in both)
    events = recorded(url)
    intents = [one for one in events if isinstance(one, OrderIntended)]
    denials = [one for one in events if isinstance(one, OrderDenied)]
    assert len({one.symbol for one in intents}) == len(intents) == RACES
    assert {one.symbol for one in denials} == {one.symbol for one in intents}
    assert {one.rule for one in denials} == {"volume_per_symbol_max"}
    assert len({one.client_id[0] for one in intents}) == 2, "each of them was first now and then"


def test_two_engines_with_the_same_id_have_one_intent_and_one_may_send(start, url):
    found = race(start, url, "same id", SAME_IDS)
    assert {state for both in found for state, _ in both} == {"intended"}
    assert [sum(may_send for _, may_send in both) for both in found] == [1] * SAME_IDS
    assert len([one for one in recorded(url) if isinstance(one, OrderIntended)]) == SAME_IDS
