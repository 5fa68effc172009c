"""Laws of flapping: whatever pictures a gateway shows in whatever order, few events follow, and it ends when it settles."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger import ReconcilePolicy, RemotePosition, SyncStatus
from ledger.reconcile.compare import compare
from tests.property.test_fold import is_up_to_date
from tests.property.test_reconcile import desk, snapshot_of
from tests.support.broker import reconciler
from tests.support.strategies import SYMBOLS, History, lots, prices, sides

IDS = (7, 8)
WINDOW_SEC = 3600
#: Breaks of a position that are opened, confirmed, corrected and closed before it is left to people, and notes of a window.
EVENTS_PER_POSITION = 40


@st.composite
def pictures(draw: st.DrawFn, *, nets: bool, is_identified: bool) -> list[tuple[RemotePosition, ...]]:
    """Return a few pictures of two positions: present or not, with few sides, volumes, prices, symbols and tickets."""
    few_lots, few_prices = draw(st.lists(lots, min_size=1, max_size=2)), draw(st.lists(prices, min_size=1, max_size=2))
    found = []
    for _ in range(draw(st.integers(2, 4))):
        rows = []
        for number, position_id in enumerate(IDS):
            if draw(st.booleans()):
                continue
            ticket = draw(st.sampled_from([position_id, position_id + 100])) if is_identified else position_id
            # By their tickets alone two positions of one symbol can be mistaken for one another for good.
            symbol = SYMBOLS[number] if nets else draw(st.sampled_from((SYMBOLS[:2], SYMBOLS[2:])[number]))
            rows.append(
                RemotePosition(
                    position_id=position_id, ticket=ticket, symbol=symbol, side=draw(sides),
                    volume=draw(st.sampled_from(few_lots)), price_open=draw(st.sampled_from(few_prices)),
                    is_identified=is_identified,
                )
            )  # fmt: skip
        found.append(tuple(rows))
    return found


def in_turn(data: st.DataObject, found: Sequence[tuple[RemotePosition, ...]], times: int) -> list[tuple[RemotePosition, ...]]:
    """Return the pictures of so many syncs: in turn, or by chance."""
    if data.draw(st.booleans(), label="periodic"):
        return [found[number % len(found)] for number in range(times)]
    return data.draw(st.lists(st.sampled_from(list(found)), min_size=times, max_size=times))


@pytest.mark.parametrize("extended", [False, True], ids=["base form", "extended form"])
@settings(max_examples=40)
@given(data=st.data())
def test_whatever_flaps_appends_few_events_is_not_safe_meanwhile_and_ends_when_it_settles(extended, data):
    history = History(nets=data.draw(st.booleans(), label="nets"))
    account, gateway, watch = desk(history, extended=extended)
    policy = ReconcilePolicy(**data.draw(st.sampled_from([{}, {"drift": "report"}, {"ghost": "report", "zombie": "report"}])))
    service = reconciler(account, gateway, watch, policy)
    version = account.version
    found = data.draw(pictures(nets=history.nets, is_identified=extended))
    restarts = data.draw(st.booleans(), label="restarts")
    for rows in in_turn(data, found, 60):
        watch.move(15)
        gateway.show_rows(rows)
        service = reconciler(account, gateway, watch, policy) if restarts else service
        flapping = [one for one in account.portfolio.breaks if one.flaps is not None]
        result = service.sync_positions()
        if flapping:
            assert result.status is SyncStatus.PARTIAL
            assert not any(service.safe_to_trade(one.symbol) for one in flapping)
    assert account.version - version <= EVENTS_PER_POSITION * len(IDS)
    for _ in range(3 * WINDOW_SEC // 60):
        watch.move(60)
        service.sync_positions()
    if policy == ReconcilePolicy():
        assert (service.sync_positions().status, account.portfolio.breaks) == (SyncStatus.SUCCESS, ())
        assert compare(account.portfolio, snapshot_of(gateway.positions().positions)) == ()
    version = account.version
    service.sync_positions()
    assert account.version == version
    is_up_to_date(account)
