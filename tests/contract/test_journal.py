"""What every journal guarantees: append and read, whatever it is stored in."""

from __future__ import annotations

from decimal import Decimal

import pytest

from ledger import (
    AccountId,
    AccountMismatch,
    AccountUnknown,
    Adjusted,
    BadValue,
    BreakOpened,
    DealConflict,
    InexactNumber,
    Outcome,
    RuleError,
    SyncDegraded,
    VersionConflict,
)
from ledger.codec import recorded
from ledger.folds import PORTFOLIO
from ledger.journal import Selection
from ledger.journal.chain import genesis
from ledger.journal.checkpoints import replayed
from ledger.journal.verify.walk import verify_account
from ledger.postings import NO_DEAL
from tests.support.journals import (
    ACCOUNT,
    INT64,
    OTHER,
    START_MSC,
    START_US,
    Clock,
    cash,
    completion,
    digest_of,
    everything,
    fill,
    ghost,
    head,
    opened,
    revised,
    specified,
)

APPENDED, COMPLETED, DUPLICATE = Outcome.APPENDED, Outcome.COMPLETED, Outcome.DUPLICATE


@pytest.fixture
def book(journal):
    """A journal with the account open and nothing else in it."""
    journal.append(ACCOUNT, [opened()])
    return journal


def test_appending_nothing_to_an_account_that_is_not_open_changes_nothing(journal):
    for _ in range(3):
        assert journal.append(ACCOUNT, []).head.version == 0
    assert record(journal, opened()).head.version == 1


def record(journal, *events, account=ACCOUNT, **words):
    return journal.append(account, list(events), **words)


def rows(journal, account=ACCOUNT, **words):
    return list(journal.rows(account, **words))


def events_of(journal, account=ACCOUNT):
    terms = journal.terms(account, head(journal, account).version)
    return [recorded(account, row, terms).event for row in journal.rows(account)]


def deals(journal, selection=None):
    """What a replay folds of deals: (deal, seconds since the start, profit)."""
    postings = journal.postings(ACCOUNT, selection or everything(journal))
    return [(row[1], (row[0] - START_MSC) / 1000, row[14]) for row in postings if row[1] != NO_DEAL]


def assert_whole(journal, account=ACCOUNT):
    """The stream is gapless, its recorded times rise, its hashes chain, and verification agrees."""
    stored = rows(journal, account)
    assert [row.version for row in stored] == list(range(1, len(stored) + 1))
    times = [row.recorded_us for row in stored]
    assert times == sorted(set(times))
    assert [row.prev_hash for row in stored] == [genesis(account), *(row.hash for row in stored[:-1])]
    now = head(journal, account)
    assert (now.version, now.hash, now.recorded_us) == (len(stored), stored[-1].hash, stored[-1].recorded_us)
    assert verify_account(journal, account).problems == ()


# ------------------------------------------------------------------------------------------------------ reading and heads


def test_a_new_journal_holds_nothing(journal):
    assert journal.accounts() == []
    assert journal.head(ACCOUNT) is None
    assert rows(journal) == []
    assert list(journal.postings(ACCOUNT, Selection(version=0))) == []
    assert journal.terms(ACCOUNT, 0) is None
    assert journal.version_at(ACCOUNT, START_US * 2) == 0
    assert journal.count_outside_fold(ACCOUNT, Selection(version=0)) == 0
    assert (journal.heads(), journal.hash_at(ACCOUNT, 0), journal.earliest_change(ACCOUNT, 0, 0)) == ({}, None, None)
    assert verify_account(journal, ACCOUNT).version == 0


def test_what_is_appended_is_read_back_as_it_was_recorded(book):
    given = [
        specified("EURUSD", contract_size=100_000, volume_step="0.01", currency="EUR"),
        cash(1, 1, comment="first"),
        fill(2, 2, magic=7, reason=3, comment="c", external_id="x", commission="-0.07", swap="-1.5"),
        ghost(2, 3, evidence=digest_of(b"an answer")),
        SyncDegraded(reason="timeout", time_msc=START_MSC + 4000),
    ]
    record(book, *given, evidence=(b"an answer",))
    assert events_of(book) == [opened(), *given]
    assert_whole(book)


