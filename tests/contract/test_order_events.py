"""What every journal promises of events about orders: each is recorded once, and none moves the portfolio."""

from __future__ import annotations

from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger import (
    BadValue,
    CarrierBroken,
    CarrierProven,
    Event,
    Ledger,
    LimitsSet,
    OrderAnswered,
    OrderConflict,
    OrderDenied,
    OrderIntended,
    OrderResolved,
    OrderSeen,
    StopsSeen,
    TradingHalted,
    TradingResumed,
    VersionConflict,
)
from ledger.codec import ORDER_KEYS, natural_key
from ledger.events import ORDER_KINDS
from ledger.journal import Outcome, Selection
from ledger.journal.admission import Admission
from ledger.journal.verify.walk import verify_account
from ledger.postings import OUTSIDE_FOLD, Posting
from tests.support.journals import ACCOUNT, OTHER, START_MSC, Clock, everything, fill, opened, specified
from tools.testkit.every_event import EVENTS

TOKEN = "L" + "A" * 19
VERSION = Posting._fields.index("version")
ORDER_EVENTS = [event for event in EVENTS if type(event).__name__ in ORDER_KINDS]


def intended(client_id="c-1", **fields):
    terms: dict[str, Any] = {"symbol": "EURUSD", "side": "buy", "volume": "0.10", "kind": "market", "token": TOKEN}
    return OrderIntended(client_id=client_id, time_msc=START_MSC, **(terms | fields))


def denied(client_id="c-1", **fields):
    terms: dict[str, Any] = {"symbol": "EURUSD", "side": "buy", "volume": "0.10", "kind": "market", "why": "full"}
    return OrderDenied(client_id=client_id, rule="orders_max", time_msc=START_MSC, **(terms | fields))


def answered(client_id="c-1", **fields):
    terms: dict[str, Any] = {"verdict": "accepted", "order": 5}
    return OrderAnswered(client_id=client_id, time_msc=START_MSC, **(terms | fields))


@pytest.fixture
def book(journal):
    journal.append(ACCOUNT, [opened(), fill(1, 1)])
    return journal


def record(journal, *events, **how):
    return journal.append(ACCOUNT, list(events), **how).outcomes


def later(event):
    return attrs.evolve(event, time_msc=event.time_msc + 5)


# ------------------------------------------------------------------------------------------------------------ known again


@pytest.mark.parametrize("event", ORDER_EVENTS, ids=lambda one: type(one).__name__)
def test_what_is_recorded_again_later_is_no_second_event(book, event):
    assert record(book, event, later(event)) == (Outcome.APPENDED, Outcome.DUPLICATE)
    assert record(book, event) == (Outcome.DUPLICATE,)


@pytest.mark.parametrize(
    ("known", "given", "field"),
    [
        (intended(), intended(volume="0.11"), "volume"),
        (intended(), denied(token=TOKEN), "event"),
        (denied(), intended(), "event"),
        (denied(), denied(side="sell"), "side"),
        (answered(), answered(verdict="rejected", order=0), "verdict"),
        (
            OrderResolved(client_id="c", number=1, outcome="absent", basis="absence", time_msc=START_MSC),
            OrderResolved(client_id="c", number=1, outcome="executed", basis="token", tickets=[5], time_msc=START_MSC),
            "outcome",
        ),
        (
            TradingHalted(scope="account", number=1, mode="all", operator="a", reason="x", time_msc=START_MSC),
            TradingResumed(scope="account", number=1, operator="a", reason="x", time_msc=START_MSC),
            "mode",
        ),
    ],
)  # fmt: skip
def test_what_has_a_name_is_never_recorded_with_other_content(book, known, given, field):
    record(book, known)
    with pytest.raises(OrderConflict, match=natural_key(known)) as error:
        record(book, given)
    assert field in error.value.differences
    assert book.head(ACCOUNT).version == 3


