"""A survey reads the journal and its tables, and states what is wrong now: conditions, and which accounts are verified."""

from __future__ import annotations

import logging
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Final

from attrs import evolve, field, fields, frozen

from ledger.alerts.conditions import (
    NO_SYNC,
    Condition,
    LimitState,
    account_prefix,
    break_condition,
    journal_prefix,
    limit_conditions,
    server_prefix,
    sync_began_us,
    sync_condition,
    with_servers,
)
from ledger.alerts.lifecycle import Ending, going_on
from ledger.alerts.notices import Outcome
from ledger.approvals import Note
from ledger.clock import SECOND_US
from ledger.codec import Stored, recorded
from ledger.errors import LedgerError
from ledger.events import Adjusted, BreakClosed, BreakOpened, CorrectionDecided
from ledger.journal import Difference
from ledger.journal.health import SyncHealth
from ledger.journal.notices import SentNotice
from ledger.journal.upkeep import VERIFY
from ledger.orders.view import Orders
from ledger.portfolio import Portfolio
from ledger.safety import Danger, Verdict, assess
from ledger.service import Account, Ledger
from ledger.upkeep import UpkeepRules, verify_age
from ledger.values import AccountId
from ledger.views import Break

#: So often it is looked whether what protects the events is as it was made.
_SCHEMA_US: Final = 3600 * SECOND_US
#: Below so much free space a journal in a file is about to stop.
FREE_BYTES_MIN: Final = 1024**3
_UNVERIFIED: Final = (Danger.DEGRADED, Danger.STALE)
_NOT_THERE: Final = Verdict(danger=Danger.STALE, why="the journal does not hold the account: it was never synced")
_logger: Final = logging.getLogger("ledger.alerts")
#: Kind -> what a notice about the verification of the journal is of.
_VERIFY_SUBJECTS: Final = {"verify": "verification failed", "verify-old": "not verified for long"}
_BY_PEOPLE: Final = (Adjusted.__name__, CorrectionDecided.__name__)
_NEAR: Final = 20  # events of one append are so near to one another, by version and by microsecond

#: Returns the states of an account's limits at a moment (UTC, microseconds).
LimitSource = Callable[[Account, int], Iterable[LimitState]]
#: Returns the likely causes of an account's open breaks in words: version of the first sighting -> cause.
CauseSource = Callable[[Account], Mapping[int, str]]


@frozen(kw_only=True)
class _Read:
    """An account as it was read, at a version; ``error`` is set where it could not be."""

    version: int
    portfolio: Portfolio | None = None
    orders: Orders | None = None
    causes: Mapping[int, str] = {}
    owned: Mapping[int, Note] = {}
    error: str | None = None


@frozen(kw_only=True)
class Look:
    """What a survey found at a moment.

    Attributes:
        now_us: The moment, UTC.
        conditions: What is wrong.
        accounts: Those that are watched.
        unverified: Those that no sync verified in time, or that cannot be read.
        unsafe_since_us: Account -> since when it is not safe to trade.
        limits: The states of all limits.
        is_disk_known: Whether the free space could be read.
    """

    now_us: int
    journal_id: str
    conditions: Sequence[Condition]
    accounts: Sequence[AccountId]
    unreadable: frozenset[AccountId] = frozenset()
    unverified: frozenset[AccountId] = frozenset()
    unsafe_since_us: Mapping[AccountId, int] = {}
    limits: Sequence[LimitState] = ()
    is_disk_known: bool = True
    _prefixes: Mapping[str, AccountId] = field(factory=dict)

    @property
    def is_verified(self) -> bool:
        """Whether every account was verified; of no account nothing is."""
        return bool(self.accounts) and not self.unverified

    def account_of(self, key: str) -> AccountId | None:
        """Return the account that a key is of, None for another's."""
        begin = f"ledger:{self.journal_id}:"
        rest = key.removeprefix(begin)
        slash = rest.find("/")
        colon = rest.find(":", slash)
        return self._prefixes.get(f"{begin}{rest[: colon + 1]}") if slash >= 0 and rest != key else None

    def ending(self, key: str) -> Ending:
        """Return what became of a condition that is not present, by its key."""
        account = self.account_of(key)
        if account is not None:
            if account in self.unreadable and ":unreadable:" not in key:
                return Ending.UNKNOWN
            rest = key.removeprefix(account_prefix(self.journal_id, account))
            return self._limit_ending(account, rest) if rest.startswith("limit:") else Ending.OVER
        if any(key.startswith(journal_prefix(self.journal_id, kind)) for kind in ("schema", *_VERIFY_SUBJECTS)):
            return Ending.OVER
        if key.startswith(journal_prefix(self.journal_id, "disk")):
            return Ending.OVER if self.is_disk_known else Ending.UNKNOWN
        servers = {server_prefix(self.journal_id, one.server) for one in self.accounts}
        return Ending.OVER if any(key.startswith(prefix) for prefix in servers) else Ending.UNKNOWN

    def _limit_ending(self, account: AccountId, rest: str) -> Ending:
        _, name, day, _ = rest.split(":", 3)
        for one in self.limits:
            if (one.account, one.limit) == (account, name) and one.state != "unknown":
                return Ending.OVER if one.state == "ok" or one.day == day else Ending.SUPERSEDED
        return Ending.UNKNOWN