@pytest.mark.parametrize("count", [24, 25, 26, 77, 100])
def test_many_events_are_stored_as_they_were_acknowledged_whatever_their_number(book, count):
    given = [fill(n, n // 10, comment=f"number {n}") for n in range(1, count + 1)]
    appended = record(book, *given)
    assert tuple(rows(book, after=1)) == appended.rows
    assert events_of(book) == [opened(), *given]
    assert_whole(book)


def test_rows_are_read_after_one_version_up_to_another(book):
    record(book, *(fill(n, n) for n in range(1, 10)))
    assert [row.version for row in rows(book)] == list(range(1, 11))
    assert [row.version for row in rows(book, after=3, upto=7)] == [4, 5, 6, 7]
    assert [row.version for row in rows(book, after=8)] == [9, 10]
    assert rows(book, after=10) == []
    assert rows(book, after=INT64 * 2) == []
    assert rows(book, after=7, upto=7) == []


def test_an_append_returns_the_rows_that_it_made(book):
    appended = record(book, fill(1, 1), fill(2, 2))
    assert list(appended.rows) == rows(book, after=1)
    assert appended.head == head(book)
    assert appended.outcomes == (APPENDED, APPENDED)


def test_the_head_moves_with_every_event_and_the_chain_with_it(book):
    heads = [head(book)]
    for n in range(1, 4):
        record(book, fill(n, n))
        heads.append(head(book))
    assert [one.version for one in heads] == [1, 2, 3, 4]
    assert len({one.hash for one in heads}) == 4
    assert [one.hash for one in heads] == [row.hash for row in rows(book)]


def test_a_reader_does_not_see_what_comes_after_it_began(book):
    record(book, *(fill(n, n) for n in range(1, 4)))
    reading = book.rows(ACCOUNT)
    first = next(reading)
    record(book, fill(9, 9))
    assert [first.version, *(row.version for row in reading)] == [1, 2, 3, 4]


def test_accounts_are_listed_by_server_and_login(journal):
    named = [AccountId("B", 2), AccountId("A", 10), AccountId("A", 9), AccountId("Ä", 1)]
    for account in named:
        record(journal, opened(account), account=account)
    assert journal.accounts() == sorted(named)


def test_two_accounts_do_not_affect_each_other(journal):
    for account in (ACCOUNT, OTHER):
        record(journal, opened(account), fill(1, 1), account=account)
    record(journal, fill(2, 2), account=OTHER)
    assert (head(journal).version, head(journal, OTHER).version) == (2, 3)
    assert rows(journal)[1].hash != rows(journal, OTHER)[1].hash
    with pytest.raises(VersionConflict):
        record(journal, fill(3, 3), expected_version=3)
    for account in (ACCOUNT, OTHER):
        assert_whole(journal, account)


def test_the_same_login_on_another_server_is_another_account(journal):
    elsewhere = AccountId("Broker-Demo", ACCOUNT.login)
    record(journal, opened())
    record(journal, opened(elsewhere, currency="EUR"), account=elsewhere)
    terms_by_account = [journal.terms(account, 1) for account in (ACCOUNT, elsewhere)]
    assert [terms.opened.currency for terms in terms_by_account if terms] == ["USD", "EUR"]


# ----------------------------------------------------------------------------------------------------- versions and times


def test_versions_have_no_gaps_whatever_was_refused_between(book):
    for n in range(1, 30):
        record(book, fill(n, n), fill(n, n))
        with pytest.raises(DealConflict):
            record(book, fill(1000 + n, n), fill(n, n, volume=9))
        with pytest.raises(VersionConflict):
            record(book, fill(2000 + n, n), expected_version=n)
        record(book, fill(n, n))
    assert head(book).version == 30
    assert_whole(book)


@pytest.mark.parametrize(
    ("looks", "recorded_at"),
    [
        ([0, 0, 0, 0], [0, 1, 2, 3]),
        ([10, 5, 0, 11], [10, 11, 12, 13]),
        ([10, 5, 0, 5000], [10, 11, 12, 5000]),
    ],
    ids=["a clock that is stopped", "a clock that goes back", "a clock that goes back and on"],
)
def test_recorded_times_rise_whatever_the_clock_does(journal, clock, looks, recorded_at):
    clock.step_us = 0
    for version, look in enumerate(looks):
        clock.now_us = START_US + look
        record(journal, fill(version, version) if version else opened())
    assert [row.recorded_us - START_US for row in rows(journal)] == recorded_at
    assert_whole(journal)


def test_recorded_times_rise_within_one_append(book, clock):
    clock.step_us = 0
    record(book, *(fill(n, n) for n in range(1, 50)))
    assert_whole(book)


def test_a_clock_before_1970_is_no_reason_to_lose_a_deal(journal, clock):
    clock.now_us, clock.step_us = -5_000_000, 0
    record(journal, opened(), fill(1, 1))
    assert [row.recorded_us for row in rows(journal)] == [1, 2, 3]  # the third shows that the clocks differ


def test_the_version_at_a_time_is_the_last_recorded_before_it(journal, clock):
    clock.step_us = 0
    for version in range(9):
        clock.now_us = START_US + version * 10
        record(journal, fill(version, version) if version else opened())
    asked = {end: journal.version_at(ACCOUNT, START_US + end) for end in (-1, 0, 1, 9, 10, 11, 79, 80, 81, 10**9)}
    assert asked == {-1: 0, 0: 0, 1: 1, 9: 1, 10: 1, 11: 2, 79: 8, 80: 8, 81: 9, 10**9: 9}


# ----------------------------------------------------------------------------------------------------- recorded again


def test_a_deal_recorded_twice_changes_nothing(book):
    record(book, fill(1, 1))
    before = (rows(book), head(book))
    again = record(book, fill(1, 1))
    assert (again.outcomes, again.rows, again.head) == ((DUPLICATE,), (), before[1])
    assert (rows(book), head(book)) == before


def test_a_deal_recorded_twice_in_one_append_lands_once(book):
    assert record(book, fill(1, 1), fill(1, 1), fill(2, 2), fill(1, 1)).outcomes == (APPENDED, DUPLICATE, APPENDED, DUPLICATE)
    assert deals(book) == [(1, 1, 0), (2, 2, 0)]


@pytest.mark.parametrize(
    "again",
    [
        fill(1, 1.999),
        fill(1, 1, comment="another source", reason=5, external_id="7"),
        fill(1, 1, order=77),
        fill(1, 1, commission=None, fee=None, swap=None, profit=None, position_id=None),
        fill(1, 1, origin="import"),
        fill(1, 1, volume="1.00", price="1.10000"),
    ],
    ids=["time within the second", "words", "order", "less known", "origin", "spelling of numbers"],
)
def test_a_richer_or_poorer_record_of_the_same_deal_appends_nothing(book, again):
    record(book, fill(1, 1))
    assert record(book, again).outcomes == (DUPLICATE,)
    assert head(book).version == 2


@pytest.mark.parametrize(
    ("again", "differs"),
    [
        (fill(1, 1, symbol="GBPUSD"), "symbol"),
        (fill(1, 1, side="sell"), "deal_type"),
        (fill(1, 1, entry="out"), "entry"),
        (fill(1, 1, volume="1.01"), "volume"),
        (fill(1, 1, price="1.10001"), "price"),
        (fill(1, 1, profit="0.01"), "profit"),
        (fill(1, 1, commission="-0.01"), "commission"),
        (fill(1, 1, swap="0.000001"), "swap"),
        (fill(1, 1, fee=1), "fee"),
        (fill(1, 1, position_id=2), "position_id"),
        (fill(1, 2), "time_msc"),
        (fill(1, 0.999), "time_msc"),
        (cash(1, 1, profit=0), "deal_type"),
    ],
)
def test_other_content_is_a_conflict_that_states_what_differs(book, again, differs):
    record(book, fill(1, 1))
    before = (rows(book), head(book))
    with pytest.raises(DealConflict) as refused:
        record(book, fill(2, 2), again)
    assert refused.value.deal == 1
    assert differs in refused.value.differences
    assert (rows(book), head(book)) == before


def test_conflicts_can_be_left_out_of_an_append(book):
    record(book, fill(1, 1))
    outcomes = record(book, fill(2, 2), fill(1, 1, volume=5), fill(3, 3), conflicts="keep").outcomes
    assert (outcomes[0], outcomes[2]) == (APPENDED, APPENDED)
    assert isinstance(outcomes[1], DealConflict)
    assert outcomes[1].differences == {"volume": ("1", "5")}
    assert deals(book) == [(1, 1, 0), (2, 2, 0), (3, 3, 0)]
    assert_whole(book)


def test_what_the_first_record_did_not_know_is_completed(book):
    record(book, fill(1, 1, profit=None, commission=None, position_id=None))
    assert record(book, fill(1, 1, profit=None, commission="-0.5", position_id=8)).outcomes == (COMPLETED,)
    assert record(book, completion(1, profit=3)).outcomes == (COMPLETED,)
    assert record(book, fill(1, 1, profit=None, commission=None, position_id=None, magic=-7)).outcomes == (COMPLETED,)
    assert record(book, fill(1, 1, profit=3, commission="-0.5", position_id=8)).outcomes == (DUPLICATE,)
    with pytest.raises(DealConflict):
        record(book, completion(1, profit=4))
    [posting] = [row for row in book.postings(ACCOUNT, everything(book)) if row[1] == 1]
    assert (posting[3], posting[6], posting[11]) == ("FillRecorded", 8, -500_000)
    assert (posting[14], posting[15]) == (3_000_000, -7)
    assert [row.caused_by for row in rows(book)] == [None, None, 2, 3, 4]
    assert_whole(book)


def test_a_revision_replaces_what_was_recorded(book):
    record(book, fill(1, 1, profit=None))
    record(book, completion(1, profit=2))
    assert record(book, revised(fill(1, 1, profit=7, volume=2))).outcomes == (APPENDED,)
    assert record(book, revised(fill(1, 1, profit=7, volume=2))).outcomes == (DUPLICATE,)
    assert record(book, fill(1, 1, profit=7, volume=2)).outcomes == (DUPLICATE,)
    with pytest.raises(DealConflict):
        record(book, fill(1, 1, profit=2))
    assert deals(book) == [(1, 1, 7_000_000)]
    assert rows(book)[-1].caused_by == 3
    assert_whole(book)


def test_a_cancelled_deal_is_a_cash_movement_from_then_on(book):
    record(book, fill(1, 1, profit=7))
    record(book, revised(cash(1, 1, type=13, profit=0)))
    [posting] = [row for row in book.postings(ACCOUNT, everything(book)) if row[1] == 1]
    assert (posting[3], posting[4], posting[14]) == ("CashMoved", 13, 0)


@pytest.mark.parametrize("event", [completion(5, profit=1), revised(fill(5, 1))], ids=["completed", "revised"])
def test_an_unknown_deal_is_neither_completed_nor_revised(book, event):
    with pytest.raises(RuleError, match="deal 5 is not known"):
        record(book, event)
    assert head(book).version == 1


def test_a_correction_recorded_twice_lands_once(book):
    given = ghost(1, 5, evidence="ab")
    assert record(book, given, given).outcomes == (APPENDED, DUPLICATE)
    assert record(book, given).outcomes == (DUPLICATE,)
    # Another reconciler saw the same a moment later, with evidence of its own.
    assert record(book, ghost(1, 6, evidence="cd")).outcomes == (DUPLICATE,)
    assert record(book, ghost(2, 5, evidence="ab")).outcomes == (APPENDED,)


# ----------------------------------------------------------------------------------------- all or nothing, and in agreement


@pytest.mark.parametrize(
    ("bad", "error"),
    [
        (fill(1, 9, volume=2), DealConflict),
        (fill(9, 9, price="1.123456789"), InexactNumber),
        (fill(9, 9, profit=10**13), InexactNumber),
        (completion(9), RuleError),
        (opened(currency="EUR"), AccountMismatch),
        (opened(OTHER), AccountMismatch),
        (specified("EURUSD", price_scale=3), RuleError),
    ],
    ids=["conflict", "too fine", "too large", "unknown deal", "other terms", "other account", "other scales"],
)
def test_one_bad_event_among_good_ones_appends_nothing(book, bad, error):
    record(book, fill(1, 1))
    before = (rows(book), head(book))
    with pytest.raises(error):
        record(book, fill(2, 2), fill(3, 3), bad, fill(4, 4))
    assert (rows(book), head(book)) == before
    assert record(book, fill(2, 2)).outcomes == (APPENDED,)
    assert_whole(book)


def test_the_expected_version_must_be_the_present_one(book):
    record(book, fill(1, 1), expected_version=1)
    for wrong in (0, 1, 3, -1):
        with pytest.raises(VersionConflict) as refused:
            record(book, fill(2, 2), expected_version=wrong)
        assert (refused.value.expected, refused.value.found) == (wrong, 2)
    assert record(book, fill(2, 2), expected_version=2).outcomes == (APPENDED,)


def test_a_new_account_is_at_version_0(journal):
    with pytest.raises(VersionConflict):
        record(journal, opened(), expected_version=1)
    assert journal.accounts() == []
    assert record(journal, opened(), expected_version=0).outcomes == (APPENDED,)


def test_an_append_of_nothing_appends_nothing(book):
    assert record(book).outcomes == ()
    assert record(book, expected_version=1).head == head(book)
    with pytest.raises(VersionConflict):
        record(book, expected_version=7)
    assert record(book, account=OTHER).outcomes == ()
    assert book.accounts() == [ACCOUNT]
    assert book.head(OTHER) is None


def test_an_account_must_be_open_before_anything_is_recorded_of_it(journal):
    for event in (fill(1, 1), cash(1, 1), ghost(1, 1), specified()):
        with pytest.raises(AccountUnknown):
            record(journal, event)
    with pytest.raises(AccountUnknown):
        record(journal, fill(1, 1), opened())
    assert journal.accounts() == []
    assert journal.head(ACCOUNT) is None


def test_opening_an_account_again_is_harmless(book):
    assert record(book, opened(time_msc=START_MSC + 5000)).outcomes == (DUPLICATE,)
    assert head(book).version == 1


@pytest.mark.parametrize(
    "terms", [{"currency": "EUR"}, {"mode": "netting"}, {"clock": "+02:00"}, {"currency_digits": 3}, {"money_scale": 2}]
)
def test_an_account_is_not_opened_with_other_terms(book, terms):
    with pytest.raises(AccountMismatch, match=next(iter(terms))):
        record(book, opened(**terms))
    assert head(book).version == 1


def test_an_event_of_another_account_is_refused(journal):
    with pytest.raises(AccountMismatch):
        record(journal, opened(OTHER))
    assert journal.accounts() == []


# --------------------------------------------------------------------------------------------------------- the fold order


def test_late_events_fall_into_their_place(book):
    for second in (5, 1, 9, 3, 2, 9, 7):
        record(book, fill(100 + second, second))
    assert deals(book) == [(100 + second, second, 0) for second in (1, 2, 3, 5, 7, 9)]
    assert_whole(book)


def test_deals_of_one_moment_fall_by_ticket_and_what_was_concluded_comes_after_them(book):
    record(book, fill(12, 5), fill(11, 5), cash(13, 5), ghost(7, 5))
    found = [(row[3], row[1]) for row in book.postings(ACCOUNT, everything(book))]
    assert found == [("FillRecorded", 11), ("FillRecorded", 12), ("CashMoved", 13), ("GhostClosed", NO_DEAL)]
    assert_whole(book)


def test_events_without_a_deal_keep_their_order_within_a_moment(book):
    given = [SyncDegraded(reason=reason, time_msc=START_MSC) for reason in ("one", "two", "three")]
    record(book, *given)
    record(book, fill(1, 0))
    found = [row[16] for row in book.postings(ACCOUNT, everything(book))]
    assert found == [None, '{"reason":"one"}', '{"reason":"two"}', '{"reason":"three"}']


def test_a_revised_deal_may_have_moved_in_time(book):
    record(book, fill(1, 1), fill(2, 2, profit=None), fill(3, 3), completion(2, profit=5))
    before = head(book).version
    record(book, revised(fill(2, 4, profit=6)))
    assert deals(book) == [(1, 1, 0), (3, 3, 0), (2, 4, 6_000_000)]
    record(book, revised(fill(2, 0.5, profit=None)))
    record(book, completion(2, profit=8))
    assert deals(book) == [(2, 0.5, 8_000_000), (1, 1, 0), (3, 3, 0)]
    # Each of the states before can still be had.
    deals_by_version = [deals(book, Selection(version=version)) for version in range(2, head(book).version + 1)]
    assert deals_by_version[before - 2] == [(1, 1, 0), (2, 2, 5_000_000), (3, 3, 0)]
    assert deals_by_version[before - 1] == [(1, 1, 0), (3, 3, 0), (2, 4, 6_000_000)]
    assert deals_by_version[before] == [(2, 0.5, None), (1, 1, 0), (3, 3, 0)]
    assert_whole(book)


def test_a_deal_that_was_moved_behind_a_moment_had_not_happened_by_then(book):
    record(book, fill(1, 1), fill(2, 2))
    record(book, revised(fill(1, 9)))
    assert deals(book, Selection(version=4, time_msc=START_MSC + 5000)) == [(2, 2, 0)]
    assert deals(book, Selection(version=3, time_msc=START_MSC + 5000)) == [(1, 1, 0), (2, 2, 0)]


def test_a_selection_is_by_version_and_by_time(book):
    record(book, fill(5, 5), fill(1, 1, profit=None), fill(9, 9))
    record(book, fill(1, 1, profit=4), fill(3, 3))
    record(book, revised(fill(5, 6)))
    at = {
        (version, second): deals(book, Selection(version=version, time_msc=START_MSC + second * 1000))
        for version in (1, 3, 4, 6, 7)
        for second in (0, 1, 5, 6, 9)
    }
    assert at[1, 9] == []
    assert at[3, 0] == []
    assert at[3, 1] == [(1, 1, None)]
    assert at[3, 5] == [(1, 1, None), (5, 5, 0)]
    assert at[6, 5] == [(1, 1, 4_000_000), (3, 3, 0), (5, 5, 0)]
    assert at[7, 5] == [(1, 1, 4_000_000), (3, 3, 0)]  # as known now, it happened at second 6
    assert at[7, 9] == [(1, 1, 4_000_000), (3, 3, 0), (5, 6, 0), (9, 9, 0)]
    terms = book.terms(ACCOUNT, 7)
    times = [START_MSC + second * 1000 for second in (-1, 0, 1, 5, 9)]
    counts = [replayed(book, ACCOUNT, Selection(version=7, time_msc=time), terms, fold=PORTFOLIO)[1] for time in times]
    assert counts == [0, 1, 3, 5, 7]
    assert replayed(book, ACCOUNT, Selection(version=4), terms, fold=PORTFOLIO)[1] == 4


def test_an_account_that_never_had_a_late_event_reads_one_stream(book):
    record(book, *(fill(n, n) for n in range(1, 20)))
    assert {row.placement for row in rows(book)} == {0, 2}
    assert [deal for deal, _, _ in deals(book)] == list(range(1, 20))


# ------------------------------------------------------------------------------------------------------ account terms


def test_the_account_terms_are_known_at_every_version(book):
    record(book, specified("EURUSD", digits=5), fill(1, 1), specified("EURUSD", digits=4, contract_size=10))
    record(
        book,
        Adjusted(operator="me", reason="wrong", time_msc=START_MSC + 9000, clock_before="UTC", clock_after="+02:00"),
    )
    terms_by_account = [book.terms(ACCOUNT, version) for version in range(6)]
    assert terms_by_account[0] is None
    known = [(one.clock.name, one.symbols.get("EURUSD")) for one in terms_by_account if one]
    assert [(clock, spec and (spec.digits, spec.contract_size)) for clock, spec in known] == [
        ("UTC", None),
        ("UTC", (5, None)),
        ("UTC", (5, None)),
        ("UTC", (4, 10)),
        ("+02:00", (4, 10)),
    ]


def test_a_symbol_specified_as_it_is_known_appends_nothing(book):
    assert record(book, specified(), specified(time_msc=START_MSC + 5)).outcomes == (APPENDED, DUPLICATE)
    assert record(book, specified(digits=3)).outcomes == (APPENDED,)
    assert record(book, specified()).outcomes == (APPENDED,)  # back to what it was: news again
    assert_whole(book)


def test_scales_may_change_until_something_is_recorded_with_them(book):
    record(book, specified(price_scale=5, volume_scale=2))
    record(book, specified(price_scale=3, volume_scale=2))
    record(book, fill(1, 1, price="1.123"))
    with pytest.raises(RuleError, match="scales cannot change"):
        record(book, specified(price_scale=5, volume_scale=2))
    with pytest.raises(InexactNumber):
        record(book, fill(2, 2, price="1.1234"))


@pytest.mark.parametrize("symbol", ["EURUSD#", "#AAPL", "X#2", "X", "a#b#3", "EUR/USD", "…", "'; DROP TABLE events; --"])
def test_any_symbol_can_be_specified_again_and_again(book, symbol):
    for digits in (1, 2, 3):
        assert record(book, specified(symbol, digits=digits)).outcomes == (APPENDED,)
        assert record(book, specified(symbol, digits=digits)).outcomes == (DUPLICATE,)
    assert_whole(book)


def test_a_symbol_with_a_number_sign_is_not_another_ones_second_record(book):
    given = [specified(symbol, digits=digits) for digits in (1, 2, 3) for symbol in ("X", "X#2", "X#", "X#2#2", "X##2")]
    assert set(record(book, *given).outcomes) == {APPENDED}
    for event in given:
        record(book, event)
    terms = book.terms(ACCOUNT, head(book).version)
    assert terms is not None
    assert len(terms.symbols) == 5
    keys = [row.natural_key for row in rows(book)]
    assert len(keys) == len(set(keys))
    assert_whole(book)


# ---------------------------------------------------------------------------------------------------- large and strange


def test_numbers_at_the_ends_of_64_bits_are_exact(book):
    given = [
        fill(2**32 + 1, 1, order=2**40, position_id=2**53 + 1, magic=-INT64 - 1),
        fill(INT64 - 1, 1, order=INT64 - 1, position_id=INT64 - 1, magic=INT64),
        fill(3, 2, volume=Decimal(INT64).scaleb(-8), price=Decimal(-INT64).scaleb(-8)),
        fill(4, 2, profit=Decimal(INT64).scaleb(-6), swap=Decimal(-INT64).scaleb(-6), commission="0.000001"),
        cash(5, 3, profit=Decimal(-INT64).scaleb(-6), type=2**31 - 1),
        fill(6, 2**16, reason=2**31 - 1),
    ]
    record(book, *given)
    assert events_of(book)[1:7] == given
    assert_whole(book)


def test_the_largest_ticket_is_a_deal_like_any_other(book):
    with pytest.raises(BadValue):
        fill(INT64, 1)
    record(book, fill(INT64 - 1, 1, profit=None))
    record(book, fill(INT64 - 1, 1, profit=5))
    record(book, ghost(7, 1))
    [posting] = [row for row in book.postings(ACCOUNT, everything(book)) if row[3] == "FillRecorded"]
    assert posting[14] == 5_000_000


@pytest.mark.parametrize(
    "text",
    ["🙈 €", 'it\'s "quoted"', "two\nlines\r\n\ttab", "\\u0000 \\", "ﷺ\u202e", "\x01\x7f", "%s %(x)s ? :a", "x" * 10_000],
)
def test_text_is_stored_as_it_is(book, text):
    given = [
        fill(1, 1, comment=text, symbol=text[:100], external_id=text),
        cash(2, 2, type=None, word=text),
        SyncDegraded(reason=text, time_msc=START_MSC + 3000),
        BreakOpened(kind="drift", time_msc=START_MSC + 4000, field=text, ours=text, theirs=text),
    ]
    record(book, *given, correlation=text)
    assert events_of(book)[1:] == given
    assert [row.correlation for row in rows(book)] == [None, *[text] * 4]
    assert_whole(book)


@pytest.mark.parametrize("text", ["a\x00b", "\ud800", "a\udcffb"])
def test_text_that_not_every_database_can_hold_is_refused(book, text):
    for record_it in (
        lambda: record(book, fill(1, 1), correlation=text),
        lambda: record(book, fill(1, 1, comment=text)),
        lambda: record(book, fill(1, 1, symbol=text)),
    ):
        with pytest.raises(BadValue):
            record_it()
    assert head(book).version == 1


def test_a_very_large_append_is_one_append(book):
    count = 20_000
    appended = record(book, *(fill(n, n / 1000, profit=n) for n in range(1, count + 1)))
    assert appended.head.version == count + 1
    assert set(appended.outcomes) == {APPENDED}
    assert sum(row[14] for row in book.postings(ACCOUNT, everything(book))) == count * (count + 1) // 2 * 10**6
    again = record(book, *(fill(n, n / 1000, profit=n) for n in range(count + 1, 0, -1)))
    assert [outcome for outcome in again.outcomes if outcome is not DUPLICATE] == [APPENDED]
    assert_whole(book)


def test_rows_show_which_of_them_belong_together(book):
    record(book, fill(1, 1), correlation="import 7")
    record(book, fill(2, 2))
    assert [row.correlation for row in rows(book)] == [None, "import 7", None]


# ------------------------------------------------------------------------------------------------------------ clock breaks


def clock_breaks(journal):
    return [event for event in events_of(journal) if isinstance(event, BreakOpened) and event.kind.value == "clock"]


def test_a_deal_from_the_future_opens_one_break_for_its_clock_rule(journal):
    now = Clock(step_us=0)
    journal._now_us = now
    record(journal, opened())
    record(journal, fill(1, 60))
    assert clock_breaks(journal) == []
    record(journal, fill(2, 60.001), fill(3, 3600))
    record(journal, fill(4, 7200))
    [found] = clock_breaks(journal)
    assert (found.deal, found.ours, found.caused_by) == (2, "UTC", 3)
    assert [deal for deal, _, _ in deals(journal)] == [1, 2, 3, 4]
    adjusted = Adjusted(operator="me", reason="r", time_msc=START_MSC, clock_before="UTC", clock_after="+01:00")
    record(journal, adjusted)
    record(journal, fill(5, 7200 + 60.001))
    assert [(one.deal, one.ours) for one in clock_breaks(journal)] == [(2, "UTC"), (5, "+01:00")]
    assert_whole(journal)


def test_a_deal_from_the_future_recorded_again_opens_no_break(book, clock):
    clock.step_us = 0
    record(book, fill(1, 30))
    clock.now_us = START_US - 3600 * 10**6
    assert record(book, fill(1, 30)).outcomes == (DUPLICATE,)
    assert clock_breaks(book) == []


def test_rows_of_some_kinds_are_those_among_all_of_them(journal):
    events = [fill(number, number) if number % 3 else cash(number, number) for number in range(1, 40)]
    record(journal, opened(), *events)
    every = rows(journal)
    for kinds in (["CashMoved"], {"FillRecorded", "AccountOpened"}, ["GhostClosed"], [], ["nothing"]):
        for after, upto in ((0, None), (3, 20), (20, 3)):
            found = rows(journal, after=after, upto=upto, kinds=kinds)
            assert found == [row for row in every if row.kind in kinds and after < row.version <= (upto or 40)]
