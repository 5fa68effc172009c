"""The objects that a trading engine holds: a ledger, and the accounts in it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime
from functools import partial
from threading import RLock
from typing import Final, NoReturn, Protocol, Self

from attrs import frozen

from ledger.clock import ClockRule, moment_end_us
from ledger.codec import STANDING_KINDS, decode_posting, posting, recorded
from ledger.errors import AccountUnknown, BadValue, CorruptEvent, DealConflict, JournalError, VersionGap
from ledger.events import (
    AccountOpened,
    Adjusted,
    BreakClosed,
    BreakEnd,
    BreakKind,
    Deal,
    DealRevised,
    Event,
    Recorded,
)
from ledger.journal import Appended, Difference, Head, Journal, Outcome, Selection
from ledger.journal.checkpoints import INTERVAL, replayed
from ledger.journal.forking import prepare_for_forks
from ledger.journal.memory import MemoryJournal
from ledger.journal.verification import Problem, Verified, verify_account, verify_across
from ledger.portfolio import Portfolio, Standing, Trade
from ledger.positions import OpenPosition
from ledger.postings import IN_ORDER
from ledger.seals import Seal
from ledger.seals import problems as seal_problems
from ledger.values import AccountId, MarginMode, currency_digits

#: A moment: text as on the command line, a datetime (without a zone: UTC), a date (the whole day), or None for now.
Moment = str | datetime | date | None

_MICROSECOND: Final = 1_000_000
_AT_ONCE: Final = 500
_REPLAY_EVERY: Final = 2  # intervals between checkpoints


def utc_now_us() -> int:
    """Return the present in UTC microseconds."""
    return time.time_ns() // 1000


def _end_us(moment: str | date) -> int:
    """Return the first UTC microsecond after what a moment names."""
    if isinstance(moment, str):
        return moment_end_us(moment)
    if not isinstance(moment, datetime):
        return moment_end_us(moment.isoformat())
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return round(aware.timestamp() * _MICROSECOND) + 1


@frozen(kw_only=True)
class Verification:
    """What ``verify`` found. It is ok when nothing that is recorded is wrong; a journal without events is ok.

    ``schema``: what keeps events as they are, or makes reading quick, and is not as it was made.
    """

    accounts: tuple[Verified, ...]
    problems: tuple[Problem, ...]
    schema: tuple[Difference, ...] = ()

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
    def open(cls, url: str, *, create: bool = False, now_us: Callable[[], int] = utc_now_us) -> Ledger:
        """Open a journal that is there.

        Args:
            url: ``sqlite:///FILE``, ``postgresql+psycopg://HOST/DB``, a path, or ``memory://`` for trying things out.
            create: Make the journal where there is none, and migrate an older one (``Ledger.create``).
            now_us: Returns the present in UTC microseconds.

        Raises:
            BadValue: The URL is not one of a journal.
            JournalMissing: There is no journal.
            JournalNewer: The journal was written by a newer program.
            JournalError: The journal has an older schema: migrate it with ``ledger init`` or ``Ledger.create``.
            JournalUnsafe: The database does not promise durability.
            JournalUnavailable: The database does not answer.
        """
        if url == "memory://":
            return cls(MemoryJournal(now_us), now_us)
        # SQLAlchemy and Alembic are slow to load and not needed before a journal is opened.
        from ledger.journal.connect import check_revision, close_engine, open_engine
        from ledger.journal.sql import SqlJournal

        if create:
            from ledger.journal.migrate import create_journal

            create_journal(url)
        engine = open_engine(url)
        try:
            check_revision(engine)
        except BaseException:
            close_engine(engine)
            raise
        return cls(SqlJournal(engine, now_us), now_us)

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
        else:
            name = AccountId.parse(server) if login is None else AccountId(server, login)
        with self._lock:
            return self._accounts.setdefault(name, Account(self, name))

    def accounts(self) -> list[Account]:
        """Return the accounts that have events, ordered by server and login."""
        return [self.account(name) for name in self.journal.accounts()]

    def follow(
        self, *, after: Mapping[AccountId, int] | None = None, poll_seconds: float = 1.0, stop: StopSign | None = None
    ) -> Iterator[Recorded]:
        """Yield every event of every account, each once and in the order of its account, and go on as others append.

        It never ends by itself. A database that does not answer for a while is waited for.

        Args:
            after: account -> version that the reader has seen already; from the start for all others.
            poll_seconds: How often to look where nothing woke us: notifications and change counters only make it quicker.
            stop: Ends it when set, as a ``threading.Event`` is; looked at as often.

        Raises:
            CorruptEvent: An account stands further back than what was read of it: an older copy took the journal's place.
            VersionGap: A version is missing.
        """
        return following(self.journal, dict(after or {}), None, poll_seconds, stop)

    def verify(
        self,
        progress: Callable[[int], object] = lambda _: None,
        *,
        since: Seal | None = None,
        in_parallel: bool = False,
    ) -> Verification:
        """Recompute everything of every account, and hold it up to a seal if there is one.

        Args:
            progress: Called with the number of events checked since the last call.
            since: What was sealed must be there, unchanged.
            in_parallel: Use a second processor: long accounts are checked by two processes, and what lies across accounts
                is looked at meanwhile. The result is the same.
        """
        names = self.journal.accounts()
        if not in_parallel:
            accounts = tuple(verify_account(self.journal, name, progress) for name in names)
            across = list(verify_across(self.journal))
        else:
            from concurrent.futures import ThreadPoolExecutor

            from ledger.journal.helping import helper

            with ThreadPoolExecutor(1) as beside:  # the database does nearly all of it, which leaves Python to us
                looked = beside.submit(lambda: list(verify_across(self.journal)))
                accounts = tuple(verify_account(self.journal, name, progress, partial(helper, self.journal)) for name in names)
                across = looked.result()
        problems = tuple(problem for verified in accounts for problem in verified.problems) + tuple(across)
        if since is not None:
            damaged = frozenset(problem.account for problem in problems)
            problems += tuple(seal_problems(self.journal, since, damaged))
        return Verification(accounts=accounts, problems=problems, schema=self._schema_differences())

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
        self._replayed = 0  # version of the last replay, which leaves checkpoints

    def __repr__(self) -> str:
        return f"<Account {self.name}>"

    def replace_lock(self) -> None:
        """Go on in a child process, where the thread that held the lock does not exist."""
        self._lock = RLock()

    # ---- telling

    def open(
        self,
        *,
        currency: str,
        mode: MarginMode | str,
        clock: ClockRule | str = "UTC",
        digits: int | None = None,
        time_msc: int | None = None,
    ) -> Outcome:
        """Name the account. Harmless when it is open with the same terms.

        Args:
            currency: Account currency, as ``USD``.
            mode: netting, hedging or exchange. It can never be changed.
            clock: What the trade server's wall clock means (see ``ledger.clock``).
            digits: Decimals of the currency; by its name if not given.
            time_msc: Broker server time of the fact; now if not given.

        Raises:
            AccountMismatch: It is open with other terms.
        """
        rule = clock if isinstance(clock, ClockRule) else ClockRule(clock)
        event = AccountOpened(
            server=self.name.server,
            login=self.name.login,
            currency=currency,
            currency_digits=currency_digits(currency) if digits is None else digits,
            mode=mode,
            clock=rule,
            time_msc=rule.from_utc_msc(self.ledger.now_us() // 1000) if time_msc is None else time_msc,
        )
        return self._append_one(event)

    def record(self, event: Event, *, expected_version: int | None = None) -> Outcome:
        """Record one event. It is durable when this returns; telling it again is harmless.

        Raises:
            DealConflict: A known deal was told with other content. Nothing was recorded.
            InexactNumber: A number does not fit the account's scales.
            AccountUnknown: The account was not opened.
            JournalBusy: Nothing was recorded; try again.
            JournalUnavailable: The database failed. If the connection was lost while it committed, the event may be there:
                tell it again, that is harmless.
        """
        return self._append_one(event, expected_version)

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
            expected_version: The version that the caller's decision rests on.
            correlation: The sync run or import that the events belong to.
            evidence: The raw broker answers whose SHA-256 the events name as their evidence.
        """
        return self._journal.append(
            self.name, list(events), expected_version=expected_version, correlation=correlation, evidence=evidence
        )

    def revise(self, deal: Deal) -> Outcome:
        """Record that the broker now shows a known deal with other content.

        Raises:
            RuleError: The deal is not known.
        """
        return self._append_one(DealRevised(now=deal, caused_by=1))  # admission names the telling that it replaces

    def change_clock(self, clock: ClockRule | str, *, operator: str, reason: str) -> Outcome:
        """Correct what the server's wall clock means. Event times change with it, recorded broker times do not.

        Raises:
            AccountUnknown: The account was not opened.
        """
        standing, head = self.standing, self.journal_head
        rule = clock if isinstance(clock, ClockRule) else ClockRule(clock)
        if rule == standing.clock:
            return Outcome.DUPLICATE
        now_msc = max(rule.from_utc_msc(self.ledger.now_us() // 1000), head.last_msc)
        settled = [one for one in self.portfolio.breaks if one.kind is BreakKind.CLOCK and one.version is not None]
        self.record_many(
            [
                Adjusted(operator=operator, reason=reason, time_msc=now_msc, clock_before=standing.clock, clock_after=rule),
                *(
                    BreakClosed(kind=BreakKind.CLOCK, end=BreakEnd.CORRECTED, time_msc=now_msc, caused_by=one.version or 1)
                    for one in settled
                ),
            ],
            expected_version=head.version,
        )
        return Outcome.APPENDED

    def _append_one(self, event: Event, expected_version: int | None = None) -> Outcome:
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
        """Where the account's stream stands.

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

    @property
    def standing(self) -> Standing:
        """What holds for the account whatever moment is asked about.

        Raises:
            AccountUnknown: The account was not opened.
        """
        standing = self._journal.standing(self.name, self.journal_head.version)
        if standing is None:
            raise AccountUnknown(f"account {self.name} has events but was never opened: run ledger verify")
        return standing

    @property
    def portfolio(self) -> Portfolio:
        """The portfolio after everything recorded, by whatever process. What is returned never changes.

        Raises:
            AccountUnknown: The account was not opened.
        """
        return self.current()[1]

    def current(self) -> tuple[int, Portfolio]:
        """Return the account's version and the portfolio at it: what a decision can rest on.

        Raises:
            AccountUnknown: The account was not opened.
        """
        with self._lock:  # read under the lock, so that no thread takes the portfolio back to an older head
            head = self.journal_head
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
            new = list(self._journal.rows(self.name, after=version, upto=head.version))
            # A revision may have moved a deal behind all that arrived in order: then what is new goes before it.
            is_next = posting(new[0])[:3] > folded.last
            if is_next and all(row.placement == IN_ORDER and row.kind not in STANDING_KINDS for row in new):
                portfolio = folded.copy()
                portfolio.fold((posting(row) for row in new), decode_posting)
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
        selection, standing = self.selection(until=until, known_at=known_at, version=version)
        return self.replayed(selection, standing, checkpoints=checkpoints)[0]

    def selection(
        self, *, until: Moment = None, known_at: Moment = None, version: int | None = None
    ) -> tuple[Selection, Standing]:
        """Return which events a replay folds, and what stands for them. Arguments and errors as ``replay``."""
        last = self.journal_head.version
        if version is not None:
            if not 0 <= version <= last:
                raise BadValue(f"{self.name} has versions 1 to {last}, found {version}")
            last = version
        if known_at is not None:
            last = min(last, self._journal.version_at(self.name, _end_us(known_at)))
        # Currency, mode and scales hold for any moment; which clock rule was believed depends on what was known.
        standing = self._journal.standing(self.name, last) or self.standing
        if until is None:
            return Selection(version=last), standing
        return Selection(version=last, time_msc=standing.clock.from_utc_msc((_end_us(until) - 1) // 1000)), standing

    def trades(self, *, until: Moment = None, known_at: Moment = None, version: int | None = None) -> Iterator[Trade]:
        """Yield closed trades in the order they were closed, then those whose result is not told in full.

        Arguments and errors as ``replay``.
        """
        selection, standing = self.selection(until=until, known_at=known_at, version=version)
        portfolio = Portfolio(standing)
        closed: list[OpenPosition] = []
        for row in self._journal.postings(self.name, selection):
            portfolio.fold((row,), decode_posting, closed.append)
            yield from map(portfolio.trade, closed)
            closed.clear()
        yield from portfolio.unfinished_trades()

    def fold(self, selection: Selection, standing: Standing | None = None) -> Portfolio:
        """Return the portfolio that a selection of events makes, with what stands now if nothing else is given."""
        return self.replayed(selection, standing)[0]

    def replayed(
        self, selection: Selection, standing: Standing | None = None, *, checkpoints: bool = True
    ) -> tuple[Portfolio, int]:
        """Return the portfolio that a selection of events makes, and how many events it holds. Arguments as ``replay``."""
        interval = self.ledger.checkpoint_interval if checkpoints else None
        return replayed(self._journal, self.name, selection, standing or self.standing, interval=interval)

    def events(self, *, after: int = 0, upto: int | None = None) -> Iterator[Recorded]:
        """Yield the account's events, oldest first, after one version up to another inclusive."""
        standing: Standing | None = self._journal.standing(self.name, self.version)
        for row in self._journal.rows(self.name, after=after, upto=upto):
            yield recorded(self.name, row, standing)

    def follow(self, *, after: int = 0, poll_seconds: float = 1.0, stop: StopSign | None = None) -> Iterator[Recorded]:
        """Yield the account's events behind a version, and go on as others append. See ``Ledger.follow``."""
        return following(self._journal, {self.name: after}, self.name, poll_seconds, stop)

    def evidence(self, digest: str) -> bytes:
        """Return the raw broker answer that events of the account name by its SHA-256 (hex), as it came in.

        Raises:
            BadValue: No such answer is kept for the account.
            CorruptEvent: What is kept is not what was recorded.
        """
        raw = self._journal.evidence(self.name, digest.lower())
        if raw is None:
            raise BadValue(f"{self.name} keeps no evidence {digest!r}: ledger log --json tells what its events rest on")
        return raw

    def verify(self) -> Verified:
        """Recompute everything of this account."""
        return verify_account(self._journal, self.name)


# ----------------------------------------------------------------------------------------------------------- following


class StopSign(Protocol):
    """What ends a follower: a ``threading.Event`` is one."""

    def is_set(self) -> bool:
        """Return whether to stop."""
        ...


def following(
    journal: Journal, cursors: dict[AccountId, int], only: AccountId | None, poll_seconds: float, stop: StopSign | None
) -> Iterator[Recorded]:
    """Yield events behind a cursor for each account, for ever. A cursor moves on with each event that was given out."""
    with journal.watch() as watch:
        while stop is None or not stop.is_set():
            try:
                for account, head in journal.heads().items():
                    if only in (None, account):
                        for event in _news(journal, account, cursors.get(account, 0), head.version):
                            cursors[account] = event.version
                            yield event
            except JournalError as error:
                if not error.retryable:
                    raise
            watch.wait(poll_seconds)


def _news(journal: Journal, account: AccountId, seen: int, upto: int) -> Iterator[Recorded]:
    """Yield the events behind a version, some at a time, so that nothing is held open while the reader takes its time."""
    if seen > upto:
        raise CorruptEvent(
            f"account {account} stands at version {upto}, and {seen} was read already: an older copy took the place of the "
            "journal. Run: ledger verify --since SEAL"
        )
    standing = journal.standing(account, upto) if seen < upto else None
    while seen < upto:
        rows = list(journal.rows(account, after=seen, upto=min(upto, seen + _AT_ONCE)))
        if [row.version for row in rows] != list(range(seen + 1, min(upto, seen + _AT_ONCE) + 1)):
            raise VersionGap(f"account {account}: versions behind {seen} are missing. Run: ledger verify")
        yield from (recorded(account, row, standing) for row in rows)
        seen = rows[-1].version
