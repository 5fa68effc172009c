"""What compare names differs, nothing else does, and the events that it names make the differences exactly."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from ledger import Account
from ledger.clock import utc_text, utc_text_us
from ledger.compare import At, compare
from ledger.json_views import replay_json
from ledger.portfolio import Portfolio
from tests.property.test_explain import hostile


@st.composite
def moments(draw: st.DrawFn, account: Account) -> At:
    """Return any moment of an account: a version, a time, what was known at a time, both, or now."""
    events, clock = list(account.events()), account.terms.clock
    named: dict[str, Any] = {}
    if draw(st.booleans()):
        named["until"] = utc_text(clock.to_utc_msc(draw(st.sampled_from(events)).event.time_msc))
    if draw(st.booleans()):
        named["known_at"] = utc_text_us(draw(st.sampled_from(events)).recorded_us)
    elif draw(st.booleans()):
        named["version"] = draw(st.integers(1, len(events)))
    return At(account=account.name, **named)


def shown(portfolio: Portfolio) -> dict[str, Any]:
    item = replay_json(portfolio, until=None, known_at=None, version=0, head="", selected=0)
    return {name: item[name] for name in ("balance", "credit", "positions", "unexplained", "breaks")}


def signed(portfolio: Portfolio) -> dict[str, Decimal]:
    return {
        f"position {key}": one.volume if one.side.value == "buy" else -one.volume for key, one in portfolio.positions.items()
    }


@given(hostile(), st.data())
def test_differences_are_what_two_replays_show_and_the_events_add_up_to_them(account, data):
    a, b = data.draw(moments(account)), data.draw(moments(account))
    found = compare(account.ledger, a, b)
    before, after = found.a.portfolio, found.b.portfolio
    assert found.is_equal == (shown(before) == shown(after))
    named = {one.what for one in found.differences}
    assert ("balance" in named, "credit" in named) == (before.balance != after.balance, before.credit != after.credit)
    volumes = signed(before), signed(after)
    differing = {name for name in {*volumes[0], *volumes[1]} if volumes[0].get(name) != volumes[1].get(name)}
    assert differing <= named
    for one in found.differences:
        assert one.a != one.b
        assert one.events, one.what
        assert {change.line.first_version for change in one.events} <= {change.line.first_version for change in found.events}
    by = {"balance": after.balance - before.balance, "credit": after.credit - before.credit}
    by |= {name: volumes[1].get(name, Decimal(0)) - volumes[0].get(name, Decimal(0)) for name in differing}
    for name, amount in by.items():
        assert sum((change.changes.get(name, Decimal(0)) for change in found.events), Decimal(0)) == amount, name


@given(hostile(), st.data())
def test_an_account_compared_with_itself_differs_in_nothing(account, data):
    at = data.draw(moments(account))
    found = compare(account.ledger, at, at)
    assert (found.differences, found.events) == ((), ())
