"""The objects that a trading engine holds: a ledger, and the accounts in it."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import AsyncGenerator, Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import date, datetime
from functools import partial
from pathlib import Path
from threading import RLock
from typing import TYPE_CHECKING, Any, Final, Literal, NoReturn, Protocol, Self, TypeVar, Unpack, get_args

from attrs import evolve, frozen

from ledger.clock import MICROSECOND, UTC_EPOCH, ClockRule, moment_end_us, moment_span_us, to_clock
from ledger.codec import Stored, decode, decode_posting, is_for_orders, posting, recorded, stored_place
from ledger.damage import reading
from ledger.deprecation import Alias
from ledger.errors import AccountUnknown, BadValue, CorruptEvent, DealConflict, JournalError, RuleError, VersionGap
from ledger.events import (
    BY_VERSION_KINDS,
    ORDER_KINDS,
    AccountOpened,
    Adjusted,
    BreakClosed,
    BreakEnd,
    BreakKind,
    Deal,
    DealOrder,
    DealRevised,
    Event,
    IdentityRelaxed,
    IdentityRequired,
    Recorded,
)
from ledger.fold_order import HourReading
from ledger.folds import PORTFOLIO
from ledger.journal import Appended, Difference, EventStore, Head, Journal, Outcome, Selection
from ledger.journal.checkpoints import INTERVAL, repeated_hour, replayed, simulated
from ledger.journal.location import MOVED
from ledger.journal.moments import select_events
from ledger.journal.sql.forking import importing, prepare_for_forks
from ledger.marks import Mark as AccountMark
from ledger.portfolio import Portfolio
from ledger.positions import OpenPosition
from ledger.postings import OUT_OF_ORDER, OUTSIDE_FOLD, Row
from ledger.terms import TERMS_KINDS, AccountTerms
from ledger.text import visible
from ledger.values import (
    INT64_MAX,
    AccountId,
    MarginMode,
    currency_digits,
    require_type,
    shown,
    to_amount,
    to_text,
    to_whole,
    to_whole_or_none,
)
from ledger.views import Trade

if TYPE_CHECKING:  # what only some programs need is loaded when it is asked for, as what answers by modules above
    from ledger.approvals import Approvals, ApprovalsFold
    from ledger.compare import At, Comparison
    from ledger.derived import Derived
    from ledger.equity import Equity
    from ledger.explain import Explanation
    from ledger.frames import FrameOptions
    from ledger.incidents import Incident
    from ledger.journal.verify.walk import AccountVerification, Problem
    from ledger.orders.view import Order, Orders
    from ledger.reports import AccountReport, Report
    from ledger.seals import Seal
    from ledger.signatures import OperatorKeys

#: A moment: text as on the command line (without a zone: UTC), an aware datetime, a date (the whole day), or None for now.
Moment = str | datetime | date | None

_AT_ONCE: Final = 500
#: So many moments are kept with what they select.
_SELECTIONS_KEPT: Final = 15
_REPLAY_EVERY: Final = 2  # intervals between checkpoints
_STOP_SECONDS: Final = 0.1  # how often a follower looks whether to stop
#: How often a follower looks at all accounts, though it is woken for those that were appended to.
SWEEP_SECONDS: Final = 10.0
_logger: Final = logging.getLogger("ledger.service")
_T = TypeVar("_T")


def utc_now_us() -> int:
    """Return the present in UTC microseconds."""
    return time.time_ns() // 1000


def _end_us(moment: str | date) -> int:
    """Return the first UTC microsecond after what a moment names."""
    if isinstance(moment, str):
        return moment_end_us(moment)
    if not isinstance(moment, date):
        raise BadValue(
            f"expected a moment as text (2026-06-15T12:00:05Z), a date or a datetime with a zone, found {shown(moment)}"
        )
    if not isinstance(moment, datetime):
        return moment_end_us(moment.isoformat())
    if moment.utcoffset() is None:
        raise BadValue(
            f"expected a datetime with a zone, found {moment.isoformat()} without one: it is unknown which clock it is of. "
            "Pass an aware one, as datetime.now(UTC), or text, which is UTC"
        )
    return (moment - UTC_EPOCH) // MICROSECOND + 1


def moment_begin_us(moment: Moment) -> int:
    """Return the first UTC microsecond of what a moment names: of a day its first.

    Raises:
        BadValue: It is no moment.
    """
    if isinstance(moment, datetime) or not isinstance(moment, (str, date)):
        return _end_us(moment) - 1  # type: ignore[arg-type]  # what is none of both is refused there
    return moment_span_us(moment if isinstance(moment, str) else moment.isoformat())[0]


def moment_last_us(moment: Moment) -> int:
    """Return the last UTC microsecond of what a moment names: of a day its last. Raises as ``moment_begin_us``."""
    return _end_us(moment) - 1  # type: ignore[arg-type]  # None is refused there


@frozen(kw_only=True)
class Verification:
    """What ``verify`` found. It is ok when nothing that is recorded is wrong; a journal without events is ok.

    ``schema``: what protects events from change, or makes reading quick, and is not as it was made. ``signed``: how many
    decisions carry a signature.
    """

    accounts: tuple[AccountVerification, ...]
    problems: tuple[Problem, ...]
    schema: tuple[Difference, ...] = ()
    signed: int = 0

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems


class Ledger:
    """A journal and the accounts in it. Safe to use from several threads."""

    def __init__(self, journal: Journal, now_us: Callable[[], int] = utc_now_us) -> None:
        self.journal = journal
        self.now_us = now_us
        #: Postings between two checkpoints of a fold, at least.
        self.checkpoint_interval = INTERVAL
        self._accounts: dict[AccountId, Account] = {}
        self._lock = RLock()
        prepare_for_forks(self)

    def before_fork(self) -> None:
        """Do nothing: connections are prepared where they are made."""

    def after_fork_in_child(self) -> None:
        """Replace the locks, which a thread may have held that does not exist here."""
        self._lock = RLock()
        for account in list(self._accounts.values()):
            account.replace_lock()

    def __reduce__(self) -> NoReturn:
        raise TypeError("a ledger is not sent to another process: open it there by its URL (Ledger.open)")

    @classmethod
    def open(
        cls, url: str, *, create: bool = False, now_us: Callable[[], int] = utc_now_us, segments: Path | str | None = None
    ) -> Ledger:
        """Open a journal that is there.

        Args:
            url: ``sqlite:///FILE``, ``postgresql+psycopg://HOST/DB``, a path, or ``memory://`` for trying things out.
            create: Make the journal where there is none, and migrate an older one (``Ledger.create``).
            now_us: Returns the present in UTC microseconds.
            segments: A folder for the segments of a journal on Postgres, of no other journal; beside a file they have one.

        Raises:
            BadValue: The URL is not one of a journal.
            JournalMissing: There is no journal.
            JournalNewer: The journal was written by a newer program.
            JournalError: The journal has an older schema: migrate it with ``ledger init`` or ``Ledger.create``.
            JournalUnsafe: The database does not promise durability.
            JournalUnavailable: The database does not answer.
        """
        if require_type(url, str, "the URL of a journal, as sqlite:///desk.db") == "memory://":
            from ledger.journal.memory import MemoryJournal

            return cls(MemoryJournal(now_us), now_us)
        # Not needed before a journal is opened; SQLAlchemy and Alembic only to make or migrate one, and by Postgres.
        with importing():
            from ledger.journal.sql.engine import check_revision, found_revision, open_engine
            from ledger.journal.sql.journal import SqlJournal
            from ledger.journal.sql.words import REVISION

        engine = open_engine(url, create=False)
        try:
            if create and found_revision(engine) != REVISION:
                with importing():
                    from ledger.journal.sql.create import create_journal

                create_journal(url)
            check_revision(engine)
        except BaseException:
            engine.dispose()
            raise
        return cls(SqlJournal(engine, now_us, None if segments is None else Path(segments)), now_us)

    @classmethod
    def create(cls, url: str, *, now_us: Callable[[], int] = utc_now_us) -> Ledger:
        """Open a journal; make it where there is none, and migrate an older one. Safe from any number of threads and processes.

        Arguments and errors as ``open``.
        """
        return cls.open(url, create=True, now_us=now_us)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Give back connections. What was recorded is durable already."""
        self.journal.close()

    def account(self, server: str | AccountId, login: int | None = None) -> Account:
        """Return an account by server and login, whether it is open yet or not."""
        if isinstance(server, AccountId):
            name = server
            if login is not None:
                raise BadValue(f"account {name} names its login: leave {shown(login)} out")
        else:
            name = AccountId.parse(server) if login is None else AccountId(server, login)
        with self._lock:
            return self._accounts.setdefault(name, Account(self, name))

    def forget(self, name: AccountId) -> None:
        """Let go of what was folded of an account; whoever has it already goes on with it."""
        with self._lock:
            self._accounts.pop(name, None)

    def accounts(self) -> list[Account]:
        """Return the accounts that have events, ordered by server and login, without those that moved to another journal."""
        elsewhere = self.journal.locations()
        moved = {name for name, found in elsewhere.items() if found.state == MOVED}
        return [self.account(name) for name in self.journal.accounts() if name not in moved]

    def compare(self, a: At | str, b: At | str, *, match: str = "symbol", since: str | None = None) -> Comparison:
        """Return what differs between one account at two moments, or between two accounts (``ledger.compare``).

        Args:
            a: ``SERVER/LOGIN``, or with a moment behind an @: a time, ``known:TIME``, ``vN``, or a time and ``known:TIME``.
            b: The other side.
            match: Two accounts: ``symbol`` compares what is open of each symbol and side, ``position`` each position by its id.
            since: Two accounts: name the events of each from this moment on.

        Raises:
            AccountUnknown: An account is not in the journal.
            BadValue: A side or a moment cannot be read.
        """
        from ledger.compare import At, compare

        left, right = (At.parse(one) if isinstance(one, str) else one for one in (a, b))
        return compare(self, left, right, match=match, since=since)

    def follow(
        self, *, after: Mapping[AccountId, int] | None = None, poll_seconds: float = 1.0, stop: StopSign | None = None
    ) -> Iterator[Recorded]:
        """Yield every event of every account, each once and in the order of its account, and go on as others append.

        It never ends by itself. A database that does not answer for a while is waited for.

        Args:
            after: account -> version that the reader has seen already; from the start for all others.
            poll_seconds: How often to look where the journal cannot notice appends. Where it does, they come at once, and all
                accounts are looked at every 10 seconds, or this if it is longer, in case a notification was lost.
            stop: Ends it when set, as a ``threading.Event`` is; looked at as often.

        Raises:
            CorruptEvent: An account's head is before what was read of it: an older copy replaced the journal.
            VersionGap: A version is missing.
        """
        return following(self.journal, _cursors(after), None, to_amount(poll_seconds, 0, "poll_seconds"), stop)

    def follow_async(
        self, *, after: Mapping[AccountId, int] | None = None, poll_seconds: float = 1.0
    ) -> AsyncGenerator[Recorded, None]:
        """Yield every event as ``follow`` does, for ``async for``, without blocking the event loop.

        It ends with its task: cancel the task, or close what this returns (``contextlib.aclosing``). Raises as ``follow``.
        """
        return following_async(self.journal, _cursors(after), None, to_amount(poll_seconds, 0, "poll_seconds"))

    def incidents(self, *, since: Moment = None, until: Moment = None) -> Iterator[Incident]:
        """Yield the incidents of every account, account by account. Arguments and errors as ``Account.incidents``."""
        for account in self.accounts():
            yield from account.incidents(since=since, until=until)

    def report(
        self,
        accounts: Iterable[AccountId | str] | None = None,
        *,
        by: str = "month",
        day: str = "server",
        since: Moment = None,
        until: Moment = None,
        known_at: Moment = None,
        symbols: Iterable[str] = (),
        magics: Iterable[int] = (),
        with_curve: bool = False,
    ) -> Report:
        """Return what several accounts earned, one after the other, and a total for each currency.

        Args:
            accounts: Which; all without any.
            by: As of ``Account.report``, like the arguments below.
            day: Whose midnight begins a day.
            since: The beginning.
            until: The end.
            known_at: What the ledger believed then.
            symbols: Only these.
            magics: Only these.
            with_curve: Also the balance curves.

        Raises:
            AccountUnknown: An account was not opened.
            BadValue: An argument that cannot be.
        """
        from ledger.reports import make_question, report

        question = make_question(by=by, day=day, since=since, until=until, known_at=known_at, symbols=symbols, magics=magics)
        named = self.accounts() if accounts is None else [self.account(one) for one in accounts]
        return report(named, question, with_curve=with_curve)

    def verify(
        self,
        progress: Callable[[int], object] = lambda _: None,
        *,
        since: Seal | None = None,
        operator_keys: OperatorKeys | None = None,
        in_parallel: bool = False,
    ) -> Verification:
        """Recompute everything of every account, and hold it up to a seal if there is one.

        Args:
            progress: Called with the number of events checked since the last call.
            since: What was sealed must be there, unchanged.
            operator_keys: Whose keys are known: signed decisions must be by these. Without, only that a signature is one of its
                decision is checked.
            in_parallel: Use a second processor: long accounts are checked by two processes, and what spans accounts
                is looked at meanwhile. The result is the same.
        """
        from ledger.journal.verify.walk import verify_account, verify_across

        names = self.journal.accounts()
        if not in_parallel:
            accounts = tuple(verify_account(self.journal, name, progress) for name in names)
            across = list(verify_across(self.journal))
        else:
            from concurrent.futures import ThreadPoolExecutor

            from ledger.journal.verify.worker import helper

            with ThreadPoolExecutor(1) as beside:  # the database does nearly all of it, which leaves Python to us
                looked = beside.submit(lambda: list(verify_across(self.journal)))
                accounts = tuple(verify_account(self.journal, name, progress, partial(helper, self.journal)) for name in names)
                across = looked.result()
        problems = tuple(problem for verified in accounts for problem in verified.problems) + tuple(across)
        if since is not None:
            from ledger.seals import problems as seal_problems

            damaged = frozenset(problem.account for problem in problems)
            problems += tuple(seal_problems(self.journal, since, damaged))
        unread = frozenset(one.account for one in problems if one.field != "approval")
        signed, unsigned = self._verify_signatures(operator_keys, unread)
        return Verification(
            accounts=accounts, problems=(*problems, *unsigned), schema=self._schema_differences(), signed=signed
        )  # fmt: skip

    def _verify_signatures(self, keys: OperatorKeys | None, unread: frozenset[str]) -> tuple[int, list[Problem]]:
        """Return how many decisions are signed, and what is wrong with signatures, in accounts that can be read."""
        from ledger.signatures import NO_KEYS, problems, signed_decisions

        signed, found = 0, list["Problem"]()
        parents, identity = self.journal.parents(), self.journal.identity()
        for name in self.journal.proposed_since(0):
            if str(name) in unread:
                continue
            approvals = self.account(name).approvals
            shared = {one.journal_id: one.versions.get(name, 0) for one in parents}
            for former in self.journal.origins(name):
                shared[former.journal_id] = max(former.version, shared.get(former.journal_id, 0))
            signed += signed_decisions(approvals)
            found += problems(name, approvals, {**shared, identity: None}, keys or NO_KEYS)
        return signed, found

    def trades_frame(self, accounts: Sequence[Account] | None = None, **options: Unpack[FrameOptions]) -> Any:
        """Return the closed trades of several accounts, of all without a list, as a frame. See ``Account.trades_frame``."""
        return self._frame("trades", accounts, options)

    def deals_frame(self, accounts: Sequence[Account] | None = None, **options: Unpack[FrameOptions]) -> Any:
        """Return the deals of several accounts as a frame. See ``trades_frame``."""
        return self._frame("deals", accounts, options)

    def positions_frame(self, accounts: Sequence[Account] | None = None, **options: Unpack[FrameOptions]) -> Any:
        """Return the open positions of several accounts as a frame. See ``trades_frame``."""
        return self._frame("positions", accounts, options)

    def events_frame(self, accounts: Sequence[Account] | None = None, **options: Unpack[FrameOptions]) -> Any:
        """Return the events of several accounts as a frame. See ``trades_frame``."""
        return self._frame("events", accounts, options)

    def equity_frame(self, accounts: Sequence[Account] | None = None, **options: Unpack[FrameOptions]) -> Any:
        """Return what several accounts were worth, sample by sample, as a frame. See ``trades_frame``."""
        return self._frame("equity", accounts, options)

    def _frame(self, name: str, accounts: Sequence[Account] | None, options: FrameOptions) -> Any:
        from ledger.frames import frame

        return frame(name, self.accounts() if accounts is None else accounts, **options)

    def _schema_differences(self) -> tuple[Difference, ...]:
        try:
            return self.journal.schema_differences()
        except JournalError:  # what cannot be read is named as such already
            return ()


