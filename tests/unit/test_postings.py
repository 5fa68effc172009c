"""The fold order, and what all records of a deal state together."""

from __future__ import annotations

from types import MappingProxyType

from ledger.clock import ClockRule
from ledger.codec import encode, posting
from ledger.events import DealCompleted, DealRevised, GhostClosed
from ledger.fold_order import FoldOrder
from ledger.postings import NO_DEAL, Posting, Postings, apply_completion, merge_records, place_of
from ledger.terms import AccountTerms
from tests.support.journals import NoRecords
from tools.testkit.stories import at, cash, fill, incomplete, opened, state

TERMS_FILTER: AccountTerms = opened().terms
ORDER = FoldOrder(ClockRule(), by_time=False, nets=False, records=NoRecords())
POSITION_ID, PROFIT = (Posting._fields.index(name) for name in ("position_id", "profit"))


def row(event, version):
    return posting(encode(event, TERMS_FILTER)._replace(version=version))


def postings(plain, placed=(), replaced=MappingProxyType({})):
    return Postings([plain], [(place_of(one), one) for one in placed], order=ORDER, replaced=replaced)


def order(plain, placed, replaced=MappingProxyType({})):
    return [Posting(*one)[:4] for one in postings(plain, placed, replaced)]


def test_postings_are_ordered_by_time_then_deals_then_versions():
    early = row(fill(9, time_msc=at(1)), 2)
    late = row(fill(3, time_msc=at(2)), 3)
    later = row(fill(4, time_msc=at(2)), 4)
    correction = row(GhostClosed(before=state("long 1 @ 10"), time_msc=at(2)), 1)
    assert order([early, late], [later]) == [tuple(one[:4]) for one in (early, late, later)]
    assert sorted([correction, later, late, early], key=place_of) == [early, late, later, correction]  # facts go first


def test_what_is_no_deal_is_never_mistaken_for_another_record():
    first, second = (row(GhostClosed(before=state("long 1 @ 10", one), time_msc=at(2)), one) for one in (1, 2))
    assert [one[1] for one in postings([first, second])] == [NO_DEAL, NO_DEAL]


def test_a_completion_fills_in_what_was_unknown_and_changes_nothing_else():
    known = row(incomplete(fill(1, position_id=None)), 2)
    more = row(DealCompleted(deal=1, time_msc=at(1), caused_by=2, position_id=7, profit=5), 3)
    merged = apply_completion(known, more)
    assert (merged[POSITION_ID], merged[PROFIT]) == (7, 5_000_000)
    assert (
        apply_completion(merged, row(DealCompleted(deal=1, time_msc=at(1), caused_by=2, position_id=8, profit=6), 4)) == merged
    )
    assert [at for at, (old, new) in enumerate(zip(known, merged, strict=True)) if old != new] == [POSITION_ID, PROFIT]


def test_a_deal_and_its_completions_are_one_posting():
    first = row(incomplete(fill(1)), 2)
    profit = row(DealCompleted(deal=1, time_msc=at(1), caused_by=2, profit=5), 3)
    swap = row(DealCompleted(deal=1, time_msc=at(1), caused_by=3, swap=1), 4)
    (merged,) = postings([first], [profit, swap])
    assert Posting(*merged)._asdict() | {"profit": 5_000_000, "swap": 1_000_000, "version": 2} == Posting(*merged)._asdict()


def test_a_revision_replaces_all_records_before_it():
    first = row(fill(1, profit=1), 2)
    completion = row(DealCompleted(deal=1, time_msc=at(1), caused_by=2, fee=9), 3)
    revision = row(DealRevised(now=incomplete(fill(1, volume=3)), caused_by=3), 4)
    after = row(DealCompleted(deal=1, time_msc=at(1), caused_by=4, profit=7), 5)
    merged = Posting(*merge_records([first, completion, revision, after]))
    assert (merged.kind, merged.version, merged.volume, merged.profit, merged.fee) == (
        "FillRecorded",
        4,
        3 * 10**8,
        7_000_000,
        None,
    )


def test_a_cancelled_deal_is_a_cash_movement_from_then_on():
    merged = Posting(*merge_records([row(fill(1), 2), row(DealRevised(now=cash(1, 0, type=13), caused_by=2), 3)]))
    assert (merged.kind, merged.deal_type) == ("CashMoved", 13)


def test_a_revised_deal_that_moved_in_time_is_folded_once_at_its_new_place():
    rows = [row(fill(1, time_msc=at(1)), 2), row(fill(2, time_msc=at(5)), 3)]
    moved = row(DealRevised(now=fill(1, time_msc=at(9)), caused_by=2), 4)
    assert [one[1] for one in order(rows, [moved], {2: 3})] == [2, 1]
