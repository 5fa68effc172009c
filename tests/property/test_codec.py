"""Laws of the stored form: whatever was recorded comes back, and is written the same again."""

from __future__ import annotations

from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from ledger import DriftCorrected, GhostClosed, PositionRecovered, PositionState
from ledger.codec import decode, encode, natural_key
from ledger.journal.chain import covered, digest
from tests.support.strategies import (
    cash_movements,
    completions,
    deals,
    magics,
    revisions,
    scaled_decimals,
    sides,
    texts,
    tickets,
)
from tools.testkit.stories import opened

TERMS_FILTER = opened().terms
_times = st.integers(0, 253_370_764_800_000)
states = st.builds(
    PositionState, position_id=tickets, symbol=st.just("EURUSD"), side=sides, volume=scaled_decimals(8, 1),
    price_open=scaled_decimals(8), ticket=st.none() | tickets, opened_msc=st.none() | _times, magic=magics, comment=texts,
)  # fmt: skip
_why = {"time_msc": _times, "caused_by": st.none() | st.integers(1, 10**9), "evidence": st.none() | st.just("ab" * 32)}
corrections = (
    st.builds(PositionRecovered, position=states, **_why)
    | st.builds(GhostClosed, before=states, **_why)
    | st.builds(DriftCorrected, before=states, after=states, **_why)
)
events = deals | cash_movements | completions | revisions | corrections


@given(events)
def test_what_was_recorded_comes_back(event):
    assert decode(encode(event, TERMS_FILTER), TERMS_FILTER) == event


@given(events)
def test_encode_decode_encode_gives_the_same_bytes(event):
    row = encode(event, TERMS_FILTER)
    again = encode(decode(row, TERMS_FILTER), TERMS_FILTER)
    assert again == row
    assert digest(covered(again), b"") == digest(covered(row), b"")
    assert natural_key(decode(row, TERMS_FILTER)) == natural_key(event)


@given(events, events)
def test_two_facts_that_differ_are_stored_differently(left, right):
    if left != right:
        assert encode(left, TERMS_FILTER) != encode(right, TERMS_FILTER)


@given(corrections, _times)
def test_the_key_of_a_correction_does_not_state_when_it_was_seen(event, time_msc):
    assert natural_key(evolve(event, time_msc=time_msc, evidence=None)) == natural_key(event)


@given(st.builds(GhostClosed, before=states, **_why), states)
def test_the_key_of_a_correction_states_of_what(event, before):
    if event.before != before:
        assert natural_key(evolve(event, before=before)) != natural_key(event)
