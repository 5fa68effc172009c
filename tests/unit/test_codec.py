"""Events to rows and back: nothing is lost, keys are what they are known by, what does not fit never gets in."""

from __future__ import annotations

import json
import re
from decimal import Decimal

import pytest

from ledger import (
    Adjusted,
    BalanceAsserted,
    BreakOpened,
    ClockRule,
    CorruptEvent,
    DealCompleted,
    DealRevised,
    DriftCorrected,
    Event,
    GhostClosed,
    InexactNumber,
    PositionRecovered,
    SymbolSpecified,
    SyncDegraded,
    UnknownEvent,
)
from ledger.codec import (
    KINDS,
    LIFTS,
    Stored,
    decode,
    decode_posting,
    encode,
    encode_payload,
    natural_key,
    nth_key,
    placement_of,
    posting,
)
from ledger.events import DEAL_KINDS
from ledger.fold_order import asserted, asserted_by
from ledger.postings import IN_ORDER, NO_DEAL, OUT_OF_ORDER, OUTSIDE_FOLD
from tools.testkit.every_event import EVENTS
from tools.testkit.stories import at, cash, fill, incomplete, opened, state

TERMS_FILTER = opened().terms


def test_every_kind_of_event_is_among_the_examples():
    assert {type(event).__name__ for event in EVENTS} == set(KINDS)


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: type(event).__name__)
def test_an_event_comes_back_as_it_was(event):
    row = encode(event, TERMS_FILTER)
    assert decode(row, TERMS_FILTER) == event
    assert encode(decode(row, TERMS_FILTER), TERMS_FILTER) == row
    assert (row.kind, row.schema, row.time_msc) == (type(event).__name__, KINDS[row.kind][1], event.time_msc)


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: type(event).__name__)
def test_what_is_stored_is_integers_texts_and_nothing_else(event):
    row = encode(event, TERMS_FILTER)
    assert {type(value) for value in row} <= {int, str, bytes, type(None)}
    if row.data is not None:
        assert json.dumps(json.loads(row.data), ensure_ascii=False, separators=(",", ":"), sort_keys=True) == row.data
        assert re.search(r"\d[eE]", row.data) is None  # numbers are written in full


def test_money_price_and_volume_are_scaled_as_the_account_and_the_symbol_specify():
    account = opened(digits=8)
    account.record(SymbolSpecified(symbol="EURUSD", price_scale=3, volume_scale=1, time_msc=at(0)))
    row = encode(fill(1, volume="0.5", price="1.234", profit="0.00000001"), account.terms)
    assert (row.volume, row.price, row.profit) == (5, 1234, 1)
    assert encode(fill(1, volume="0.5", price="1.234", symbol="X"), account.terms).price == 123_400_000


@pytest.mark.parametrize("event", [
    fill(1, volume="0.123456789"), fill(1, volume="1e-12"), fill(1, price="1e30"), fill(1, profit="0.1234567"),
    cash(1, "1e20"), cash(1, volume="0.123456789"), DealRevised(now=fill(1, volume="1e-12"), caused_by=2),
    DealCompleted(deal=1, time_msc=at(1), caused_by=2, fee="0.1234567"),
    PositionRecovered(position=state("long 0.123456789 @ 10"), time_msc=at(1)),
    PositionRecovered(position=state("long 1e-12 @ 10"), time_msc=at(1)),
    PositionRecovered(position=state("long 1 @ 1e30"), time_msc=at(1)),
    GhostClosed(before=state("long 0.123456789 @ 10"), time_msc=at(1)),
    DriftCorrected(before=state("long 1 @ 10"), after=state("long 1e20 @ 10"), time_msc=at(1)),
    BalanceAsserted(balance="0.1234567", time_msc=at(1)), BalanceAsserted(balance=1, credit="1e20", time_msc=at(1)),
    Adjusted(operator="m", reason="r", time_msc=at(1), balance_before=0, balance_after="0.1234567"),
    Adjusted(operator="m", reason="r", time_msc=at(1), credit_before="0.1234567", credit_after=0),
    Adjusted(operator="m", reason="r", time_msc=at(1), after=state("long 0.123456789 @ 10")),
], ids=lambda event: type(event).__name__)  # fmt: skip
def test_what_the_fold_could_not_count_is_refused(event):
    with pytest.raises(InexactNumber):
        encode(event, TERMS_FILTER)
    account = opened()
    if not isinstance(event, (DealRevised, DealCompleted)):
        with pytest.raises(InexactNumber):
            account.record(event)
        assert account.version == 1