def test_the_same_request_that_was_checked_again_is_the_same_intent(book):
    record(book, intended(checked_version=2, valid_until_utc_msc=START_MSC, limits="ab", store="s"))
    again = intended(checked_version=3, valid_until_utc_msc=START_MSC + 9, limits="cd", store="t")
    assert record(book, again) == (Outcome.DUPLICATE,)


def test_an_intent_that_rests_on_an_older_version_is_refused(book):
    record(book, intended("first"), expected_version=2)
    with pytest.raises(VersionConflict):
        record(book, intended("second"), expected_version=2)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (
            StopsSeen(position_id=7, sl="1.05", time_msc=START_MSC), StopsSeen(position_id=7, sl="1.06", time_msc=START_MSC)
        ),
        (
            LimitsSet(rules={"orders_max": 1}, operator="a", reason="x", time_msc=START_MSC),
            LimitsSet(rules={"orders_max": 2}, operator="a", reason="x", time_msc=START_MSC),
        ),
        (
            OrderSeen(ticket=5, symbol="S", type=2, state=1, volume_initial=1, volume_current=1, sl=1, time_msc=START_MSC),
            OrderSeen(ticket=5, symbol="S", type=2, state=1, volume_initial=1, volume_current=1, sl=2, time_msc=START_MSC),
        ),
    ],
)  # fmt: skip
@pytest.mark.parametrize("decided", [False, True])
def test_what_changes_back_is_recorded_again_and_what_did_not_change_is_not(book, first, second, decided):
    key = natural_key(first)
    seen: list[Event] = []
    for number, event in enumerate([first, second, first, second, first, second, second, first, first]):
        how = {"expected_version": book.head(ACCOUNT).version} if decided else {}
        changed = not seen or seen[-1] is not event
        seen += [event] * changed
        assert record(book, attrs.evolve(event, time_msc=START_MSC + number), **how) == (
            Outcome.APPENDED if changed else Outcome.DUPLICATE,
        )
    keys = [row.natural_key for row in book.rows(ACCOUNT, after=2)]
    assert keys == [key, *(f"{key}#{number}" for number in range(2, len(seen) + 1))]
    assert record(book, second, first, first) == (Outcome.APPENDED, Outcome.APPENDED, Outcome.DUPLICATE)  # in one append
    assert verify_account(book, ACCOUNT).problems == ()


def seen_at(ticket, **fields):
    return OrderSeen(
        ticket=ticket, symbol="S", type=2, state=1, volume_initial=1, volume_current=1, time_msc=START_MSC, **fields
    )


sights = st.one_of(
    st.builds(lambda ticket, sl: seen_at(ticket, sl=sl), st.integers(1, 2), st.integers(0, 1)),
    st.builds(
        lambda position, sl: StopsSeen(position_id=position, sl=sl, time_msc=START_MSC), st.integers(1, 2), st.integers(0, 1)
    ),
    st.builds(lambda n: LimitsSet(rules={"orders_max": n}, operator="a", reason="x", time_msc=START_MSC), st.integers(0, 1)),
)


@given(steps=st.lists(st.tuples(st.lists(sights, max_size=4), st.booleans()), max_size=12))
def test_a_sync_that_sees_the_same_again_records_nothing_and_one_that_sees_a_change_records_it(steps):
    """Any order of sights: what is recorded are the changes of each order and position, and nothing else."""
    with Ledger.open("memory://", now_us=Clock()) as ledger:
        journal = ledger.journal
        journal.append(ACCOUNT, [opened()])
        newest: dict[str, Any] = {}
        for events, decided in steps:
            for again in (False, True):
                # A sync sees each order and position once.
                once = list({natural_key(one): one for one in events}.values())
                how: Any = {"expected_version": everything(journal).version} if decided else {}
                outcomes = record(journal, *once, **how)
                changed = [newest.get(natural_key(one)) != one for one in once]
                assert [outcome is Outcome.APPENDED for outcome in outcomes] == changed
                assert not (again and any(changed))
                newest |= {natural_key(one): one for one in once}
        assert verify_account(journal, ACCOUNT).problems == ()


