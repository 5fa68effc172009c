"""The derived tables on every journal: the same rows, whoever makes them, and nothing that is recorded depends on them."""

# ruff: noqa: S608, RUF100  # a test breaks in on purpose
from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from itertools import islice
from typing import Any, cast

import pytest

from ledger import AccountId, AccountUnknown, BadValue, InexactNumber, Ledger
from ledger.derived import Derived, follower, keep_up, lags, unknown_orders
from ledger.derived.keeping import _Keeper
from ledger.events import BreakKind, BreakOpened, SyncDegraded
from ledger.journal.backup import copy_journal, restore_journal
from ledger.journal.derived import TABLES, Update
from ledger.journal.memory import MemoryJournal
from tests.property.test_derived import COUNTED, check, killed_after
from tests.support.journals import (
    ACCOUNT,
    OTHER,
    START_MSC,
    Clock,
    Intruder,
    cash,
    fill,
    opened,
    revised,
    specified,
)
from tools.bench.journals import generate_events
from tools.testkit.orders import intended

THIRD = AccountId("Third", 3)


def events(count: int, *, nets: bool = False) -> list[Any]:
    """Return so many events of a history, with late deals, completions, revisions and ghosts."""
    return list(islice(generate_events(10**9, seed=7, nets=nets), count))


def tables(derived: Derived) -> dict[str, Any]:
    """Return all rows of an account, without what differs from one journal to the next."""
    summary = derived.summary()
    assert summary is not None
    return {
        "bookings": list(derived.bookings()),
        "trades": list(derived.trades()),
        "positions": derived.positions(),
        "summary": summary._replace(hash=b"", recorded_us=0),
        "curve": derived.curve(0, 2**41, 50),
    }


def test_all_journals_have_the_same_rows(journal, monkeypatch):
    """Made in many steps here, in one there; some parts are stored apart."""
    monkeypatch.setattr(follower, "AT_ONCE", 300)
    now = Clock(now_us=2_000_000_000_000_000)
    ledger, other = Ledger(journal, now), Ledger(MemoryJournal(now), now)
    ledger.checkpoint_interval = 100
    history = [opened(clock="ny-close"), *events(2000)]
    account, derived = ledger.account(ACCOUNT), Derived(ledger.account(ACCOUNT), (COUNTED,))
    for begin in range(0, len(history), 400):
        journal.append(ACCOUNT, history[begin : begin + 400], conflicts="keep")
        assert derived.lag().events == min(400, len(history) - begin)
        derived.catch_up()
        assert derived.lag().events == 0
    check(account, derived)
    other.journal.append(ACCOUNT, history, conflicts="keep")
    there = Derived(other.account(ACCOUNT))
    there.catch_up()
    assert tables(there) == tables(derived)
    # what a period has, by its index
    bookings, trades = list(derived.bookings()), list(derived.trades())
    begin, end = bookings[500].time_msc, bookings[900].time_msc
    within = [one for one in bookings if begin <= one.time_msc < end]
    assert list(derived.bookings(from_msc=begin, until_msc=end)) == within
    assert list(derived.bookings(after=1990)) == bookings[1990:]
    assert list(derived.trades(from_msc=begin, until_msc=end)) == [one for one in trades if begin <= one.closed_msc < end]
    assert list(derived.bookings(from_msc=end, until_msc=begin)) == []


def test_what_is_new_is_folded_on_and_not_made_anew(url, monkeypatch):
    """One fill more is a few rows, whatever the history, in the process that has it and in one that was just started."""
    with Ledger.open(url, now_us=Clock()) as one, Ledger.open(url, now_us=Clock()) as other:
        one.journal.append(ACCOUNT, [opened(), *(fill(n, n) for n in range(1, 50))])
        one.account(ACCOUNT).derived.catch_up()
        changes = [changed(ledger, monkeypatch) for ledger in (one, other)]
        for deal, ledger in enumerate((one, other, one, other), 50):
            one.account(ACCOUNT).record(fill(deal, deal))
            ledger.account(ACCOUNT).derived.catch_up()
        assert [len(change.bookings) for change in changes[0] + changes[1]] == [1] * 4
        one.account(ACCOUNT).record(fill(99, 48.5))  # late: all from its second on
        other.account(ACCOUNT).derived.catch_up()
        deals = [row.deal for row in other.account(ACCOUNT).derived.bookings()]
        assert deals == [*range(1, 49), 99, *range(49, 54)]
        late = changes[1][-1]
        assert (late.keep_bookings, len(late.bookings)) == (47, 7)