def test_an_average_with_more_decimals_than_are_stored_is_accepted():
    account = opened()
    account.record(PositionRecovered(position=state("long 1 @ 145.8066666666667"), time_msc=at(1)))
    assert account.portfolio.positions[7].price_open == Decimal("145.80666667")


# ---------------------------------------------------------------------------------------------------------- natural keys


def test_a_deal_is_known_by_its_ticket_whatever_is_recorded_of_it():
    recorded: list[Event] = [fill(5), cash(5), incomplete(fill(5)), DealRevised(now=fill(5), caused_by=1)]
    recorded.append(DealCompleted(deal=5, time_msc=0, caused_by=1))
    assert {natural_key(event) for event in recorded} == {"deal:5"}
    assert [nth_key("deal:5", number) for number in (1, 2, 3)] == ["deal:5", "deal:5#2", "deal:5#3"]


@pytest.mark.parametrize(("same", "other"), [
    (GhostClosed(before=state("long 1 @ 10"), time_msc=at(9)), GhostClosed(before=state("long 2 @ 10"), time_msc=at(9))),
    (PositionRecovered(position=state("long 1 @ 10"), time_msc=at(9)),
     PositionRecovered(position=state("long 1 @ 11"), time_msc=at(9))),
    (PositionRecovered(position=state("long 1 @ 10"), time_msc=at(9), caused_by=3),
     PositionRecovered(position=state("long 1 @ 10"), time_msc=at(9), caused_by=5)),
    (DriftCorrected(before=state("long 1 @ 10"), after=state("long 2 @ 10"), time_msc=at(9)),
     DriftCorrected(before=state("long 3 @ 10"), after=state("long 2 @ 10"), time_msc=at(9))),
])  # fmt: skip
def test_a_correction_is_known_by_both_states_and_not_by_who_saw_it_when(same, other):
    from attrs import evolve

    again = evolve(same, time_msc=at(10), evidence="cd" * 32)
    assert natural_key(again) == natural_key(same) != natural_key(other)


def test_one_number_has_one_spelling_in_a_key():
    keys = {natural_key(GhostClosed(before=state(f"long {volume} @ 10"), time_msc=0)) for volume in ("1", "1.0", "1.00", "1E0")}
    assert len(keys) == 1


def test_what_happens_at_another_time_is_another_event_where_no_snapshot_is_quoted():
    assert natural_key(SyncDegraded(reason="x", time_msc=1)) != natural_key(SyncDegraded(reason="x", time_msc=2))
    assert natural_key(BalanceAsserted(balance=1, time_msc=1)) != natural_key(BalanceAsserted(balance=1, time_msc=2))


# ------------------------------------------------------------------------------------------------------------- placement


@pytest.mark.parametrize(("kind", "place", "placement"), [
    ("FillRecorded", (10_000, 5), IN_ORDER), ("FillRecorded", (10_999, 4), OUT_OF_ORDER),
    ("FillRecorded", (9_000, 99), OUT_OF_ORDER),
    ("FillRecorded", (11_000, 1), IN_ORDER), ("FillRecorded", (10_000, 6), IN_ORDER),
    ("FillRecorded", (9_999, 6), OUT_OF_ORDER),
    ("SyncDegraded", (10_000, NO_DEAL), IN_ORDER), ("SyncDegraded", (9_999, NO_DEAL), OUT_OF_ORDER),
    ("DealCompleted", (99, 9), OUT_OF_ORDER), ("DealRevised", (99, 9), OUT_OF_ORDER),
    ("SymbolSpecified", (0, NO_DEAL), OUTSIDE_FOLD),
    ("AccountOpened", (99, NO_DEAL), OUTSIDE_FOLD),
])  # fmt: skip
def test_an_event_is_placed_where_replay_finds_it(kind, place, placement):
    assert placement_of(kind, place, (10_500, 5)) == placement


# ----------------------------------------------------------------------------------------------------- rows that are odd


def stored(event, **columns) -> Stored:
    return encode(event, TERMS_FILTER)._replace(version=3, **columns)