def test_the_newest_of_many_records_is_found_by_few_looks(book, monkeypatch):
    for number in range(1, 71):
        record(book, StopsSeen(position_id=7, sl=number, time_msc=START_MSC))
    assert [row.natural_key for row in book.rows(ACCOUNT, after=71)] == ["stops:7#70"]
    asked: list[int] = []
    fetch = Admission._fetch_newest

    def counted(self, keys):
        lookup = self._lookup

        def noted(wanted):
            asked.append(len(wanted))
            return lookup(wanted)

        self._lookup = noted
        fetch(self, keys)

    monkeypatch.setattr(Admission, "_fetch_newest", counted)
    assert record(book, StopsSeen(position_id=7, sl=70, time_msc=START_MSC)) == (Outcome.DUPLICATE,)
    assert record(book, StopsSeen(position_id=7, sl=69, time_msc=START_MSC)) == (Outcome.APPENDED,)
    assert len(asked) <= 2 * 2 * 7


# ----------------------------------------------------------------------------------------------------------- no portfolio


def test_events_about_orders_move_no_portfolio_and_no_place(book, clock):
    ledger = Ledger(book, clock)
    account = ledger.account(ACCOUNT)
    before, head = account.portfolio.state(), book.head(ACCOUNT)
    for event in ORDER_EVENTS:
        account.record(event)
        assert account.portfolio.state() == before
    after = book.head(ACCOUNT)
    assert (after.last_msc, after.last_deal) == (head.last_msc, head.last_deal)
    assert account.replay(checkpoints=False).state() == before
    assert {row.placement for row in book.rows(ACCOUNT, after=2)} == {OUTSIDE_FOLD}
    assert {one.field for one in verify_account(book, ACCOUNT).problems} == {"evidence"}  # the answers were not given


def test_a_portfolio_goes_on_behind_events_about_orders_without_a_replay(book, clock, monkeypatch):
    account = Ledger(book, clock).account(ACCOUNT)
    assert account.portfolio.folded
    monkeypatch.setattr(account, "fold", None)
    account.record(intended())
    assert account.current()[0] == 3
    account.record(fill(2, 2))
    assert len(account.portfolio.positions) == 2


@pytest.mark.parametrize("until_msc", [None, START_MSC - 1, START_MSC, START_MSC + 10**6])
def test_a_replay_counts_them_among_the_events_it_selects(book, until_msc):
    record(book, *ORDER_EVENTS, fill(2, 2))
    version = book.head(ACCOUNT).version
    ledger = Ledger(book)
    _, selected = ledger.account(ACCOUNT).replayed(Selection(version=version, time_msc=until_msc))
    times = [row.time_msc for row in book.rows(ACCOUNT)]
    assert selected == sum(until_msc is None or time_msc <= until_msc for time_msc in times)


@pytest.mark.parametrize("event", EVENTS, ids=lambda one: type(one).__name__)
def test_the_ranges_of_keys_hold_what_is_about_orders_and_nothing_else(event: Event):
    key = natural_key(event)
    is_within = any(first <= key < end for first, end in ORDER_KEYS)
    assert is_within == (type(event).__name__ in ORDER_KINDS)


@pytest.mark.parametrize(
    "sorted_by",
    [
        lambda text: text,
        lambda text: (text.casefold(), text.swapcase()),
        lambda text: ("".join(filter(str.isalnum, text.casefold())), text),  # marks decide last
        lambda text: ("".join(filter(str.isalpha, text.casefold())), text),
    ],
    ids=["bytes", "small first", "without marks", "letters first"],
)
@pytest.mark.parametrize("event", ORDER_EVENTS, ids=lambda one: type(one).__name__)
def test_the_ranges_hold_them_however_a_database_sorts_texts(event, sorted_by):
    key = sorted_by(natural_key(event))
    assert any(sorted_by(first) <= key < sorted_by(end) for first, end in ORDER_KEYS)


# ------------------------------------------------------------------------------------------------------------- what is none


