"""Magic numbers have 64 bits without a sign, as the terminal's have, whoever reports them and wherever they are shown."""

from __future__ import annotations

import json
from decimal import Decimal

import pandas as pd
import pytest
from attrs import evolve

from ledger import Adjusted, BadValue, DealCompleted, Ledger, Outcome, PositionRecovered, PositionState, ReconcilePolicy, Side
from ledger.codec import decode, encode, natural_key
from ledger.exporter import export, import_json_lines
from ledger.json_views import log_json
from tools.testkit.stories import at, fill, opened, state

LARGEST = 2**64 - 1


@pytest.mark.parametrize(("magic", "stored"), [(LARGEST, -1), (2**63, -(2**63)), (2**63 - 1, 2**63 - 1), (7, 7), (0, 0)])
def test_a_magic_number_is_stored_with_the_same_bits_and_shown_as_it_was_reported(magic, stored):
    account = opened("hedging")
    account.record(fill(1, magic=magic))
    (row,) = account.ledger.journal.rows(account.name, after=1)
    assert row.magic == stored
    (recorded,) = account.events(after=1)
    assert recorded.event == fill(1, magic=magic)
    assert account.portfolio.positions[7].magic == magic
    assert account.verify().problems == ()
    account.record(fill(2, time_msc=at(3), side="sell", entry="out", magic=magic))
    assert [trade.magic for trade in account.trades()] == [magic]


def test_both_spellings_of_a_magic_number_are_one():
    account = opened("hedging")
    assert fill(1, magic=-1) == fill(1, magic=LARGEST)
    account.record(fill(1, magic=None))
    assert account.record(DealCompleted(deal=1, time_msc=at(1), caused_by=1, magic=LARGEST)) is Outcome.COMPLETED
    assert account.record(fill(1, magic=-1)) is Outcome.DUPLICATE
    assert account.record(DealCompleted(deal=1, time_msc=at(1), caused_by=1, magic=-1)) is Outcome.DUPLICATE
    assert account.portfolio.positions[7].magic == LARGEST


def test_a_magic_number_in_a_correction_keeps_its_key_and_is_shown_without_a_sign():
    old, new = (PositionRecovered(position=state("long 1 @ 10", magic=magic), time_msc=at(1)) for magic in (-1, LARGEST))
    assert natural_key(old) == natural_key(new)
    account = opened("hedging")
    row = encode(new, account.terms)
    assert json.loads(row.data or "")["position"]["magic"] == -1  # as it always was written
    event = decode(row, None)
    assert isinstance(event, PositionRecovered)
    assert event.position.magic == LARGEST
    account.record(new)
    assert account.record(old) is Outcome.DUPLICATE
    assert account.portfolio.positions[7].magic == LARGEST
    assert account.verify().problems == ()
    (recorded,) = account.events(after=1)
    assert log_json(recorded, account.terms)["data"]["position"]["magic"] == LARGEST


def test_an_adjustment_states_a_magic_number():
    account = opened("hedging")
    account.record(fill(1, magic=LARGEST))
    before = state("long 1 @ 10", magic=LARGEST)
    account.record(Adjusted(operator="o", reason="r", before=before, after=evolve(before, magic=2**63), time_msc=at(2)))
    assert account.portfolio.positions[7].magic == 2**63


@pytest.mark.parametrize("magics", [[LARGEST], [-1], {str(LARGEST)}, (LARGEST, 5)])
def test_a_policy_knows_a_magic_number_in_either_spelling(magics):
    policy = ReconcilePolicy(magics=magics)
    assert [policy.is_ours(magic) for magic in (LARGEST, -1, 7, None)] == [True, True, False, False]


@pytest.mark.parametrize("magics", [7, "77", [1.0], [2**64], [None], ["x"], b"7"])
def test_what_is_no_list_of_magic_numbers_is_no_policy(magics):
    with pytest.raises(BadValue, match="magic"):
        ReconcilePolicy(magics=magics)


def test_a_position_state_has_a_magic_number_without_a_sign():
    made = PositionState(position_id=7, symbol="X", side=Side.BUY, volume=Decimal(1), price_open=Decimal(1), magic=-7)
    assert made.magic == 2**64 - 7


def test_a_magic_number_is_exported_without_a_sign_and_comes_back(tmp_path):
    account = opened("hedging")
    account.record(fill(1, magic=LARGEST))
    for format_ in ("jsonl", "csv", "parquet"):
        export(account.ledger, [account], tmp_path / f"x.{format_}", format_)
    assert f'"magic":{LARGEST}' in (tmp_path / "x.jsonl").read_text().replace(" ", "")
    assert str(LARGEST) in (tmp_path / "x.csv").read_text()
    assert pd.read_parquet(tmp_path / "x.parquet")["magic"].iloc[-1] == LARGEST
    with Ledger.open("memory://") as copy:
        import_json_lines(copy, tmp_path / "x.jsonl")
        assert list(copy.account(account.name).events())[1].event == fill(1, magic=LARGEST)
        assert copy.verify().ok