@pytest.mark.parametrize(("row", "error"), [
    (stored(fill(1), kind="FillImagined"), UnknownEvent),
    (stored(fill(1), schema=2), UnknownEvent),
    (stored(fill(1), schema=0), UnknownEvent),
    (stored(fill(1), deal=None), CorruptEvent),
    (stored(fill(1), volume=None), CorruptEvent),
    (stored(fill(1), volume=-1), CorruptEvent),
    (stored(fill(1), symbol=None), CorruptEvent),
    (stored(fill(1), data="{"), CorruptEvent),
    (stored(fill(1), data="[]"), CorruptEvent),
    (stored(DealCompleted(deal=1, time_msc=0, caused_by=2), caused_by=None), CorruptEvent),
    (stored(SyncDegraded(reason="x", time_msc=0), data=None), CorruptEvent),
    (stored(SyncDegraded(reason="x", time_msc=0), data="[]"), CorruptEvent),
    (stored(SyncDegraded(reason="x", time_msc=0), data='{"reason":"x","more":1}'), CorruptEvent),
    (stored(SyncDegraded(reason="x", time_msc=0), data='{"reason":""}'), CorruptEvent),
    (stored(BalanceAsserted(balance=1, time_msc=0), data='{"balance":"NaN"}'), CorruptEvent),
])  # fmt: skip
def test_decoding_reports_a_row_that_it_cannot_read(row, error):
    with pytest.raises(error, match="version 3"):
        decode(row, TERMS_FILTER)


def test_the_fold_reports_a_row_that_it_cannot_read():
    row = posting(stored(SyncDegraded(reason="x", time_msc=0), kind="SyncImagined"))
    with pytest.raises(UnknownEvent):
        decode_posting(row)
    with pytest.raises(CorruptEvent):
        decode_posting(posting(stored(SyncDegraded(reason="x", time_msc=0), data="{}")))


def test_an_older_event_is_lifted_wherever_it_is_read():
    """The first breaks did not count: that reads as one confirmation and no attempt. What is stored stays as it is."""
    recorded = BreakOpened(kind="ghost", position_id=7, time_msc=5)
    row = stored(recorded, schema=1, data='{"kind":"ghost","position_id":7}')
    assert decode(row, None) == recorded
    assert decode_posting(posting(row)) == recorded
    assert (recorded.confirmations, recorded.attempts) == (1, 0)
    assert '"confirmations":1' in (stored(recorded).data or "")


def test_what_a_lift_returns_is_what_is_read(monkeypatch):
    """One after the other, from the version that a row was recorded in."""
    monkeypatch.setitem(KINDS, "BreakOpened", (BreakOpened, 3))
    monkeypatch.setitem(LIFTS, ("BreakOpened", 1), lambda output: output | {"why": "first"})
    monkeypatch.setitem(LIFTS, ("BreakOpened", 2), lambda output: output | {"why": f"{output.get('why')}, second"})
    for schema, why in ((1, "first, second"), (2, "None, second"), (3, None)):
        row = stored(BreakOpened(kind="ghost", time_msc=5), schema=schema)
        for read in (decode(row, None), decode_posting(posting(row))):
            assert isinstance(read, BreakOpened)
            assert read.why == why


def test_every_older_version_can_be_lifted():
    for kind, (_, current) in KINDS.items():
        assert {schema for name, schema in LIFTS if name == kind} == set(range(1, current))


def test_the_clock_rule_of_an_account_is_the_last_one_recorded():
    account = opened()
    account.change_clock("+03:00", operator="mk", reason="summer")
    assert account.terms.clock == ClockRule("+03:00")
    assert account.terms.opened.clock == ClockRule("UTC")


def test_an_event_asserts_what_its_row_asserts():
    seen = state("long 1 @ 10")
    more: list[Event] = [
        PositionRecovered(position=seen, updated_msc=at(5) + 7, updated_deal=12, time_msc=at(9)),
        PositionRecovered(position=seen, updated_msc=at(5) + 7, time_msc=at(9)),
        DriftCorrected(before=seen, after=seen, updated_msc=at(5) + 7, updated_deal=12, time_msc=at(9)),
        BalanceAsserted(balance=1, deals_through=12, deals_through_msc=at(5), time_msc=at(9)),
        BalanceAsserted(balance=1, deals_through=0, deals_through_msc=0, time_msc=at(9)),
        BalanceAsserted(balance=1, evidence="ab" * 32, time_msc=at(9)),
    ]
    events = [*more, *(event for event in EVENTS if type(event).__name__ not in DEAL_KINDS)]
    rows = [encode_payload(event) for event in events]
    found = [asserted(row.kind, row.time_msc, row.position_id, row.data) for row in rows]
    assert [asserted_by(event) for event in events] == found
    assert len({one.contains for one in found if one}) == 2