@pytest.mark.parametrize(
    ("make", "fields", "what"),
    [
        (intended, {"client_id": "a:b"}, "client id"),
        (intended, {"client_id": "x" * 65}, "client id"),
        (intended, {"client_id": ""}, "client id"),
        (intended, {"token": "LONG"}, "token"),
        (intended, {"side": None}, "needs side"),
        (intended, {"volume": 0}, "more than 0"),
        (intended, {"kind": "pending", "price": 1}, "needs type"),
        (intended, {"kind": "pending", "price": 1, "type": "stop_limit"}, "needs stoplimit"),
        (intended, {"kind": "stops"}, "needs position_id"),
        (intended, {"kind": "close_by", "position_id": 1}, "needs by_position_id"),
        (intended, {"kind": "cancel"}, "needs the order"),
        (intended, {"comment_tail": "1234567"}, "at most 6"),
        (answered, {"verdict": "done"}, "accepted, no_change"),
    ],
)
def test_what_could_not_be_sent_is_no_intent(make, fields, what):
    with pytest.raises(BadValue, match=what):
        make(**fields)


@pytest.mark.parametrize("rules", [{"x": 0.1}, {"x": [{"y": 1.5}]}, "[1]", "nothing", {1: 2}, {"x": float("nan")}, None, 7])
def test_rules_are_exact(rules):
    with pytest.raises(BadValue, match="decimals as text"):
        LimitsSet(rules=rules, operator="a", reason="x", time_msc=START_MSC)


def test_equal_rules_have_one_text():
    one, other = (
        LimitsSet(rules=rules, operator="a", reason="x", time_msc=START_MSC)
        for rules in ({"a": 1, "b": "0.1"}, '{ "b": "0.1", "a": 1 }')
    )
    assert one == other


@pytest.mark.parametrize(
    "make",
    [
        lambda: OrderResolved(client_id="c", number=1, outcome="executed", basis="person", time_msc=0),
        lambda: OrderResolved(client_id="c", number=1, outcome="duplicate", basis="token", tickets=[5, 5], time_msc=0),
        lambda: OrderResolved(client_id="c", number=0, outcome="absent", basis="absence", time_msc=0),
        lambda: TradingHalted(scope="account", name="x", number=1, mode="all", rule="r", reason="x", time_msc=0),
        lambda: TradingHalted(scope="symbol", number=1, mode="all", rule="r", reason="x", time_msc=0),
        lambda: TradingHalted(scope="account", number=1, mode="all", reason="x", time_msc=0),
        lambda: TradingResumed(scope="strategy", number=1, operator="a", reason="x", time_msc=0),
    ],
)
def test_a_decision_without_what_it_rests_on_is_none(make):
    with pytest.raises(BadValue):
        make()


def test_what_proves_a_carrier_and_what_breaks_it_are_two_facts():
    facts: list[Event] = [cls(kind="comment", ticket=5, time_msc=START_MSC) for cls in (CarrierProven, CarrierBroken)]
    assert len({natural_key(fact) for fact in facts}) == 2


def test_the_events_of_one_client_id_are_found_by_it_and_by_its_token(journal):
    journal.append(ACCOUNT, [opened(), specified("EURUSD"), fill(5, 5)])
    first, second = (
        OrderIntended(client_id=one, token=token, kind="cancel", target_order=7, time_msc=START_MSC)
        for one, token in (("c1", TOKEN), ("c2", "LB" + TOKEN[2:]))
    )
    answer = OrderAnswered(client_id="c1", verdict="rejected", time_msc=START_MSC)
    journal.append(ACCOUNT, [first, second, fill(6, 6, order=7), answer])

    def versions(**named):
        return [row[VERSION] for block in journal.order_events(ACCOUNT, 99, **named) for row in block]

    assert versions() == [4, 5, 7]
    assert versions(client_id="c1") == [4, 7]
    assert versions(token=TOKEN) == [4]
    assert versions(client_id="c2", token=TOKEN) == []
    assert [row[VERSION] for block in journal.order_events(ACCOUNT, 5, client_id="c1") for row in block] == [4]
    assert list(filter(None, journal.order_events(OTHER, 99, client_id="c1"))) == []
