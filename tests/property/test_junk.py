"""Whatever is put in a field of an event, it is refused by an error of the ledger, or a valid event comes of it."""

from __future__ import annotations

from datetime import UTC
from decimal import Decimal
from typing import Any

import attrs
from hypothesis import example, given
from hypothesis import strategies as st

from ledger import LedgerError, PositionState
from ledger.codec import KINDS, decode, encode, natural_key
from ledger.events import BY_VERSION_KINDS
from ledger.terms import AccountTerms
from tools.testkit.every_event import EVENTS
from tools.testkit.stories import at, fill, opened, state

TERMS_FILTER: AccountTerms = opened().terms

#: What every event is made of, by the name of the field; a field that is not here has a default.
VALID: dict[str, Any] = {
    "server": "Broker-Live", "login": 70113, "currency": "USD", "currency_digits": 2, "mode": "hedging", "clock": "UTC",
    "time_msc": at(1), "symbol": "EURUSD", "deal": 1, "side": "buy", "entry": "in", "volume": 1, "price": 10, "profit": 1,
    "type": 2, "caused_by": 1, "now": fill(1), "position": state("long 1 @ 10"), "before": state("long 1 @ 10"),
    "after": state("short 1 @ 10"), "position_id": 7, "ticket_before": 7, "ticket_after": 8, "balance": 1, "end": "vanished",
    "reason": "r", "operator": "o", "kind": "ghost", "price_open": 10, "form": "extended",
}  # fmt: skip

#: Events that are folded by version -> an example of each.
BY_VERSION: dict[type, Any] = {type(one): one for one in EVENTS if type(one).__name__ in BY_VERSION_KINDS}

scalars: st.SearchStrategy[Any] = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.decimals() | st.text(max_size=8) | st.binary(max_size=4)
    | st.complex_numbers() | st.fractions() | st.dates() | st.datetimes() | st.datetimes(timezones=st.just(UTC))
    | st.timedeltas() | st.just(object()) | st.just(int) | st.sampled_from(list(VALID.values()))
)  # fmt: skip
junk = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8) | st.integers(), inner, max_size=3)
) | st.dictionaries(st.sampled_from([field.name for field in attrs.fields(PositionState)]), scalars, max_size=6)
classes = st.sampled_from([cls for cls, _ in KINDS.values()] + [PositionState])


def fields_of(cls: type) -> dict[str, Any]:
    needed = [one.name for one in attrs.fields(cls) if one.default is attrs.NOTHING]
    if cls in BY_VERSION:
        return {name: getattr(BY_VERSION[cls], name) for name in needed}
    return {name: 0 if cls.__name__ == "FillRecorded" and name == "reason" else VALID[name] for name in needed}


@given(st.data())
@example(data=None)
def test_any_value_in_any_field_makes_an_event_or_an_error(data):
    if data is None:
        return
    cls = data.draw(classes)
    fields = fields_of(cls)
    for name in data.draw(st.sets(st.sampled_from([one.name for one in attrs.fields(cls)]), min_size=1, max_size=3)):
        fields[name] = data.draw(junk)
    try:
        made = cls(**fields)
        if cls is PositionState:
            return
        row = encode(made, TERMS_FILTER)
        natural_key(made)
    except LedgerError as error:
        str(error).encode()
        return
    again = decode(row, TERMS_FILTER)
    assert encode(again, TERMS_FILTER) == row


@given(junk)
def test_recording_anything_but_events_is_an_error(thing):
    account = opened()
    for record in (account.record, account.record_many, lambda it: account.record_many([it])):
        try:
            record(thing)
        except LedgerError as error:
            str(error).encode()


@given(st.decimals(allow_nan=False, allow_infinity=False, min_value=0), st.integers(0, 8))
def test_a_decimal_is_recorded_exactly_or_refused(number, places):
    written = number.quantize(Decimal(1).scaleb(-places)) if abs(number) < 10**15 else number
    try:
        made = fill(1, volume=written)
        row = encode(made, TERMS_FILTER)
    except LedgerError:
        return
    assert decode(row, TERMS_FILTER).volume == written  # type: ignore[union-attr]
