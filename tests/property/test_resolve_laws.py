"""Laws of what a lookup proves: its rows have no order, what only resembles is never taken, and doubt presumes nothing."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import attrs
from hypothesis import given
from hypothesis import strategies as st

from ledger import FillRecorded
from ledger.events.orders import Carrier, OrderKind
from ledger.order_messages import Lookup, RemoteOrder
from ledger.orders.policy import MAGIC_SPAN, OrderPolicy
from ledger.orders.request import OrderRequest
from ledger.orders.resolve import Agreement, Found, NotFound, is_absent, match
from ledger.orders.states import OrderState
from ledger.orders.view import Order
from ledger.values import Side
from tools.testkit.facts import START_MSC, fill

CLIENT_ID, TOKEN, MAGIC = "ema-1", "L" + "B" * 19, 7 * MAGIC_SPAN + 1
TICKETS = st.integers(1, 4)
VOLUMES = st.sampled_from([Decimal("0.1"), Decimal(1)])


@st.composite
def orders(draw: Any) -> Order:
    request = OrderRequest.market("EURUSD", "buy", "0.1")
    magic = draw(st.sampled_from([None, MAGIC]))
    return Order(
        client_id=CLIENT_ID, token=TOKEN, kind=OrderKind.MARKET, symbol="EURUSD", side=Side.BUY, volume=Decimal("0.1"),
        filled=Decimal(0), state=OrderState.UNKNOWN, since_msc=START_MSC, why="",
        tickets=tuple(draw(st.sets(TICKETS, max_size=1))), request=attrs.evolve(request, magic=magic),
    )  # fmt: skip


@st.composite
def rows(draw: Any) -> RemoteOrder:
    return RemoteOrder(
        ticket=draw(TICKETS), symbol=draw(st.sampled_from(["EURUSD", "USDJPY"])), type=draw(st.integers(0, 5)),
        state=draw(st.integers(0, 9)), volume_initial=draw(VOLUMES), volume_current=Decimal(0),
        client_id=draw(st.sampled_from([None, None, CLIENT_ID, "other"])), magic=draw(st.sampled_from([0, MAGIC, MAGIC + 1])),
        comment=draw(st.sampled_from([None, "", TOKEN, TOKEN + " tp", TOKEN[:-1], "L" + "C" * 19])),
    )  # fmt: skip


LISTED = st.lists(rows(), max_size=4, unique_by=lambda row: row.ticket)
DEALS = st.lists(st.integers(1, 6), max_size=3, unique=True).map(lambda found: [fill(100 + one, order=one) for one in found])
CARRIERS = st.sampled_from([Carrier.COMMENT, Carrier.MAGIC])


def lookup(found: list[RemoteOrder], deals: list[FillRecorded]) -> Lookup:
    return Lookup(from_msc=0, to_msc=1, connected=True, orders=tuple(found), deals=tuple(deals))


def is_ours(order: Order, row: RemoteOrder, carrier: Carrier) -> bool:
    """Return whether ticket, client id, token or magic of a row name an order: written out once more."""
    if row.ticket in order.tickets:
        return True
    if row.symbol != "EURUSD" or row.type % 2 or row.client_id not in (None, order.client_id):
        return False  # a copy: the order buys EURUSD
    if row.client_id is not None:
        return True
    has_magic = carrier is Carrier.MAGIC and order.request is not None and row.magic == order.request.magic
    return has_magic or (row.comment or "")[: len(TOKEN)] == TOKEN


@given(orders(), LISTED, DEALS, CARRIERS, st.randoms())
def test_the_order_of_rows_and_deals_changes_nothing(order, found, deals, carrier, dice):
    def concluded(answer: Found | NotFound) -> object:
        if isinstance(answer, NotFound):
            return set(answer.hints)
        return answer.outcome, answer.basis, set(answer.tickets), set(answer.rows), {one.deal for one in answer.deals}

    shuffled, other = dice.sample(found, len(found)), dice.sample(deals, len(deals))
    expected = concluded(match(order, lookup(found, deals), carrier=carrier))
    assert concluded(match(order, lookup(shuffled, other), carrier=carrier)) == expected


@given(orders(), LISTED, DEALS, CARRIERS)
def test_what_names_the_order_is_taken_and_nothing_else(order, found, deals, carrier):
    ours = {row.ticket for row in found if is_ours(order, row, carrier)}
    answer = match(order, lookup(found, deals), carrier=carrier)
    if isinstance(answer, NotFound):
        assert not ours
        assert all(not is_ours(order, row, carrier) for row in found if row.ticket in answer.hints)
        return
    assert {row.ticket for row in answer.rows} == ours
    assert set(answer.tickets) == ours | set(order.tickets)
    assert {one.order for one in answer.deals} == {one.order for one in deals} & set(answer.tickets)


@given(orders(), LISTED, DEALS, CARRIERS)
def test_an_order_that_only_resembles_it_is_never_taken(order, found, deals, carrier):
    strangers = [attrs.evolve(row, client_id=None, comment="", magic=0, ticket=row.ticket + 10) for row in found]
    unnamed = attrs.evolve(order, tickets=())
    assert isinstance(match(unnamed, lookup(strangers, deals), carrier=carrier), NotFound)
    assert isinstance(match(unnamed, lookup([], deals), carrier=carrier), NotFound)


# ---------------------------------------------------------------------------------------------------- the rule of absence

POLICIES = st.builds(
    OrderPolicy,
    absence=st.sampled_from(["presume", "presume", "ask"]),
    absent_after_sec=st.sampled_from([0.0, 8.0, 240.0]),
    missing_lookups=st.integers(2, 4),
)
STEPS_MSC = st.sampled_from([0, 1_000, 10_000, 120_000, 240_000])


@st.composite
def lookups(draw: Any) -> list[Agreement]:
    """Return lookups one after the other; the gateway may start anew between two, and the history may grow."""
    at, server, epoch, found = 1_000_000, 5_000_000, 1, []
    for _ in range(draw(st.integers(0, 6))):
        at, server = at + draw(STEPS_MSC), server + draw(STEPS_MSC)
        epoch += draw(st.sampled_from([0, 0, 0, 1]))
        found.append(Agreement(at_utc_msc=at, server_time_msc=server, epoch=epoch, rows=draw(st.sampled_from([5, 5, 6]))))
    return found


@given(lookups(), POLICIES, st.booleans(), st.data())
def test_doubt_never_lets_an_order_be_presumed_absent(agreements, policy, is_proven, data):
    def is_presumed(found: list[Agreement], sent: int = 1_000_000, *, proven: bool = is_proven) -> bool:
        return is_absent(found, sent, policy, is_carrier_proven=proven)

    assert not is_presumed(agreements, proven=False)
    assert not is_presumed(agreements[: policy.missing_lookups - 1])
    if not agreements:
        return
    place = data.draw(st.integers(0, len(agreements) - 1), "place")
    last = agreements[-1]
    doubted = {
        "without one of them": agreements[:place] + agreements[place + 1 :],
        "a restart before the last": [*agreements[:-1], attrs.evolve(last, epoch=last.epoch + 1)],
        "a server's clock that does not move": [attrs.evolve(one, server_time_msc=5) for one in agreements],
        "a history that grew": [*agreements[:-1], attrs.evolve(last, rows=99)],
    }
    is_whole = is_presumed(agreements)
    # Without the last it is the answer of before; the others could only help.
    for what, found in doubted.items():
        if what != "without one of them" or place < len(agreements) - 1:
            assert is_whole or not is_presumed(found), what
    assert not is_presumed(doubted["a server's clock that does not move"])
    if policy.absent_after_sec:
        assert not is_presumed(doubted["a restart before the last"])
        assert not is_presumed(doubted["a history that grew"])
    later = data.draw(STEPS_MSC, "sent later")
    assert is_whole or not is_presumed(agreements, 1_000_000 + later)
    sooner = [attrs.evolve(one, at_utc_msc=one.at_utc_msc - (one.at_utc_msc - 1_000_000) // 2) for one in agreements]
    assert is_whole or not is_presumed(sooner), "in half the time"


@given(lookups(), POLICIES)
def test_what_is_presumed_has_every_part_of_the_rule(agreements, policy):
    if not is_absent(agreements, 1_000_000, policy, is_carrier_proven=True):
        return
    assert policy.absence.value == "presume"
    assert len(agreements) >= policy.missing_lookups
    assert agreements[-1].at_utc_msc - 1_000_000 >= policy.absent_after_sec * 1000
    assert len({one.server_time_msc for one in agreements}) > 1


@given(st.integers(3, 6), st.integers(10_000, 200_000), st.data())
def test_each_doubt_alone_is_enough(count, apart_msc, data):
    at = [1_000_000 + 240_000 + number * apart_msc for number in range(count)]
    whole = [Agreement(at_utc_msc=one, server_time_msc=one, epoch=1, rows=5) for one in at]
    policy = OrderPolicy(absence="presume")
    assert is_absent(whole, 1_000_000, policy, is_carrier_proven=True)
    doubt = data.draw(st.sampled_from([{"epoch": 2}, {"rows": 6}, {"server_time_msc": at[0]}]))
    assert not is_absent([*whole[:-1], attrs.evolve(whole[-1], **doubt)], 1_000_000, policy, is_carrier_proven=True)
    assert not is_absent(whole, at[-1] - 239_999, policy, is_carrier_proven=True)
    assert not is_absent(whole[:2], 1_000_000, policy, is_carrier_proven=True)