class Account:
    """One account of a ledger. Safe to use from several threads."""

    def __init__(self, ledger: Ledger, name: AccountId) -> None:
        self.ledger = ledger
        self.name = name
        self._journal = ledger.journal
        self._lock = RLock()
        self._current: tuple[int, Portfolio] | None = None  # one value, so that a fork never finds half of a change
        self._orders: tuple[int, Orders] | None = None
        self._approvals: tuple[int, ApprovalsFold] | None = None
        self._orders_replayed = 0
        self._replayed = 0  # version of the last replay, which leaves checkpoints
        self._folded: Head | None = None  # the last head that anything was folded up to
        self._derived: Derived | None = None
        self._selections: dict[Any, tuple[Selection, AccountTerms]] = {}

    def __repr__(self) -> str:
        return f"<Account {self.name}>"

    def replace_lock(self) -> None:
        """Go on in a child process, where the thread that held the lock does not exist."""
        self._lock, self._orders, self._derived = RLock(), None, None  # that thread may have been folding

    # ---- recording

    def open(
        self,
        *,
        currency: str,
        mode: MarginMode | str,
        clock: ClockRule | str = "UTC",
        digits: int | None = None,
        time_msc: int | None = None,
        order: DealOrder | str | None = None,
    ) -> Outcome:
        """Name the account. Harmless when it is open with the same terms.

        Args:
            currency: Account currency, as ``USD``.
            mode: ``netting``, ``hedging`` or ``exchange``, or MT5's code. It can never be changed.
            clock: What the trade server's wall clock means (see ``ledger.clock``).
            digits: Decimals of the currency; by its name if not given.
            time_msc: Broker server time of the fact; now if not given.
            order: ``time`` where tickets do not rise with time, as in tester reports; else deals are ordered by ``ticket``.

        Raises:
            AccountMismatch: It is open with other terms.
            BadValue: A term is not what it has to be.
        """
        rule = to_clock(clock)
        code = to_text(currency, "a currency")
        event = AccountOpened(
            server=self.name.server,
            login=self.name.login,
            currency=code,
            currency_digits=currency_digits(code.strip()) if digits is None else digits,
            mode=mode,
            clock=rule,
            time_msc=rule.from_utc_msc(self.ledger.now_us() // 1000) if time_msc is None else time_msc,
            order=order,
        )
        return self._append_one(event)

    def record(self, event: Event, *, expected_version: int | None = None) -> Outcome:
        """Record one event. It is durable when this returns; recording it again is harmless.

        Raises:
            BadValue: It is no event, or its broker time cannot be: before 2000, or more than a day ahead of now.
            DealConflict: A known deal was given with other content. Nothing was recorded.
            InexactNumber: A number does not fit the account's scales.
            AccountUnknown: The account was not opened.
            JournalBusy: Nothing was recorded; try again.
            JournalUnavailable: The database failed. If the connection was lost while it committed, the event may be there:
                record it again, that is harmless.
        """
        return self._append_one(_event(event), expected_version)

    def record_many(
        self,
        events: Iterable[Event],
        *,
        expected_version: int | None = None,
        correlation: str | None = None,
        evidence: Sequence[bytes] = (),
    ) -> Appended:
        """Record events, all or nothing. Raises as ``record``.

        Args:
            events: Facts in the order they are to be recorded in.
            expected_version: The version that the caller's decision rests on. What was decided is recorded, also where the
                same break or correction of a position was recorded before.
            correlation: The sync run or import that the events belong to.
            evidence: The raw broker answers whose SHA-256 the events name as their evidence.
        """
        if isinstance(events, Event):
            raise BadValue(f"expected a list of events, found one {type(events).__name__}: record() records one")
        return self._journal.append(
            self.name,
            [_event(event) for event in require_type(events, Iterable, "a list of events")],  # type: ignore[type-abstract]
            expected_version=_version_or_none(expected_version),
            correlation=correlation,
            evidence=_answers(evidence),
        )

    def revise(self, deal: Deal) -> Outcome:
        """Record that the broker now shows a known deal with other content.

        Raises:
            RuleError: The deal is not known.
        """
        return self._append_one(DealRevised(now=deal, caused_by=1))  # admission names the record that it replaces

    def change_clock(self, clock: ClockRule | str, *, operator: str, reason: str) -> Outcome:
        """Correct what the server's wall clock means. Event times change with it, recorded broker times do not.

        Raises:
            AccountUnknown: The account was not opened.
        """
        version, events = self.clock_events(clock, operator=operator, reason=reason)
        if not events:
            return Outcome.DUPLICATE
        self.require_one_person(events)
        self.record_many(events, expected_version=version)
        return Outcome.APPENDED

    def clock_events(self, clock: ClockRule | str, *, operator: str, reason: str) -> tuple[int, list[Event]]:
        """Return what another clock rule would record, and the version that it rests on; nothing if it is the rule already.

        Raises:
            AccountUnknown: The account was not opened.
        """
        terms, head = self.terms, self.journal_head
        rule = to_clock(clock)
        if rule == terms.clock:
            return head.version, []
        now_msc = max(rule.from_utc_msc(self.ledger.now_us() // 1000), head.last_msc)
        settled = [one for one in self.portfolio.breaks if one.kind is BreakKind.CLOCK and one.version is not None]
        return head.version, [
            Adjusted(operator=operator, reason=reason, time_msc=now_msc, clock_before=terms.clock, clock_after=rule),
            *(
                BreakClosed(kind=BreakKind.CLOCK, end=BreakEnd.CORRECTED, time_msc=now_msc, caused_by=one.version or 1)
                for one in settled
            ),
        ]

    def change_order(self, order: DealOrder | str, *, operator: str, reason: str) -> Outcome:
        """Change what orders the deals of the account: ``ticket``, or ``time`` where tickets do not rise with time.

        Raises:
            AccountUnknown: The account was not opened.
        """
        version, events = self.order_events(order, operator=operator, reason=reason)
        if not events:
            return Outcome.DUPLICATE
        self.require_one_person(events)
        return self._append_one(events[0], version)

    def order_events(self, order: DealOrder | str, *, operator: str, reason: str) -> tuple[int, list[Event]]:
        """Return what another order of the deals would record, and the version that it rests on; nothing if it is the order.

        Raises:
            AccountUnknown: The account was not opened.
        """
        terms, head = self.terms, self.journal_head
        now_msc = max(terms.clock.from_utc_msc(self.ledger.now_us() // 1000), head.last_msc)
        event = Adjusted(
            operator=operator, reason=reason, time_msc=now_msc, order_before=terms.order, order_after=order
        )  # fmt: skip
        return head.version, [] if event.order_after is terms.order else [event]

    def require_one_person(self, events: Iterable[Event]) -> None:
        """Refuse what the policy asks two persons for, and none has decided.

        Raises:
            RuleError: It does; AccountUnknown, if the account was not opened.
        """
        alone = [one for one in events if isinstance(one, Adjusted) and one.decision is None]
        if not alone:
            return
        from ledger.approvals import ONE_PERSON
        from ledger.approvals.effect import adjustment_of, subjects_of

        subjects = sorted(subject for one in alone for subject in subjects_of(adjustment_of(one)))
        policy = self.approvals.policy if subjects and self.is_open else ONE_PERSON
        if policy.persons(subjects) > 1:
            raise RuleError(
                f"the policy of {self.name} (v{policy.version}) asks for two persons to correct {', '.join(subjects)}: propose "
                "it, and let another person approve it (ledger propose, ledger approve)"
            )

    def relax_identity(self, *, operator: str, reason: str) -> Outcome:
        """Allow answers of a gateway that state no login and server, until ``require_identity``.

        Raises:
            AccountUnknown: The account was not opened.
        """
        return self._decide_identity(IdentityRelaxed, operator, reason)

    def require_identity(self, *, operator: str, reason: str) -> Outcome:
        """Refuse answers of a gateway that state no login and server.

        Raises:
            AccountUnknown: The account was not opened.
        """
        return self._decide_identity(IdentityRequired, operator, reason)

    def _decide_identity(self, kind: type[IdentityRelaxed | IdentityRequired], operator: str, reason: str) -> Outcome:
        version, portfolio = self.current()
        if isinstance(portfolio.identity.decided, kind):
            return Outcome.DUPLICATE
        now_msc = portfolio.terms.clock.from_utc_msc(self.ledger.now_us() // 1000)
        event = kind(operator=operator, reason=reason, time_msc=max(now_msc, portfolio.newest_known_msc))
        return self._append_one(event, version)

    def _append_one(self, event: Event, expected_version: int | None = None) -> Outcome:
        expected_version = _version_or_none(expected_version)
        outcome = self._journal.append(self.name, [event], expected_version=expected_version).outcomes[0]
        assert not isinstance(outcome, DealConflict), "conflicts are refused"
        return outcome

    # ---- asking

    @property
    def is_open(self) -> bool:
        """Whether the journal holds the account."""
        return self._journal.head(self.name) is not None

    @property
    def version(self) -> int:
        """Version of the latest event, 0 without any."""
        head = self._journal.head(self.name)
        return head.version if head else 0

    @property
    def head(self) -> str:
        """Chain hash of the latest event, in hex."""
        return self.journal_head.hash.hex()

    @property
    def journal_head(self) -> Head:
        """The head of the account's stream.

        Raises:
            AccountUnknown: The account was not opened.
        """
        head = self._journal.head(self.name)
        if head is None:
            raise AccountUnknown(
                f"account {self.name} is not in this journal: open it (ledger account open {self.name} --currency C "
                "--mode M), or import an export that names it"
            )
        return head

    standing = Alias("terms")

    @property
    def terms(self) -> AccountTerms:
        """What applies to the account at every moment.

        Raises:
            AccountUnknown: The account was not opened.
        """
        with self._lock:
            head = self.journal_head
            known = self._current, self._orders
        for one in known:
            if one is not None and one[0] == head.version:
                return one[1].terms
        with self._reading():
            terms = self._journal.terms(self.name, head.version)
        if terms is None:
            raise AccountUnknown(f"account {self.name} has events but was never opened: run ledger verify")
        return terms

    @property
    def portfolio(self) -> Portfolio:
        """The portfolio after everything recorded, by whatever process. What is returned never changes.

        Raises:
            AccountUnknown: The account was not opened.
        """
        return self.current()[1]

    def _reading(self) -> AbstractContextManager[None]:
        """Read in the block: an error that a damaged row causes names it."""
        return reading(self._journal, self.name)

    def current(self) -> tuple[int, Portfolio]:
        """Return the account's version and the portfolio at it: what a decision can rest on.

        Raises:
            AccountUnknown: The account was not opened.
        """
        with self._lock, self._reading():  # read under the lock: no thread takes the portfolio back to an older head
            return self._current_at(self.journal_head)

    @property
    def folded_version(self) -> int:
        """The version that the portfolio is folded to in this process, 0 where it is not yet."""
        known = self._current
        return known[0] if known is not None else 0

    def warm_up(self, progress: Callable[[int], object] = lambda _: None) -> tuple[int, Portfolio]:
        """Return what ``current`` does, and fold a history without making others wait for the account meanwhile.

        Args:
            progress: Called with how many events more are folded.
        """
        head = self.journal_head
        selection = Selection(version=head.version)
        with self._reading():
            portfolio = replayed(
                self._journal, self.name, selection, self.terms, fold=PORTFOLIO, interval=self.ledger.checkpoint_interval,
                progress=progress,
            )[0]  # fmt: skip
        with self._lock:
            self._require_folded(head)
            if self.folded_version < head.version:
                self._current, self._replayed = (head.version, portfolio), head.version
        return self.current()

    def current_with_orders(self) -> tuple[int, Portfolio, Orders]:
        """Return the account's version, and portfolio and orders at it. See ``current`` and ``current_orders``.

        Raises:
            AccountUnknown: The account was not opened.
        """
        with self._lock, self._reading():
            head = self.journal_head
            return *self._current_at(head), self._current_orders_at(head)[1]

    def _require_folded(self, head: Head) -> None:
        """Forget what was folded if the journal does not have all of it any more.

        A standby without the newest commits may have become the server. An append is refused then (``JournalReplaced``);
        whoever only reads gets what the journal has now, never a mixture of both.
        """
        known, self._folded = self._folded, head
        if known is None or known[:2] == head[:2]:
            return
        if head.version <= known.version or self._journal.hash_at(self.name, known.version) != known.hash:
            self._current = self._orders = self._approvals = None
            self._replayed = self._orders_replayed = 0
            self._selections = {}

    def _current_at(self, head: Head) -> tuple[int, Portfolio]:
        self._require_folded(head)
        if self._current is None or self._current[0] != head.version:
            self._current = head.version, self._caught_up(head)
        return self._current

    def _caught_up(self, head: Head) -> Portfolio:
        """Fold what is new behind what was folded, or everything if something new belongs further back.

        Now and then it is replayed all the same, from the latest checkpoint, so that a program that runs for months leaves
        checkpoints for the next start.
        """
        is_due = head.version - self._replayed >= _REPLAY_EVERY * self.ledger.checkpoint_interval
        version, folded = self._current or (0, None)
        if folded is not None and head.version > version and not is_due:
            rows = self._journal.rows(self.name, after=version, upto=head.version)
            new = [row for row in rows if row.kind not in BY_VERSION_KINDS]  # these change no position and no money
            if not new or follows(new, folded):
                portfolio = folded.copy()
                portfolio.fold((posting(row) for row in new), decode_posting)
                portfolio.note_version(head.version)
                return portfolio
        self._replayed = head.version
        return self.fold(Selection(version=head.version))

    def replay(
        self,
        *,
        until: Moment = None,
        known_at: Moment = None,
        version: int | None = None,
        checkpoints: bool = True,
    ) -> Portfolio:
        """Return the portfolio at a moment.

        Args:
            until: What had happened by then, as known now: events whose event time is not later.
            known_at: What the ledger believed then: events recorded not later.
            version: Only the first so many events.
            checkpoints: Begin at the latest checkpoint that is the same as a replay so far, and leave some behind a long one.
                False folds from the start.

        Raises:
            AccountUnknown: The account was not opened.
            BadValue: A moment or version that cannot be.
        """
        selection, terms = self.selection(until=until, known_at=known_at, version=version)
        return self.replayed(selection, terms, checkpoints=checkpoints)[0]

    def selection(
        self, *, until: Moment = None, known_at: Moment = None, version: int | None = None
    ) -> tuple[Selection, AccountTerms]:
        """Return which events a replay folds, and the account terms for them. Arguments and errors as ``replay``."""
        key = (
            self.journal_head.version,
            None if until is None else _end_us(until),
            None if known_at is None else _end_us(known_at),
            _version_or_none(version),
        )
        found = self._selections.get(key)
        if found is None:  # of one moment several folds are asked for
            found = self._select(*key)
            with self._lock:
                self._selections = dict([*self._selections.items()][-_SELECTIONS_KEPT:]) | {key: found}
        return found

    def _select(
        self, last: int, until_us: int | None, known_us: int | None, version: int | None
    ) -> tuple[Selection, AccountTerms]:
        """Return what ends of moments, exclusive and in UTC microseconds, select of the first ``last`` events."""
        if version is not None:
            if version > last:
                raise BadValue(f"{self.name} has versions 1 to {last}, found {version}")
            last = version
        return select_events(
            last,
            until_us=until_us,
            known_us=known_us,
            version_at=partial(self._journal.version_at, self.name),
            terms_at=lambda version: self._journal.terms(self.name, version) or self.terms,
        )

    def trades(self, *, until: Moment = None, known_at: Moment = None, version: int | None = None) -> Iterator[Trade]:
        """Yield closed trades in the order they were closed, then those whose result is not known in full.

        Arguments and errors as ``replay``.
        """
        selection, terms = self.selection(until=until, known_at=known_at, version=version)
        portfolio = Portfolio(terms)
        closed: list[OpenPosition] = []
        with self._reading():
            for row in self._journal.postings(self.name, selection, terms):
                portfolio.fold((row,), decode_posting, closed.append)
                yield from map(portfolio.trade, closed)
                closed.clear()
            yield from portfolio.unfinished_trades()

    def explain_balance(
        self, *, until: Moment = None, known_at: Moment = None, version: int | None = None, every: bool = False
    ) -> Explanation:
        """Return the events that make balance and credit (``ledger.explain``). Arguments and errors as ``replay``.

        ``every`` lists each event, however many there are.
        """
        from ledger.explain import explain_balance

        return explain_balance(self, until=until, known_at=known_at, version=version, every=every)

    def explain_position(
        self,
        position_id: int,
        *,
        until: Moment = None,
        known_at: Moment = None,
        version: int | None = None,
        every: bool = False,
    ) -> Explanation:
        """Return the events that make the open volume and the money of a position. As ``explain_balance``.

        Raises:
            BadValue: No event is about it.
        """
        from ledger.explain import explain_position

        return explain_position(self, position_id, until=until, known_at=known_at, version=version, every=every)

    def explain_trade(
        self,
        position_id: int,
        *,
        until: Moment = None,
        known_at: Moment = None,
        version: int | None = None,
        every: bool = False,
    ) -> tuple[Explanation, ...]:
        """Return the events that make the result of each trade with a position id. As ``explain_position``.

        Raises:
            BadValue: No trade with it has ended.
        """
        from ledger.explain import explain_trade

        return explain_trade(self, position_id, until=until, known_at=known_at, version=version, every=every)

    def report(
        self,
        *,
        by: str = "month",
        day: str = "server",
        since: Moment = None,
        until: Moment = None,
        known_at: Moment = None,
        symbols: Iterable[str] = (),
        magics: Iterable[int] = (),
        with_curve: bool = False,
    ) -> AccountReport:
        """Return what the account earned.

        Args:
            by: What its lines are: ``day``, ``week``, ``month``, ``weekday``, ``symbol``, ``magic`` or ``side``.
            day: Whose midnight begins a day: that of the ``server``, of ``utc`` or of a zone.
            since: Deals and closed trades from then on.
            until: Deals and closed trades up to then, its whole unit included.
            known_at: What the ledger believed then: events recorded not later.
            symbols: Only these, as the broker writes them; all without any.
            magics: Only these magic numbers; all without any.
            with_curve: Also the balance curve, as a chart shows it.

        Raises:
            AccountUnknown: The account was not opened.
            BadValue: An argument that cannot be.
        """
        from ledger.reports import account_report, make_question

        question = make_question(by=by, day=day, since=since, until=until, known_at=known_at, symbols=symbols, magics=magics)
        return account_report(self, question, with_curve=with_curve)

    def journal_postings(self, selection: Selection, terms: AccountTerms | None = None) -> Iterable[Row]:
        """Return what a replay of a selection folds, in the fold order, each deal once (``ledger.postings``)."""
        return self._journal.postings(self.name, selection, terms or self.terms)

    def fold(self, selection: Selection, terms: AccountTerms | None = None) -> Portfolio:
        """Return the portfolio that a selection of events makes, with the present account terms if none are given."""
        return self.replayed(selection, terms)[0]

    def replayed(
        self,
        selection: Selection,
        terms: AccountTerms | None = None,
        *,
        checkpoints: bool = True,
        progress: Callable[[int], object] = lambda _: None,
    ) -> tuple[Portfolio, int]:
        """Return the portfolio that a selection of events makes, and how many events it holds. Arguments as ``replay``.

        ``progress`` is called with how many events more are folded.
        """
        interval = self.ledger.checkpoint_interval if checkpoints else None
        with self._reading():
            return replayed(
                self._journal, self.name, selection, terms or self.terms, fold=PORTFOLIO, interval=interval, progress=progress
            )

    def orders(
        self, *, until: Moment = None, known_at: Moment = None, version: int | None = None, checkpoints: bool = True
    ) -> tuple[Order, ...]:
        """Return the orders at a moment, in the order in which they came up. Arguments and errors as ``replay``.

        What nobody answered by the end of its validity is unknown from then on.
        """
        selection, terms = self.selection(until=until, known_at=known_at, version=version)
        folded = self.replayed_orders(selection, terms, checkpoints=checkpoints)
        return folded.orders(at_utc_msc=self._moment_us(until=until, known_at=known_at, version=version) // 1000)

    def replayed_orders(self, selection: Selection, terms: AccountTerms | None = None, *, checkpoints: bool = True) -> Orders:
        """Return what the events about orders in a selection come to. Arguments as ``replayed``."""
        from ledger.folds import ORDERS

        interval = self.ledger.checkpoint_interval if checkpoints else None
        with self._reading():
            return replayed(self._journal, self.name, selection, terms or self.terms, fold=ORDERS, interval=interval)[0]

    @property
    def approvals(self) -> Approvals:
        """The policy of the account, what is proposed and what was decided, and the notes about breaks: at this moment.

        Raises:
            AccountUnknown: The account was not opened.
        """
        with self._lock:
            return self._approvals_at(self.journal_head)

    def current_with_approvals(self) -> tuple[int, Portfolio, Approvals]:
        """Return the account's version, and portfolio and approvals at it: what a decision of a person can rest on.

        Raises:
            AccountUnknown: The account was not opened.
        """
        with self._lock:
            head = self.journal_head
            return *self._current_at(head), self._approvals_at(head)

    def _approvals_at(self, head: Head) -> Approvals:
        from ledger.approvals import ApprovalsFold

        self._require_folded(head)
        known, self._approvals = self._approvals, None
        version, fold = known if known is not None and known[0] <= head.version else (0, ApprovalsFold())
        if version != head.version:
            self._fold_approvals(fold, Selection(version=head.version), after=version)
        self._approvals = head.version, fold
        return fold.at(max(self.ledger.now_us(), head.recorded_us) // 1000, head.version)

    def _fold_approvals(self, fold: ApprovalsFold, selection: Selection, *, after: int = 0) -> None:
        """Fold what is behind a version. The ends of breaks are read apart, of those alone that proposals are the answer to."""
        until_msc = INT64_MAX if selection.time_msc is None else selection.time_msc
        rows = self._journal.approval_rows(self.name, after=after, upto=selection.version)
        for row in rows:
            if row.time_msc <= until_msc:
                fold.apply(decode(row, None), row.version)
        for row in self._journal.break_ends(self.name, fold.break_versions, selection.version):
            if row.time_msc <= until_msc:
                fold.apply(decode(row, None), row.version)

    def approvals_at(self, *, until: Moment = None, known_at: Moment = None, version: int | None = None) -> Approvals:
        """Return policy, proposals and notes as they were at a moment. Arguments and errors as ``replay``."""
        from ledger.approvals import ApprovalsFold

        selection, _ = self.selection(until=until, known_at=known_at, version=version)
        fold = ApprovalsFold()
        self._fold_approvals(fold, selection)
        return fold.at(self._moment_us(until=until, known_at=known_at, version=version) // 1000, selection.version)

    def _moment_us(self, *, until: Moment, known_at: Moment, version: int | None) -> int:
        """Return when it is at a moment that was asked about: what waits for something lapses with it."""
        moments = [_end_us(one) for one in (until, known_at) if one is not None]
        if moments:
            return moments[0]
        if version is None:
            return self.ledger.now_us()
        rows = self._journal.rows(self.name, after=max(version, 1) - 1, upto=version)
        return max((row.recorded_us for row in rows), default=0)

    def marks(self, *, from_us: int | None = None, to_us: int | None = None) -> Iterator[AccountMark]:
        """Yield what the account was worth, sample by sample, from one moment to another inclusive, UTC microseconds."""
        return self._journal.marks(self.name, from_us=from_us, to_us=to_us)

    def newest_mark(self, *, at_us: int | None = None) -> AccountMark | None:
        """Return what the account was worth at a moment, UTC microseconds: its newest mark by then, None without one."""
        return self._journal.newest_mark(self.name, at_us=at_us)

    def current_orders(self) -> tuple[int, Orders]:
        """Return the account's version and the orders at it: what a decision about orders can rest on.

        What was recorded since the last call is folded on, so that it costs the same however long the journal is. The same
        object is returned every time, and goes on with the next call: whatever rests on it is recorded with the version as
        ``expected_version``, which is refused if anything came between.

        Raises:
            AccountUnknown: The account was not opened.
        """
        with self._lock, self._reading():
            return self._current_orders_at(self.journal_head)

    def ask_orders(self, ask: Callable[[int, Orders], _T]) -> _T:
        """Return what a function makes of the account's version and the orders at it, while nobody folds on.

        Raises:
            AccountUnknown: The account was not opened.
        """
        with self._lock:
            with self._reading():
                found = self._current_orders_at(self.journal_head)
            return ask(*found)

    def _current_orders_at(self, head: Head) -> tuple[int, Orders]:
        self._require_folded(head)
        known, self._orders = self._orders, None  # what is folded half way, as a row cannot be read, is not used again
        self._orders = head.version, self._orders_at(head.version, known)
        return self._orders

    def _orders_at(self, version: int, known: tuple[int, Orders] | None) -> Orders:
        before, orders = known or (0, None)
        if orders is not None and before == version:
            return orders
        is_due = version - self._orders_replayed >= _REPLAY_EVERY * self.ledger.checkpoint_interval
        if orders is not None and before < version and not is_due:
            new = list(self._journal.rows(self.name, after=before, upto=version))
            if orders.held or not any(row.kind in ORDER_KINDS for row in new):  # else the deals before it are read now
                if any(row.kind in TERMS_KINDS for row in new):
                    orders.change_terms(self.terms)
                orders.fold((posting(row) for row in new if orders.held and is_for_orders(row)), decode_posting)
                orders.note_version(version)
                return orders
        self._orders_replayed = version
        orders = self.replayed_orders(Selection(version=version))
        orders.share(RLock())
        return orders

    @property
    def derived(self) -> Derived:
        """The tables that a follower makes of the account's events, for fast answers (``ledger.derived``)."""
        from ledger.derived import Derived

        with self._lock:
            self._derived = self._derived or Derived(self)
            return self._derived

    def simulate(self, events: Sequence[Event], version: int) -> Portfolio:
        """Return the portfolio that events would make, recorded behind a version. Nothing is recorded.

        Args:
            events: What would be recorded, none of it about a deal.
            version: The version that they rest on.
        """
        from ledger.journal.admission import simulated_places, simulated_rows

        terms = self._journal.terms(self.name, version) or self.terms
        known, portfolio = self.current()
        # What comes behind all that was folded comes behind every earlier assertion too: none has to be looked up.
        if known == version and (places := simulated_places(events, version)) and portfolio.is_followed_by(places):
            return portfolio.followed_by(events, version)
        rows = simulated_rows(events, terms, version, lambda one: self._journal.latest_asserted(self.name, one))
        if not rows:
            return self.fold(Selection(version=version), terms)
        return simulated(self._journal, self.name, Selection(version=version), terms, rows, fold=PORTFOLIO)

    def hour_readings(self, hour: tuple[int, int], version: int, terms: AccountTerms | None = None) -> dict[int, HourReading]:
        """Return deal ticket -> when it happened, of the deals in an hour of broker time that the clock showed twice."""
        return repeated_hour(self._journal, self.name, version, terms or self.terms, hour)

    def events(self, *, after: int = 0, upto: int | None = None) -> Iterator[Recorded]:
        """Yield the account's events, oldest first, after one version up to another inclusive."""
        after, upto = to_whole(after, 0, INT64_MAX, "a version"), _version_or_none(upto)
        return self.read_rows(self._journal.rows(self.name, after=after, upto=upto))

    def read_rows(self, rows: Iterable[Stored]) -> Iterator[Recorded]:
        """Yield the events of some rows of the account, in their order, each with the moment that it happened at."""
        version = self.version
        terms: AccountTerms | None = self._journal.terms(self.name, version)
        hours: dict[tuple[int, int], dict[int, HourReading]] = {}
        for row in rows:
            event = recorded(self.name, row, terms)
            hour = terms.clock.repeated_hour(row.time_msc) if terms else None
            if terms is None or hour is None:
                yield event
                continue
            if hour not in hours:
                hours[hour] = repeated_hour(self._journal, self.name, version, terms, hour)
            yield _read(event, hours[hour], terms.clock)

    def follow(self, *, after: int = 0, poll_seconds: float = 1.0, stop: StopSign | None = None) -> Iterator[Recorded]:
        """Yield the account's events behind a version, and go on as others append. See ``Ledger.follow``."""
        cursors = {self.name: to_whole(after, 0, INT64_MAX, "a version")}
        return following(self._journal, cursors, self.name, to_amount(poll_seconds, 0, "poll_seconds"), stop)

    def follow_async(self, *, after: int = 0, poll_seconds: float = 1.0) -> AsyncGenerator[Recorded, None]:
        """Yield the account's events behind a version, for ``async for``. See ``Ledger.follow_async``."""
        cursors = {self.name: to_whole(after, 0, INT64_MAX, "a version")}
        return following_async(self._journal, cursors, self.name, to_amount(poll_seconds, 0, "poll_seconds"))

    def incidents(self, *, since: Moment = None, until: Moment = None, version: int | None = None) -> Iterator[Incident]:
        """Yield the account's incidents that overlap a period, in the order in which they ended; the open ones last.

        Args:
            since: From this moment on; the whole history without. As text or date its first moment counts.
            until: Up to this moment, its whole unit included.
            version: Only what the first so many events hold.

        Raises:
            AccountUnknown: The account was not opened.
            BadValue: A moment that cannot be, or a period that ends before it begins.
            CorruptEvent: An event cannot be read.
        """
        from ledger.incidents import Period, incidents_of  # few programs ask for them

        period = Period(
            since_us=None if since is None else moment_begin_us(since), until_us=None if until is None else _end_us(until)
        )
        return incidents_of(self._journal, self.name, self.terms, period, upto=_version_or_none(version))

    def equity(self, *, by: Literal["mark", "minute", "day"] = "day", since: Moment = None, until: Moment = None) -> Equity:
        """Return what the account was worth over time, sample by sample, by minute or by server day. See ``ledger.equity``."""
        from ledger.equity import equity

        return equity(self, by=by, since=since, until=until)

    def trades_frame(self, **options: Unpack[FrameOptions]) -> Any:
        """Return the closed trades as a frame of pandas, polars or pyarrow. Options and errors as ``ledger.frames.frame``."""
        return self._frame("trades", options)

    def deals_frame(self, **options: Unpack[FrameOptions]) -> Any:
        """Return the deals as a frame, each once with all that is known of it. See ``trades_frame``."""
        return self._frame("deals", options)

    def positions_frame(self, **options: Unpack[FrameOptions]) -> Any:
        """Return the open positions, at the moment of ``until`` and ``known_at``, as a frame. See ``trades_frame``."""
        return self._frame("positions", options)

    def events_frame(self, **options: Unpack[FrameOptions]) -> Any:
        """Return the events as a frame, as they are recorded. See ``trades_frame``."""
        return self._frame("events", options)

    def equity_frame(self, **options: Unpack[FrameOptions]) -> Any:
        """Return what the account was worth, sample by sample, as a frame. See ``trades_frame``."""
        return self._frame("equity", options)

    def _frame(self, name: str, options: FrameOptions) -> Any:
        from ledger.frames import frame

        return frame(name, [self], **options)

    def evidence(self, digest: str) -> bytes:
        """Return the raw broker answer that events of the account name by its SHA-256 (hex), as it came in.

        Raises:
            BadValue: No such answer is stored for the account.
            CorruptEvent: What is stored is not what was recorded.
        """
        raw = self._journal.evidence(self.name, to_text(digest, "the SHA-256 of an answer in hex").lower())
        if raw is None:
            raise BadValue(f"{self.name} has no evidence {digest!r}: ledger log --json lists the evidence of its events")
        return raw

    def verify(self) -> AccountVerification:
        """Recompute everything of this account."""
        from ledger.journal.verify.walk import verify_account

        return verify_account(self._journal, self.name)


def _read(one: Recorded, hour: Mapping[int, HourReading], clock: ClockRule) -> Recorded:
    """Return an event of an hour that the server's clock showed twice with the moment that it happened at."""
    reading = hour.get(getattr(one.event, "deal", None) or 0)
    if reading is None:  # no deal: then it was concluded when it was recorded
        return evolve(one, utc_msc=clock.nearest_utc_msc(one.event.time_msc, one.recorded_us // 1000))
    return evolve(one, utc_msc=reading.utc_msc, is_ambiguous=reading.is_ambiguous)


def follows(rows: Sequence[Stored], portfolio: Portfolio) -> bool:
    """Return whether events can be folded on behind a portfolio one by one, without sorting anything again.

    A revision may have moved a deal behind all that arrived in order: then what is new goes before it.
    """
    if not rows or any(row.placement in (OUT_OF_ORDER, OUTSIDE_FOLD) or row.kind in TERMS_KINDS for row in rows):
        return False
    return portfolio.is_followed_by([stored_place(row) for row in rows])


_EVENTS: Final = frozenset(get_args(Event))


def _event(value: object) -> Event:
    if type(value) in _EVENTS or isinstance(value, Event):
        return value  # type: ignore[return-value]
    hint = ": make an event of its fields first, as FillRecorded(**fields)" if isinstance(value, Mapping) else ""
    raise BadValue(f"expected an event such as FillRecorded(...), found {shown(value)} ({type(value).__name__}){hint}")


def _cursors(after: Mapping[AccountId, int] | None) -> dict[AccountId, int]:
    require_type({} if after is None else after, Mapping, "a mapping of account to version")  # type: ignore[type-abstract]
    return {
        require_type(account, AccountId, "an AccountId as key"): to_whole(version, 0, INT64_MAX, "a version")
        for account, version in (after or {}).items()
    }


def _version_or_none(value: object) -> int | None:
    return to_whole_or_none(value, 0, INT64_MAX, "a version")


def _answers(evidence: object) -> list[bytes]:
    if isinstance(evidence, (bytes, str)) or not isinstance(evidence, Iterable):
        raise BadValue(f"expected evidence as a list of raw answers (bytes), found {shown(evidence)}")
    return [require_type(raw, bytes, "a raw answer as bytes") for raw in evidence]


# ----------------------------------------------------------------------------------------------------------- following


class StopSign(Protocol):
    """What ends a follower: a ``threading.Event`` is one."""

    def is_set(self) -> bool:
        """Return whether to stop."""
        ...


def following(
    journal: EventStore, cursors: dict[AccountId, int], only: AccountId | None, poll_seconds: float, stop: StopSign | None
) -> Iterator[Recorded]:
    """Yield events behind a cursor for each account, for ever."""
    for batch in _batches(journal, cursors, only, poll_seconds, stop):
        yield from batch


async def following_async(
    journal: EventStore, cursors: dict[AccountId, int], only: AccountId | None, poll_seconds: float
) -> AsyncGenerator[Recorded, None]:
    """Yield events as ``following`` does, without blocking the event loop. What it uses ends with it, however it ends."""
    import asyncio
    from concurrent.futures import ThreadPoolExecutor

    loop, stop = asyncio.get_running_loop(), threading.Event()
    batches = _batches(journal, cursors, only, poll_seconds, stop)
    # One thread all along: a connection of SQLite is used where it was made.
    with ThreadPoolExecutor(1, thread_name_prefix="ledger-follow") as beside:
        try:
            while (batch := await loop.run_in_executor(beside, next, batches, None)) is not None:
                for event in batch:
                    yield event
        finally:
            stop.set()  # it looks at it every so often, so that closing waits no longer than that
            await asyncio.shield(loop.run_in_executor(beside, batches.close))


def _batches(
    journal: EventStore, cursors: dict[AccountId, int], only: AccountId | None, poll_seconds: float, stop: StopSign | None
) -> Generator[list[Recorded], None, None]:
    """Yield events behind a cursor for each account, some at a time, for ever. A cursor moves on with what was given out."""
    is_away = False
    hashes: dict[AccountId, bytes] = {}  # of the last event that was given out
    with HeadWatch(journal, only, poll_seconds, stop) as heads:
        while stop is None or not stop.is_set():
            try:
                for account, head in heads.look().items():
                    for batch in _news(journal, account, cursors.get(account, 0), head.version, hashes):
                        cursors[account] = batch[-1].version
                        yield batch
                is_away = False
            except JournalError as error:
                if not error.retryable:
                    raise
                heads.look_at_all()
                if not is_away:
                    _logger.warning("the journal does not answer, and is waited for: %s", visible(str(error)))
                is_away = True
            heads.wait()


class HeadWatch:
    """Which heads a follower has to look at: those of the accounts that it was woken for, and all of them now and then.

    To read all heads costs a tenth of a second for 10,000 accounts. So where the journal names who was appended to, all are
    read only every ``SWEEP_SECONDS``, in case a notification was lost.

    Args:
        journal: Whose.
        only: One account; all without it.
        poll_seconds: How often to look where it is not known whether anything was appended.
        stop: Ends a wait when set.
    """

    def __init__(self, journal: EventStore, only: AccountId | None, poll_seconds: float, stop: StopSign | None) -> None:
        self._journal = journal
        self._only = only
        self._poll_seconds = poll_seconds
        self._stop = stop
        self._listener = journal.listen()
        self._wanted: frozenset[AccountId] | None = None
        self._swept_at = -math.inf

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()

    def look(self) -> Mapping[AccountId, Head]:
        """Return account -> head, of those that may have moved on since the last look."""
        wanted = self._wanted
        if wanted is None:
            self._swept_at = time.monotonic()
        if wanted is None and self._only is None:
            return self._journal.heads()
        names = [self._only] if self._only is not None else sorted(wanted or ())
        found = {name: self._journal.head(name) for name in names if wanted is None or name in wanted}
        return {name: head for name, head in found.items() if head is not None}

    def look_at_all(self) -> None:
        """Look at all heads the next time, as not all that was found could be read."""
        self._swept_at = -math.inf

    def wait(self) -> None:
        """Wait for an append, and look meanwhile whether to stop."""
        give_up = time.monotonic() + self._poll_seconds
        woken: frozenset[AccountId] | None = frozenset()
        while (self._stop is None or not self._stop.is_set()) and not woken and woken is not None:
            left = give_up - time.monotonic()
            if left <= 0:
                break
            woken = self._listener.wait(min(left, _STOP_SECONDS) if self._stop is not None else left)
        is_due = time.monotonic() - self._swept_at >= max(SWEEP_SECONDS, self._poll_seconds)
        self._wanted = None if is_due else woken


def _news(
    journal: EventStore, account: AccountId, seen: int, upto: int, hashes: dict[AccountId, bytes]
) -> Iterator[list[Recorded]]:
    """Yield the events behind a version, some at a time, so that nothing is held open while the reader takes its time.

    They have to follow what was given out before, whose hash is known by account.
    """
    if seen > upto:
        raise CorruptEvent(
            f"account {account} is at version {upto}, and {seen} was read already: an older copy replaced the "
            "journal. Run: ledger verify --since SEAL"
        )
    terms = journal.terms(account, upto) if seen < upto else None
    while seen < upto:
        rows = list(journal.rows(account, after=seen, upto=min(upto, seen + _AT_ONCE)))
        if [row.version for row in rows] != list(range(seen + 1, min(upto, seen + _AT_ONCE) + 1)):
            raise VersionGap(f"account {account}: versions behind {seen} are missing. Run: ledger verify")
        if hashes.get(account, rows[0].prev_hash) != rows[0].prev_hash:
            raise CorruptEvent(
                f"account {account}: version {seen} is not the event that was read: another copy replaced the journal, or a "
                "standby without its newest events the server. Run: ledger verify --since SEAL"
            )
        hashes[account] = rows[-1].hash
        yield [recorded(account, row, terms) for row in rows]
        seen = rows[-1].version