class Survey:
    """Looks at a journal again and again, and reads what changed.

    Args:
        ledger: The journal.
        accounts: Only these; None for all.
        attempts_max: So many corrections that did not help need a person.
        limits: Returns the states of limits.
        causes: Returns likely causes.
        upkeep: How old the last verification may be; None where nobody is notified of that.
    """

    def __init__(
        self,
        ledger: Ledger,
        *,
        accounts: frozenset[AccountId] | None = None,
        attempts_max: int = 3,
        limits: LimitSource = lambda *_: (),
        causes: CauseSource = lambda _: {},
        upkeep: UpkeepRules | None = None,
    ) -> None:
        self._ledger = ledger
        self._journal_id = ledger.journal.identity()
        self._accounts = accounts
        self._attempts_max = attempts_max
        self._limits = limits
        self._causes = causes
        self._upkeep = upkeep
        self._read: dict[AccountId, _Read] = {}
        self._opened_us: dict[tuple[AccountId, int], int] = {}
        self._unsafe_since_us: dict[AccountId, int] = {}
        self._inhibited_us: dict[str, int] = {}
        self._schema: tuple[int, tuple[Difference, ...]] | None = None

    def look(self, sent: Sequence[SentNotice]) -> Look:
        """Return what is wrong now.

        Args:
            sent: What was sent and is not resolved: what goes on goes on under its key.

        Raises:
            JournalError: The journal does not answer: nothing is known then.
        """
        now_us = self._ledger.now_us()
        heads, healths = self._ledger.journal.heads_here(), self._ledger.journal.sync_healths()
        names = [name for name in heads if self._accounts is None or name in self._accounts]
        missing = sorted((self._accounts or frozenset()) - heads.keys())
        open_keys = _by_prefix(key for key, _ in going_on(sent))
        breaks: list[Condition] = []
        syncs: list[Condition] = []
        verdicts: dict[AccountId, Verdict] = {}
        for name in names:
            read = self._account(name, heads[name].version)
            if read.error is None:
                try:
                    verdicts[name], found, sync = self._judged(name, read, healths.get(name), open_keys, now_us)
                except Exception as error:  # an event that a checkpoint had left unread is looked up here
                    if isinstance(error, LedgerError) and error.retryable:
                        raise
                    read = self._read[name] = _Read(version=read.version, error=str(error) or type(error).__name__)
                else:
                    breaks += found
                    syncs += sync
                    continue
            breaks.append(self._unreadable(name, read, open_keys))
            verdicts[name] = Verdict(danger=Danger.STALE, why=read.error)
        for name in missing:
            verdicts[name] = _NOT_THERE
            key = open_keys.get(f"{account_prefix(self._journal_id, name)}sync:")
            syncs.append(sync_condition(self._journal_id, name, _NOT_THERE, since_us=None, key=key))
        limits = self._limit_states(names, now_us)
        disk, is_disk_known = self._disk(open_keys, now_us)
        disk += self._unprotected(open_keys, now_us)
        disk += self._unverified(open_keys, now_us)
        watched = [*names, *missing]
        servers = Counter(name.server for name in watched)
        prefixes = {server: server_prefix(self._journal_id, server) for server in servers}
        keys = {server: open_keys[prefix] for server, prefix in prefixes.items() if prefix in open_keys}
        conditions = [
            *breaks,
            *self._calmed(with_servers(self._journal_id, syncs, servers, keys), now_us),
            *self._limit_conditions(limits, verdicts),
            *disk,
        ]
        self._note_unsafe(verdicts, conditions, now_us)
        return Look(
            now_us=now_us,
            journal_id=self._journal_id,
            conditions=conditions,
            accounts=watched,
            unreadable=frozenset(name for name in names if self._read[name].error is not None),
            unverified=frozenset(name for name, verdict in verdicts.items() if verdict.danger in _UNVERIFIED),
            unsafe_since_us=dict(self._unsafe_since_us),
            limits=limits,
            is_disk_known=is_disk_known,
            prefixes={account_prefix(self._journal_id, name): name for name in watched},
        )

    # ---- accounts

    def _account(self, name: AccountId, version: int) -> _Read:
        """Return an account at a version, read anew only where that is another."""
        known = self._read.get(name)
        if known is None or known.version != version:
            account = self._ledger.account(name)
            try:
                at, portfolio, orders = account.current_with_orders()
                causes = self._likely_causes(account) if portfolio.breaks else {}
                notes = account.approvals.notes if portfolio.breaks else ()
                owned = {one.break_version: one for one in notes if one.owner is not None}
                known = _Read(version=at, portfolio=portfolio, orders=orders, causes=causes, owned=owned)
            except Exception as error:  # whatever it is, it is one account's: the others are looked at
                if isinstance(error, LedgerError) and error.retryable:
                    raise
                known = _Read(version=version, error=str(error) or type(error).__name__)
            self._read[name] = known
        return known

    def _likely_causes(self, account: Account) -> Mapping[int, str]:
        try:
            return self._causes(account)
        except Exception as error:  # a break is reported whether its cause can be found or not
            if isinstance(error, LedgerError) and error.retryable:
                raise
            _logger.warning("the causes of the breaks of %s cannot be found: %s", account.name, error)
            return {}

    def _limit_states(self, names: Sequence[AccountId], now_us: int) -> list[LimitState]:
        found: list[LimitState] = []
        for name in names:
            try:
                found += self._limits(self._ledger.account(name), now_us)
            except Exception as error:  # breaks, and limits of others, are reported whether these can be computed or not
                if isinstance(error, LedgerError) and error.retryable:
                    raise
                _logger.warning("the limits of %s cannot be computed: %s", name, error)
        return found

    def _limit_conditions(self, limits: Iterable[LimitState], verdicts: Mapping[AccountId, Verdict]) -> Iterator[Condition]:
        for one in limits:
            verdict = verdicts.get(one.account)
            for each in limit_conditions(self._journal_id, one):
                yield each if verdict is None else evolve(each, is_safe=verdict.is_safe, why_unsafe=verdict.why)

    def _judged(
        self, name: AccountId, read: _Read, health: SyncHealth | None, open_keys: Mapping[str, str], now_us: int
    ) -> tuple[Verdict, list[Condition], list[Condition]]:
        """Return whether an account is safe to trade, the conditions of its breaks, and that of its sync."""
        portfolio, orders = read.portfolio, read.orders
        assert portfolio is not None
        assert orders is not None
        degraded = None if portfolio.degraded is None else portfolio.degraded.reason
        verdict = assess(health, now_us, breaks=portfolio.breaks, degraded=degraded, orders=orders)
        breaks = [self._break(name, one, read, verdict) for one in portfolio.breaks]
        if verdict.danger not in _UNVERIFIED:
            return verdict, breaks, []
        clock = portfolio.terms.clock
        since_us = sync_began_us(
            health,
            verdict,
            degraded_us=None if portfolio.degraded is None else clock.to_utc_msc(portfolio.degraded.time_msc) * 1000,
            opened_us=self._recorded_us(name, 1),
        )
        key = open_keys.get(f"{account_prefix(self._journal_id, name)}sync:")
        return verdict, breaks, [sync_condition(self._journal_id, name, verdict, since_us=since_us, key=key)]

    def _break(self, name: AccountId, one: Break, read: _Read, verdict: Verdict) -> Condition:
        if one.version is None:  # the fold itself found it
            assert read.portfolio is not None
            opened_us = read.portfolio.terms.clock.to_utc_msc(one.opened_msc) * 1000
        else:
            opened_us = self._recorded_us(name, one.version)
        note = None if one.version is None else read.owned.get(one.version)
        return break_condition(
            self._journal_id, name, one, opened_us=opened_us, verdict=verdict, attempts_max=self._attempts_max,
            cause=None if one.version is None else read.causes.get(one.version), owner=None if note is None else note.owner,
            acknowledged_us=None if note is None else self._recorded_us(name, note.version),
        )  # fmt: skip

    def _recorded_us(self, name: AccountId, version: int) -> int:
        """Return when an event was recorded: our clock, which goes on while the broker's does not."""
        known = self._opened_us.get((name, version))
        if known is None:
            known = next(self._ledger.journal.rows(name, after=version - 1, upto=version)).recorded_us
            self._opened_us[name, version] = known
        return known

    def _unreadable(self, name: AccountId, read: _Read, open_keys: Mapping[str, str]) -> Condition:
        prefix = f"{account_prefix(self._journal_id, name)}unreadable:"
        return Condition(
            key=open_keys.get(prefix) or f"{prefix}{read.version}",
            kind="journal",
            what=f"the account cannot be read: {read.error}",
            since_us=None,
            server=name.server,
            account=name,
            subject="unreadable",
            is_safe=False,
            command="ledger verify",
            has_grace=False,
            is_escalating=False,
        )

    def _calmed(self, conditions: Iterable[Condition], now_us: int) -> list[Condition]:
        """Give accounts the grace period again once their server's notice is over: most are about to be verified."""
        found = []
        for one in conditions:
            if one.is_inhibited:
                self._inhibited_us[one.key] = now_us
            found.append(evolve(one, quiet_until_us=self._inhibited_us.get(one.key, 0)))
        keys = {one.key for one in found}
        self._inhibited_us = {key: us for key, us in self._inhibited_us.items() if key in keys}
        return found

    def _note_unsafe(self, verdicts: Mapping[AccountId, Verdict], conditions: Iterable[Condition], now_us: int) -> None:
        """Note since when accounts are unsafe: since what is known of it began, else since it was first seen."""
        begins: dict[AccountId, int] = {}
        for one in conditions:
            if one.account is not None and one.is_safe is False and one.since_us is not None:
                begins[one.account] = min(one.since_us, begins.get(one.account, one.since_us))
        self._unsafe_since_us = {
            name: min(begins.get(name, now_us), self._unsafe_since_us.get(name, now_us))
            for name, verdict in verdicts.items()
            if not verdict.is_safe
        }

    # ---- the journal itself

    def _disk(self, open_keys: Mapping[str, str], now_us: int) -> tuple[list[Condition], bool]:
        """Return the condition of a disk that is nearly full, and whether its free space is known."""
        file = self._ledger.journal.file()
        if file is None:
            return [], True
        try:
            free = shutil.disk_usage(file.parent).free
        except OSError:
            return [], False
        if free >= FREE_BYTES_MIN:
            return [], True
        prefix = journal_prefix(self._journal_id, "disk")
        what = f"{free // 1024**2} MiB are free where the journal is: nothing can be recorded once they are used up"
        key = open_keys.get(prefix) or f"{prefix}{now_us // 60_000_000}"
        return [
            Condition(
                key=key, kind="disk", what=what, since_us=None, subject="nearly full", command="ledger doctor",
                has_grace=False, is_escalating=False,
            )
        ], True  # fmt: skip

    def _unprotected(self, open_keys: Mapping[str, str], now_us: int) -> list[Condition]:
        """Return the condition that what protects the events is not as it was made: somebody took a trigger away."""
        if self._schema is None or not 0 <= now_us - self._schema[0] < _SCHEMA_US:
            self._schema = now_us, self._ledger.journal.schema_differences()
        missing = [one for one in self._schema[1] if one.is_protecting]
        if not missing:
            return []
        prefix = journal_prefix(self._journal_id, "schema")
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        what = f"events can be changed: {missing[0].kind} {missing[0].name} is {missing[0].what}{more}"
        return [
            Condition(
                key=open_keys.get(prefix) or f"{prefix}{now_us // 60_000_000}", kind="journal", what=what, since_us=None,
                subject="not protected", command="ledger verify", has_grace=False,
            )
        ]  # fmt: skip

    def _unverified(self, open_keys: Mapping[str, str], now_us: int) -> list[Condition]:
        """Return the conditions that the last verification found something, and that it is too long ago."""
        journal, rules = self._ledger.journal, self._upkeep
        if rules is None:
            return []
        age = verify_age(journal, journal.upkeep().get(VERIFY), rules, now_us)
        found = []
        for kind, is_so, since_us in (("verify", age.state == "failed", age.at_us), ("verify-old", age.is_old, None)):
            if is_so:
                prefix = journal_prefix(self._journal_id, kind)
                found.append(
                    Condition(
                        key=open_keys.get(prefix) or f"{prefix}{now_us // 60_000_000}", kind=kind,
                        what=age.seen if kind == "verify" else f"the last verification is too long ago: {age.seen}",
                        since_us=since_us, subject=_VERIFY_SUBJECTS[kind], command="ledger verify", has_grace=False,
                        is_escalating=kind == "verify",
                    )
                )  # fmt: skip
        return found

    # ---- what is over

    def ended(self, look: Look, key: str) -> tuple[Condition, Outcome]:
        """Return what a condition was that is over, and how it ended, by its key.

        Raises:
            JournalError: The journal does not answer.
        """
        account = look.account_of(key)
        for kind, subject in _VERIFY_SUBJECTS.items():
            if key.startswith(journal_prefix(self._journal_id, kind)):
                gone = Condition(key=key, kind=kind, what="", since_us=None, subject=subject)
                return gone, Outcome(how="verified, and nothing was found" if kind == "verify" else "verified again")
        if account is None and key.startswith(journal_prefix(self._journal_id, "schema")):
            gone = Condition(key=key, kind="journal", what="", since_us=None, subject="not protected")
            return gone, Outcome(how="as it was made")
        if account is None:
            is_disk = key.startswith(journal_prefix(self._journal_id, "disk"))
            server = None if is_disk else key.removeprefix(f"ledger:{self._journal_id}:").rpartition(":server:")[0]
            gone = Condition(
                key=key, kind="disk" if is_disk else "server", what="", since_us=None if is_disk else _number(key),
                server=server, subject="nearly full" if is_disk else "accounts degraded",
            )  # fmt: skip
            return gone, Outcome(how="enough is free again" if is_disk else "most accounts are verified again")
        rest = key.removeprefix(account_prefix(self._journal_id, account))
        kind, _, more = rest.partition(":")
        plain = Condition(
            key=key, kind=kind, what="", since_us=None, server=account.server, account=account,
            is_safe=self._is_safe(look, account),
        )  # fmt: skip
        if rest.isdecimal():
            return self._closed(look, account, int(rest))
        if kind == "sync":
            return evolve(plain, subject=NO_SYNC, since_us=_number(key)), Outcome(how="verified again")
        if kind == "limit":
            name, _, state = more.split(":")
            return evolve(plain, subject=f"{name} {state}"), Outcome(how="within the limit")
        if kind == "unreadable":
            return evolve(plain, kind="journal", subject="unreadable"), Outcome(how="it can be read again")
        word, _, name = rest.partition("-")
        return evolve(plain, kind=word, subject=name.rpartition("-")[0]), Outcome(how="both agree again")

    def _is_safe(self, look: Look, account: AccountId) -> bool:
        return account not in look.unsafe_since_us and account not in look.unverified

    def _closed(self, look: Look, name: AccountId, version: int) -> tuple[Condition, Outcome]:
        """Return the break that an event opened, and how it was closed."""
        journal = self._ledger.journal
        terms = self._ledger.account(name).terms
        opened = recorded(name, next(journal.rows(name, after=version - 1, upto=version)), terms)
        assert isinstance(opened.event, BreakOpened)
        shared = {one.name for one in fields(Break)} & {one.name for one in fields(BreakOpened)}
        known = {one: getattr(opened.event, one) for one in shared}
        one = Break(**known, opened_msc=opened.event.time_msc, version=version)
        condition = break_condition(
            self._journal_id, name, one, opened_us=opened.recorded_us, attempts_max=self._attempts_max,
            verdict=Verdict(danger=Danger.NONE if self._is_safe(look, name) else Danger.BREAK),
        )  # fmt: skip
        for row in journal.rows(name, after=version):
            if row.kind == "BreakClosed" and row.caused_by == version:
                end = recorded(name, row, terms)
                assert isinstance(end.event, BreakClosed)
                by = self._decided_by(name, row)
                return condition, Outcome(how=f"{end.event.end.value}, v{row.version}", by=by, at_us=end.recorded_us)
        return condition, Outcome(how="closed")

    def _decided_by(self, name: AccountId, end: Stored) -> str | None:
        """Return who decided what was recorded together with an event, None where no person did."""
        near = self._ledger.journal.rows(name, after=max(0, end.version - _NEAR), upto=end.version + _NEAR)
        found = [
            row
            for row in near
            if row.kind in _BY_PEOPLE and row.correlation == end.correlation and abs(row.recorded_us - end.recorded_us) <= _NEAR
        ]
        if not found:
            return None
        row = min(found, key=lambda one: abs(one.version - end.version))
        event = recorded(name, row, self._ledger.account(name).terms).event
        assert isinstance(event, (Adjusted, CorrectionDecided))
        return event.operator


def _by_prefix(keys: Iterable[str]) -> dict[str, str]:
    """Return keys by what is in front of the moment at their end; of several the first."""
    return {key[: key.rindex(":") + 1]: key for key in sorted(keys, reverse=True) if ":" in key}


def _number(key: str) -> int | None:
    """Return the moment at the end of a key, None where it is not known."""
    last = key.rpartition(":")[2]
    return int(last) or None if last.isdecimal() else None