def changed(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> list[Update]:
    """Return what lists the changes of the tables that a ledger stores."""
    changes: list[Update] = []
    update = ledger.journal.derived.update

    def store(account: AccountId, change: Update) -> bool:
        changes.append(change)
        return update(account, change)

    monkeypatch.setattr(ledger.journal.derived, "update", store)
    return changes


def test_a_summary_has_what_an_overview_and_safety_need(journal, clock):
    ledger = Ledger(journal, clock)
    account = ledger.account(ACCOUNT)
    at_msc = START_MSC + 9000
    journal.append(ACCOUNT, [
        opened(), cash(1, 0, profit=100), fill(2, 1, position_id=2), intended(1, 2, valid_until_utc_msc=START_MSC + 9000),
        BreakOpened(kind=BreakKind.GHOST, position_id=2, symbol="EURUSD", ours="buy 1", time_msc=at_msc),
        SyncDegraded(reason="timeout", time_msc=at_msc),
    ])  # fmt: skip
    account.derived.catch_up()
    summary = account.derived.summary()
    assert summary is not None
    assert (summary.currency, summary.mode, summary.clock) == ("USD", "hedging", "UTC")
    assert (summary.balance, summary.scale, summary.positions, summary.breaks_open) == (100 * 10**summary.scale, 6, 1, 1)
    assert (summary.breaks_oldest_utc_msc, summary.degraded_utc_msc) == (at_msc, at_msc)
    assert (summary.degraded_reason, summary.last_event_utc_msc) == ("timeout", at_msc)
    assert unknown_orders(summary, 0) == ()
    _, orders = account.current_orders()
    late = 2**41  # long after any validity
    found = unknown_orders(summary, late)
    assert [one.client_id for one in found] == [one.client_id for one in orders.open_orders(late) if one.is_unknown] != []
    assert journal.derived.summaries() == {ACCOUNT: summary}


def test_rows_of_other_rules_are_made_anew(url):
    with Ledger.open(url, now_us=Clock()) as ledger:
        ledger.journal.append(ACCOUNT, [opened(), *(fill(n, n) for n in range(1, 9))])
        account = ledger.account(ACCOUNT)
        account.derived.catch_up()
        for change in ("code = 'derived-0'", "hash = '00'", "is_whole = 0", "version = 3"):
            Intruder(url)(f"UPDATE followers SET {change}")
            Intruder(url)("UPDATE bookings SET amount = 5 WHERE number > 2")
            with Ledger.open(url, now_us=Clock()) as other:
                check(other.account(ACCOUNT), _caught_up(other))
        Intruder(url)("UPDATE followers SET state = 'x'")  # what is damaged is not used
        account.record(fill(50, 50))
        with Ledger.open(url, now_us=Clock()) as other:
            check(other.account(ACCOUNT), _caught_up(other))


def _caught_up(ledger: Ledger) -> Derived:
    derived = Derived(ledger.account(ACCOUNT), (COUNTED,))
    derived.catch_up()
    return derived


def test_two_followers_at_once_do_no_harm(url, monkeypatch):
    """Both follow while two writers append to two accounts, and a third drops the tables now and then."""
    monkeypatch.setattr(follower, "AT_ONCE", 20)
    history, stop, failures = events(400), threading.Event(), list[BaseException]()
    with Ledger.open(url, now_us=Clock(now_us=2_000_000_000_000_000)) as writer:
        writer.checkpoint_interval = 50
        for name in (ACCOUNT, OTHER):
            writer.journal.append(name, [opened(name)])

        def follow() -> None:
            try:
                with Ledger.open(url) as ledger:
                    ledger.checkpoint_interval = 50
                    keep_up(ledger, stop, poll_seconds=0.01)
            except BaseException as error:  # noqa: BLE001  # shown below
                failures.append(error)

        threads = [threading.Thread(target=follow) for _ in range(2)]
        for thread in threads:
            thread.start()
        for begin in range(0, len(history), 20):
            for name in (ACCOUNT, OTHER):
                writer.journal.append(name, history[begin : begin + 20], conflicts="keep")
            if begin % 200 == 100:
                writer.account(ACCOUNT).derived.drop()
        stop.set()
        for thread in threads:
            thread.join()
        assert failures == []
        for name in (ACCOUNT, OTHER):
            derived = Derived(writer.account(name), (COUNTED,))
            derived.catch_up()
            check(writer.account(name), derived)


def test_keeping_up_goes_on_as_others_append(url):
    """Woken by appends; an account that cannot be kept up is logged, and the others are."""
    stop, caught = threading.Event(), threading.Event()
    seen: dict[Any, int] = {}
    with Ledger.open(url, now_us=Clock()) as writer, Ledger.open(url, now_us=Clock()) as reader:
        for name in (ACCOUNT, OTHER):
            writer.journal.append(name, [opened(name), fill(1, 1)])

        def done(name: Any, row: Any) -> None:
            seen[name] = row.version
            if seen == {ACCOUNT: 4, OTHER: 3}:
                caught.set()

        thread = threading.Thread(target=keep_up, args=(reader, stop), kwargs={"done": done, "poll_seconds": 0.05})
        thread.start()
        try:
            for name, deal in ((ACCOUNT, 2), (OTHER, 2), (ACCOUNT, 3)):
                writer.account(name).record(fill(deal, deal))
            assert caught.wait(60)
        finally:
            stop.set()
            thread.join()
        assert {name: lag.events for name, lag in lags(writer).items()} == {ACCOUNT: 0, OTHER: 0}


def test_what_does_not_fit_is_logged_once_and_the_others_are_kept_up(url, caplog):
    most = "9000000000000"  # what a deal can have; two do not fit a sum
    with Ledger.open(url, now_us=Clock()) as ledger:
        ledger.journal.append(ACCOUNT, [opened(), cash(1, 1, profit=most), cash(2, 2, profit=most)])
        ledger.journal.append(OTHER, [opened(OTHER), fill(1, 1)])
        with pytest.raises(InexactNumber, match="a sum that does not fit the derived tables"):
            ledger.account(ACCOUNT).derived.catch_up()
        assert ledger.account(ACCOUNT).derived.fresh() == (0, 3)  # what is asked is folded from the events then
        parts = [
            fill(n, n, position_id=1, profit=most, entry=entry, side=side, volume=2)
            for n, entry, side in ((1, "in", "buy"), (2, "out", "sell"))
        ]
        ledger.journal.append(THIRD, [opened(THIRD), cash(9, 0, profit=f"-{most}"), *parts])
        with pytest.raises(InexactNumber, match="the result of position 1 makes a sum that does not fit"):
            ledger.account(THIRD).derived.catch_up()
        keeper = _Keeper(ledger, lambda *_: None)
        for _ in range(2):
            keeper.catch_up(ledger.journal.heads(), threading.Event())
        assert ["a sum that does not fit" in one.message for one in caplog.records] == [True, True]
        assert {name: lag.events for name, lag in lags(ledger).items()} == {ACCOUNT: 3, OTHER: 0, THIRD: 4}


def test_verify_trusts_none_of_them(url):
    with Ledger.open(url, now_us=Clock()) as ledger:
        ledger.journal.append(ACCOUNT, [opened(), *(fill(n, n) for n in range(1, 9))])
        ledger.checkpoint_interval = 2
        account = ledger.account(ACCOUNT)
        account.derived.catch_up()
        for statement in (
            "UPDATE bookings SET amount = amount + 1", "DELETE FROM closed_trades", "UPDATE summaries SET balance = 7",
            "UPDATE followers SET state = 'x'", "UPDATE checkpoints SET body = 'x' WHERE fold LIKE 'derived-%'",
        ):  # fmt: skip
            Intruder(url)(statement)
            assert ledger.verify().ok
        check(account, _rebuilt(ledger))


def _rebuilt(ledger: Ledger) -> Derived:
    derived = Derived(ledger.account(ACCOUNT), (COUNTED,))
    derived.rebuild()
    return derived


def test_a_copy_has_none_and_makes_its_own(url, tmp_path):
    with Ledger.open(url, now_us=Clock()) as ledger:
        ledger.journal.append(ACCOUNT, [opened(), *(fill(n, n) for n in range(1, 9))])
        ledger.account(ACCOUNT).derived.catch_up()
        for name, copied in (("backup", copy_journal), ("restored", restore_journal)):
            target = f"sqlite:///{tmp_path / name}.db"
            copied(ledger.journal, target, Clock())
            for table in TABLES:
                assert Intruder(target)(f"SELECT count(*) FROM {table}") == [(0,)]
            with Ledger.open(target, now_us=Clock()) as copy:
                check(copy.account(ACCOUNT), _caught_up(copy))


def test_dropping_leaves_nothing(url):
    with Ledger.open(url, now_us=Clock()) as ledger:
        ledger.checkpoint_interval = 2
        ledger.journal.append(ACCOUNT, [opened(), *(fill(n, n) for n in range(1, 9))])
        account = ledger.account(ACCOUNT)
        account.portfolio  # noqa: B018  # leaves checkpoints of another fold
        account.derived.catch_up()
        assert account.derived.drop()
        for table in TABLES:
            assert Intruder(url)(f"SELECT count(*) FROM {table}") == [(0,)]
        assert Intruder(url)("SELECT count(*) FROM checkpoints WHERE fold LIKE 'derived-%'") == [(0,)]
        assert Intruder(url)("SELECT count(*) FROM checkpoints") != [(0,)]
        assert account.derived.drop() is False
        assert account.derived.lag() == (0, 9)
        assert account.derived.accumulated("counted") is None


def test_tables_that_are_made_anew_while_they_are_dropped_are_whole(url, monkeypatch):
    """Rows are deleted in several transactions: between two of them a follower may have begun again."""
    with Ledger.open(url, now_us=Clock()) as one, Ledger.open(url, now_us=Clock()) as other:
        one.journal.append(ACCOUNT, [opened(), *(fill(n, n) for n in range(1, 9))])
        _caught_up(one)
        journal, turns = cast("Any", one.journal), list[None]()
        write = journal.write_in_turn

        @contextmanager
        def in_turn(*values: Any, **options: Any) -> Iterator[Any]:
            with write(*values, **options) as connection:
                yield connection
            turns.append(None)
            if len(turns) == 1:
                _caught_up(other)

        monkeypatch.setattr(journal, "write_in_turn", in_turn)
        one.account(ACCOUNT).derived.drop()
        assert len(turns) > 1
        check(other.account(ACCOUNT), Derived(other.account(ACCOUNT), (COUNTED,)))


def test_rows_that_do_not_stay_are_never_counted_as_those_of_the_present_rules(url, monkeypatch):
    """Very many rows are deleted in parts: one that is killed between two leaves rows of other rules behind."""
    monkeypatch.setattr(follower, "DELETED_AT_ONCE", 5)
    with Ledger.open(url, now_us=Clock()) as ledger:
        ledger.checkpoint_interval = 5
        ledger.journal.append(ACCOUNT, [opened(), *(fill(n, n) for n in range(1, 41))])
        derived = _caught_up(ledger)  # leaves checkpoints of its rules
        Derived(ledger.account(ACCOUNT), ()).catch_up()
        Intruder(url)("UPDATE bookings SET amount = amount + 1")  # what other rules book
        with killed_after(ledger.journal, 1):
            derived.catch_up()
        check(ledger.account(ACCOUNT), _caught_up(ledger))


@pytest.mark.parametrize("state", ["x", "[]", '{"accumulators":{"report":{}}}', '{"accumulators":{"report":7}}'])
def test_a_state_that_is_damaged_is_left_aside(url, state):
    with Ledger.open(url, now_us=Clock()) as ledger:
        ledger.journal.append(ACCOUNT, [opened(), cash(1, 1), fill(2, 2)])
        account = ledger.account(ACCOUNT)
        account.derived.catch_up()
        expected = account.report()
        Intruder(url)("UPDATE followers SET state = ?", state.encode())
        assert account.derived.accumulated("report") is None
        assert account.report() == expected


def test_tables_of_more_than_there_is_count_as_none(url):
    """The journal's events were replaced by an older copy, and its tables were left."""
    with Ledger.open(url, now_us=Clock()) as ledger:
        ledger.journal.append(ACCOUNT, [opened(), fill(1, 1)])
        derived = _caught_up(ledger)
        Intruder(url)("UPDATE followers SET version = version + 1")
        assert derived.lag() == (0, 2)
        assert lags(ledger)[ACCOUNT] == (0, 2)


def test_what_is_read_together_is_of_one_version(url):
    with Ledger.open(url, now_us=Clock()) as ledger:
        ledger.journal.append(ACCOUNT, [opened(), fill(1, 1)])
        account = ledger.account(ACCOUNT)
        with pytest.raises(BadValue, match="has no derived tables yet"):
            account.derived.read(lambda row: row)
        account.derived.catch_up()
        later = [fill(2, 2), fill(3, 3)]

        def look(_: Any) -> tuple[int, int]:
            found = len(list(account.derived.bookings()))
            if later:
                account.record(later.pop(0))
                account.derived.catch_up()
            summary = account.derived.summary()
            assert summary is not None
            return found, summary.version

        assert account.derived.read(look) == (3, 4)


def test_an_account_that_is_not_open_has_none(journal, clock):
    account = Ledger(journal, clock).account(OTHER)
    with pytest.raises(AccountUnknown):
        account.derived.catch_up()
    assert (account.derived.row, account.derived.summary(), account.derived.positions()) == (None, None, [])
    assert list(account.derived.trades()) == []
    assert account.derived.curve(0, 10**12, 10).buckets == []


@pytest.mark.parametrize(("begin", "end", "columns"), [(5, 4, 10), (0, 5, 1), (0, 5, 20_001)])
def test_a_curve_of_no_period_or_no_columns_is_refused(begin, end, columns, journal, clock):
    with pytest.raises(BadValue):
        Ledger(journal, clock).account(OTHER).derived.curve(begin, end, columns)


def test_what_is_up_to_date_costs_a_look(journal, clock, monkeypatch):
    """No fold, of orders neither: a report is asked for by a process that was just started."""
    journal.append(ACCOUNT, [opened(), fill(1, 1), intended(1, 2)])
    row = Ledger(journal, clock).account(ACCOUNT).derived.catch_up()
    for name in ("current_orders", "ask_orders", "replayed_orders", "replayed"):
        monkeypatch.setattr(f"ledger.service.Account.{name}", None)
    assert Ledger(journal, clock).account(ACCOUNT).derived.catch_up() == row


def test_rows_of_other_rules_count_as_none(url):
    """Whoever may only read does not answer by them."""
    with Ledger.open(url, now_us=Clock()) as ledger:
        ledger.journal.append(ACCOUNT, [opened(), fill(1, 1)])
        derived = ledger.account(ACCOUNT).derived
        derived.catch_up()
        Intruder(url)("UPDATE followers SET code = 'derived-0:ticket:UTC'")
        assert derived.lag() == lags(ledger)[ACCOUNT] == (0, 2)
        with pytest.raises(BadValue, match="run ledger derive"):
            derived.read(lambda row: row)
        assert derived.fresh() == (2, 2)


def test_an_order_alone_moves_the_version_on(journal, clock):
    """It changes no row but the summary's."""
    ledger = Ledger(journal, clock)
    journal.append(ACCOUNT, [opened(), fill(1, 1)])
    account = ledger.account(ACCOUNT)
    account.derived.catch_up()
    before = tables(account.derived)
    journal.append(ACCOUNT, [intended(1, 2), specified("GBPUSD", digits=5)])
    assert account.derived.catch_up().version == 4
    after = tables(account.derived)
    assert {name: after[name] == before[name] for name in before} == {
        "bookings": True, "trades": True, "positions": True, "summary": False, "curve": True,
    }  # fmt: skip


def test_a_stream_that_is_not_read_to_its_end_holds_nothing(url):
    with Ledger.open(url, now_us=Clock()) as ledger:
        ledger.journal.append(ACCOUNT, [opened(), *(fill(n, n) for n in range(1, 9)), revised(fill(3, 3, profit=2))])
        derived = ledger.account(ACCOUNT).derived
        derived.catch_up()
        with closing(cast("Any", derived.bookings())) as bookings:
            next(bookings)
            ledger.account(ACCOUNT).record(fill(50, 50))
            assert derived.catch_up().bookings == 9
