"""The law of the derived tables: however events arrive and whoever follows them, they are what a fold of everything makes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import count, groupby
from typing import Any

import pytest
from attrs import define, evolve
from hypothesis import event, example, given, settings
from hypothesis import strategies as st

from ledger import Account, AccountId, DealRevised, Ledger, LedgerError
from ledger.bookings import Booking, TradeFigures, booked
from ledger.codec import decode_posting
from ledger.derived import AccumulatorKind, Curve, Derived, breaks_of, halts_of, position_of, trade_of
from ledger.derived import follower as followers
from ledger.events import DealOrder
from ledger.journal import Journal
from ledger.journal.derived import SPANS, CurveNode, Update
from ledger.journal.memory import MemoryJournal
from ledger.json_views import position_json, trade_json
from ledger.portfolio import Portfolio
from ledger.positions import OpenPosition
from tests.property.test_checkpoints import HOUR_MSC, HOUR_UTC_MSC, contained, moved
from tests.property.test_journals_agree import ANSWERS, batches, shared_urls
from tests.support.journals import START_MSC, Clock, completion, fill, ghost, open_journal, opened, revised, specified

_numbers = count(1)


@define
class Counted:
    """An accumulator: how much was booked and how often a trade closed, and what of each came last."""

    amount: int = 0
    last: int = 0
    trades: int = 0
    net: int = 0

    def add(self, booking: Booking) -> None:
        self.amount += booking.amount
        self.last = booking.deal

    def add_trade(self, figures: TradeFigures) -> None:
        self.trades += 1
        self.net += figures.net

    def state(self) -> list[int]:
        return [self.amount, self.last, self.trades, self.net]


COUNTED = AccumulatorKind(
    name="counted", version=1, begin=lambda _: Counted(), restore=lambda _, state: Counted(*state)
)  # fmt: skip


def model(account: Account) -> tuple[list[Booking], Portfolio, Counted]:
    """Fold everything from the start, in one go."""
    selection, terms = account.selection()
    portfolio, closed = Portfolio(terms), list[OpenPosition]()
    rows = list(account.ledger.journal.postings(account.name, selection, terms))
    found = list(booked(portfolio, rows, decode_posting, closed))
    counted = Counted(
        sum(one.amount for one in found), found[-1].deal if found else 0, len(closed),
        sum(one.profit + one.swap + one.commission + one.fee for one in closed),
    )  # fmt: skip
    return found, portfolio, counted


def scan(points: list[tuple[int, int]], balance: int, width: int) -> list[tuple[int, ...]]:
    """Return what a scan of (time, balance after) makes of buckets of a width: begin, open, low, high, close, count."""
    found: list[tuple[int, ...]] = []
    for begin, run in groupby(points, lambda one: one[0] - one[0] % width):
        values = [balance, *(after for _, after in run)]
        balance = values[-1]
        found.append((begin, values[0], min(values), max(values), balance, len(values) - 1))
    return found


def check(account: Account, derived: Derived, *, is_counted: bool = True) -> None:
    """Compare the tables with a fold of everything, and with what an account shows."""
    name, journal = account.name, account.ledger.journal
    row = derived.row
    assert row is not None
    assert (row.version, row.hash.hex(), row.is_whole) == (account.version, account.head, 1)
    expected, portfolio, counted = model(account)
    bookings = list(derived.bookings())
    assert [one.number for one in bookings] == list(range(1, row.bookings + 1))
    names = [name for name in Booking._fields if name not in ("deal", "is_complete")]
    assert [[getattr(one, name) for name in names] for one in bookings] == [
        [getattr(one, name) for name in names] for one in expected
    ]
    assert [one.deal or 2**63 - 1 for one in bookings] == [one.deal for one in expected]
    assert [bool(one.is_complete) for one in bookings] == [one.is_complete for one in expected]
    # what runs along
    balance = credit = 0
    for one in bookings:
        balance, credit = balance + one.amount, credit + one.credited
        assert (one.balance, one.credit) == (balance, credit)
    assert (balance, credit) == portfolio.money_units
    terms = portfolio.terms
    times = [one.at_utc_msc for one in bookings]
    assert times == sorted(times)
    # trades, positions, summary
    trades = list(derived.trades())
    shown = [trade_json(trade_of(one, terms.opened.money_scale), terms) for one in trades]
    assert shown == [trade_json(one, terms) for one in account.trades()]
    assert [one.number for one in trades if not one.is_unfinished] == list(range(1, row.trades + 1))
    positions = [position_of(one) for one in derived.positions()]
    assert positions == list(account.portfolio.positions.values())
    assert [position_json(one, terms.clock) for one in positions] == [
        position_json(one, terms.clock) for one in portfolio.positions.values()
    ]
    summary = derived.summary()
    assert summary is not None
    assert (summary.version, summary.balance, summary.credit) == (row.version, balance, credit)
    assert breaks_of(summary) == portfolio.breaks
    assert (summary.positions, summary.unexplained) == (len(positions), len(portfolio.unexplained))
    assert (summary.degraded_reason is None) == (portfolio.degraded is None)
    assert dict(halts_of(summary)) == account.current_orders()[1].halts
    assert summary.clock == terms.clock.name
    if is_counted:
        assert derived.accumulated("counted") == counted
    # the curve
    points = [(one.at_utc_msc, one.balance) for one in bookings]
    for span in SPANS:
        nodes = journal.derived.curve_nodes(name, span, -(2**40), 2**40)
        assert nodes == [CurveNode(span, begin // 60_000, *rest) for begin, *rest in scan(points, 0, span * 60_000)]


def check_curve(curve: Curve, bookings: list[Any], columns: int) -> None:
    """Compare a curve with a scan of the period that it states."""
    assert len(curve.buckets) <= columns
    begin, end = curve.from_utc_msc, curve.until_utc_msc
    before = [one.balance for one in bookings if one.at_utc_msc < begin]
    opening = before[-1] if before else 0
    assert curve.opening == opening
    within = [(one.at_utc_msc, one.balance) for one in bookings if begin <= one.at_utc_msc < end]
    assert [(one.begin_utc_msc, *one[2:]) for one in curve.buckets] == scan(within, opening, curve.width_msc)


@contextmanager
def journals(kind: str, now: Clock) -> Iterator[tuple[Journal, AccountId]]:
    name = AccountId("Derived", next(_numbers))
    journal: Journal = MemoryJournal(now) if kind == "memory" else open_journal(shared_urls()[kind == "postgres"], now)
    try:
        yield journal, name
    finally:
        journal.close()


class KilledError(Exception):
    """Ends a follower in the middle."""


@contextmanager
def killed_after(journal: Journal, parts: int | None) -> Iterator[None]:
    """Let a follower store so many parts, and end it with the next."""
    with pytest.MonkeyPatch.context() as patch, suppress(KilledError):
        left, update = [parts], journal.derived.update

        def store(account: AccountId, change: Update) -> bool:
            if left[0] is not None:
                if not left[0]:
                    raise KilledError
                left[0] -= 1
            return update(account, change)

        patch.setattr(journal.derived, "update", store)
        yield


def later(one: Any, step: int) -> Any:
    """Return an event of the first seconds as one of another stretch of time, with deals of its own."""
    if isinstance(one, DealRevised):
        return evolve(one, now=later(one.now, step))
    changed = {name: getattr(one, name) + 5000 * step for name in ("time_msc", "updated_msc") if getattr(one, name, None)}
    return evolve(one, **changed | ({"deal": one.deal + 10 * step} if getattr(one, "deal", None) else {}))


def step(
    events: list[Any], *, interval: int = 1, size: int = 10_000, who: int = 0, parts: int | None = None
) -> tuple[Any, ...]:
    return events, interval, size, who, parts, True


at_once = st.sampled_from([1, 3, 10_000])
intervals = st.sampled_from([1, 2, 5, 5000])
kinds = st.sampled_from(["memory", "memory", "sqlite"])


@settings(max_examples=settings().max_examples)
@given(
    steps=st.lists(
        st.tuples(
            st.one_of(batches, batches, st.lists(contained, max_size=2)),
            intervals,
            at_once,
            st.integers(0, 3),
            st.sampled_from([None, None, None, 0, 1, 2]),
            st.booleans(),
        ),
        min_size=1,
        max_size=6,
    ),
    mode=st.sampled_from(["hedging", "netting"]),
    order=st.sampled_from([DealOrder.TICKET, DealOrder.TICKET, DealOrder.TIME]),
    is_hour=st.sampled_from([False, False, True]),
    kind=kinds,
)
@example(  # a deal that arrives late belongs before rows that are there
    steps=[step([fill(1, 0), fill(3, 2), fill(4, 3)]), step([fill(2, 1)])],
    mode="hedging", order=DealOrder.TICKET, is_hour=False, kind="sqlite",
)  # fmt: skip
@example(  # money that becomes known later changes the balance from there on, also where parts are stored
    steps=[
        step([fill(1, 0, profit=None), fill(3, 2), fill(4, 3)], size=1),
        step([completion(1, profit=5)], size=1, who=1),
        step([revised(fill(4, 1))], interval=5, size=1),
    ],
    mode="hedging", order=DealOrder.TICKET, is_hour=False, kind="sqlite",
)  # fmt: skip
@example(  # a symbol is specified when trades of it are there: they are shown with other digits
    steps=[
        step([fill(1, 0, position_id=1, price="1.12345"), fill(2, 1, position_id=1, entry="out", side="sell")]),
        step([specified("EURUSD", digits=1)]),
    ],
    mode="hedging", order=DealOrder.TICKET, is_hour=False, kind="sqlite",
)  # fmt: skip
@example(  # the server's clock went back between two deals
    steps=[step([fill(1, 2.25), fill(2, 1), fill(3, 2.25)])],
    mode="hedging", order=DealOrder.TICKET, is_hour=True, kind="sqlite",
)  # fmt: skip
@example(  # trades that are not known in full are there in two versions
    steps=[step([fill(1, 0, position_id=1), ghost(1, 1)]), step([fill(3, 3, position_id=2)])],
    mode="hedging", order=DealOrder.TICKET, is_hour=False, kind="sqlite",
)  # fmt: skip
@example(  # two followers in turn, each of which knows less than the other
    steps=[step([fill(n, n, position_id=n)], interval=5000, who=n % 2) for n in range(1, 6)],
    mode="hedging", order=DealOrder.TICKET, is_hour=False, kind="sqlite",
)  # fmt: skip
@example(  # one that was killed when it had made the first rows anew: there are checkpoints behind them
    steps=[
        step([fill(n, n, position_id=(n + 1) // 2, entry=["in", "out"][1 - n % 2], side=["buy", "sell"][1 - n % 2])
              for n in range(1, 9)]),
        step([specified("EURUSD", digits=1)], size=1, who=1, parts=1),
        step([fill(9, 9, position_id=9)], who=2),
    ],
    mode="hedging", order=DealOrder.TICKET, is_hour=False, kind="sqlite",
)  # fmt: skip
@example(  # one that was killed half way, behind another that had all of it
    steps=[
        step([fill(n, n, position_id=n) for n in range(1, 6)]),
        step([revised(fill(1, 0.5, profit=9))], size=1, who=1, parts=2),
        step([fill(9, 9, position_id=9)], size=1, who=2),
    ],
    mode="hedging", order=DealOrder.TICKET, is_hour=False, kind="sqlite",
)  # fmt: skip
def test_they_are_what_a_fold_of_everything_makes(steps, mode, order, is_hour, kind):
    """Any history, in any order; warm, cold, or by two followers in turn; stored at once or in parts."""
    clock = Clock(now_us=HOUR_UTC_MSC * 1000, step_us=900_000_000) if is_hour else Clock()
    with journals(kind, clock) as (journal, name), pytest.MonkeyPatch.context() as patch:
        start = {"clock": "America/New_York", "time_msc": HOUR_MSC - 3_600_000} if is_hour else {"time_msc": START_MSC}
        journal.append(name, [opened(name, mode=mode, order=order, **start)])
        two = [Ledger(journal, clock), Ledger(journal, clock)]
        followed = [Derived(one.account(name), (COUNTED,)) for one in two]
        for number, (drawn, interval, size, who, parts, is_as_it_is) in enumerate(steps):
            events = [moved(one) for one in drawn] if is_hour else drawn
            if not (is_hour or is_as_it_is):
                events = [later(one, number) for one in drawn]
            with suppress(LedgerError):
                journal.append(name, events, conflicts="keep", evidence=ANSWERS)
            if who == 3:  # nobody looks
                continue
            patch.setattr(followers, "AT_ONCE", size)
            one = followed[who] if who < 2 else Derived(two[0].account(name), (COUNTED,))  # a process that was just started
            for ledger in two:
                ledger.checkpoint_interval = interval
            with killed_after(journal, parts):
                one.catch_up()
                check(two[0].account(name), one)
        account = two[1].account(name)
        followed[0].catch_up()
        kept = {name: list(getattr(followed[0], name)()) for name in ("bookings", "trades", "positions")}
        event(f"{len(kept['bookings']) // 5 * 5} bookings or more")
        followed[1].rebuild()
        assert {name: list(getattr(followed[1], name)()) for name in kept} == kept
        check(account, followed[1])
        for columns, width in ((2, 1), (3, 600), (10, 90_000), (100, 9 * 3600)):
            begin = START_MSC if not is_hour else HOUR_UTC_MSC - 9 * 3_600_000
            check_curve(followed[1].curve(begin, begin + width * 1000, columns), kept["bookings"], columns)
        assert account.verify().problems == ()
