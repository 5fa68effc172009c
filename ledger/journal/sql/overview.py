"""All accounts at a glance: what the head, the summary and the sync health of each come to, without their events.

Two steps, so that ten thousand accounts cost little: a few columns of all of them, to count, filter and order by, and all
columns of those that are shown or have to be looked at. Whether an account is safe to trade is decided by ``ledger.safety``
alone; here those accounts are only named that it certainly calls safe, whose rows then need not be read.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from ledger.clock import SECOND_US
from ledger.errors import LedgerError
from ledger.journal.derived import Summary
from ledger.journal.health import COLUMNS as _HEALTH
from ledger.journal.health import SyncHealth, from_columns
from ledger.journal.sql.words import NOTABLE, account_key, among
from ledger.journal.tally import BREAK_KINDS, Tally, tally_of
from ledger.values import AccountId

if TYPE_CHECKING:
    from ledger.journal.sql.journal import SqlJournal

_AT_ONCE: Final = 500
#: So many policies are compared by the database; accounts under others are looked at one by one.
_POLICIES_MAX: Final = 8


DOUBTFUL: Final = 0
SAFE: Final = 1
STALE: Final = 2


class Brief(NamedTuple):
    """A few columns of one account: what an overview counts, filters and orders by.

    ``certainty`` is ``SAFE`` or ``STALE`` where nothing else can come of a closer look, else ``DOUBTFUL``. Times are UTC, in
    microseconds, None where there is none; of the newest event in milliseconds.
    """

    name: AccountId
    version: int
    certainty: int
    status: str | None
    verified_us: int | None
    positions: int | None
    last_event_utc_msc: int | None
    breaks_oldest_utc_msc: int | None


class Full(NamedTuple):
    """All of one account: its head's version and hash, the summary and the sync health, None where there is none.

    ``is_here`` is whether its events are accepted: an account that is being moved is safe by no summary.
    """

    version: int
    hash: bytes
    summary: Summary | None
    health: SyncHealth | None
    is_here: bool

    @property
    def newest(self) -> Summary | None:
        """The summary, if it rests on the head; None where it is behind or of another history, or the account is not here."""
        found = self.summary if self.is_here else None
        return found if found is not None and (found.version, found.hash) == (self.version, self.hash) else None


_BRIEF: Final = (
    "SELECT a.server, a.login, d.version, CASE WHEN %s THEN 1 WHEN h.status IS NULL OR %s THEN 2 ELSE 0 END, h.status, "
    " h.verified_us, s.positions, "
    "s.last_event_utc_msc, s.breaks_oldest_utc_msc FROM accounts a JOIN heads d ON d.account_id = a.account_id "
    "LEFT JOIN summaries s ON s.account_id = a.account_id LEFT JOIN sync_health h ON h.account_id = a.account_id "
    "WHERE d.version > 0 AND (d.state IS NULL OR d.state <> 'moved')"
)
#: What holds for every account that is safe to trade by its newest summary, beside what depends on its policy.
_QUIET: Final = (
    "d.state IS NULL AND h.status IN ('SUCCESS', 'PARTIAL') AND h.held = '[]' AND s.version = d.version AND s.hash = d.hash "
    "AND s.degraded_reason IS NULL AND s.breaks = '[]' AND s.halts = '[]' AND s.orders = '[]' "
    "AND h.seen_us <= ? AND h.verified_us <= ?"
)
#: A policy, how old the last attempt and the last verification may be under it, and how many of its intervals the attempt.
_FRESH: Final = "(h.policy = ? AND h.verified_us > ? AND (h.seen_us > ? OR h.seen_us > ? - ? * h.interval_us))"
_GONE: Final = "(h.policy = ? AND h.seen_us < ? AND h.seen_us < ? - ? * h.interval_us)"
_NEVER: Final = "1 = 0"
_FULL: Final = (
    "SELECT d.account_id, d.version, d.hash, d.state IS NULL, %s, %s FROM heads d LEFT JOIN summaries s ON "
    "s.account_id = d.account_id LEFT JOIN sync_health h ON h.account_id = d.account_id WHERE d.account_id IN (%s)"
)


#: How many events of each kind each account has, and those by which its breaks began and ended.
_COUNTS: Final = (
    "SELECT account_id, kind, count(*), max(version) FROM events WHERE account_id IN (%s) GROUP BY account_id, kind"
)
_BREAKS: Final = (
    "SELECT account_id, version, kind, caused_by, data FROM events WHERE account_id IN (%s) "
    f"AND kind IN {BREAK_KINDS} AND {NOTABLE} ORDER BY account_id, version"
)


def briefs(journal: SqlJournal, now_us: int, *, intervals_max: int) -> list[Brief]:
    """Return all accounts that have events, in no order.

    Args:
        journal: Whose.
        now_us: The present, UTC microseconds.
        intervals_max: So many of its intervals the last sync attempt of an account may be ago.
    """
    policies = _policies(journal)
    safe = [
        one
        for policy, age_us in policies
        for one in (policy, now_us - age_us, now_us - age_us, now_us, intervals_max)
    ]  # fmt: skip
    gone = [one for policy, age_us in policies for one in (policy, now_us - age_us - 1, now_us - 1, intervals_max)]
    is_fresh, is_gone = (" OR ".join([condition] * len(policies)) or _NEVER for condition in (_FRESH, _GONE))
    text, values = _BRIEF % (f"{_QUIET} AND ({is_fresh})", f"({is_gone})"), [now_us, now_us, *safe, *gone]
    rows = (row for block in journal.stream(text, *values) for row in block)
    return [Brief(name, *row) for server, login, *row in rows if (name := _name(server, login)) is not None]


def with_breaks(journal: SqlJournal) -> list[AccountId]:
    """Return the accounts that have open breaks by their summary, or whose summary is missing or behind, in their order.

    Those without any event about a break have none, whatever their summary is.
    """
    text = (
        "SELECT a.server, a.login FROM accounts a JOIN heads d ON d.account_id = a.account_id "
        "LEFT JOIN summaries s ON s.account_id = a.account_id WHERE d.version > 0 AND (d.state IS NULL OR d.state <> 'moved') "
        "AND (s.breaks_open > 0 OR "
        "((s.version IS NULL OR s.version <> d.version OR s.hash <> d.hash) AND EXISTS (SELECT 1 FROM events e "
        "WHERE e.account_id = a.account_id AND e.kind = 'BreakOpened')))"
    )
    return sorted(name for server, login in journal.select(text) if (name := _name(server, login)) is not None)


def _policies(journal: SqlJournal) -> list[tuple[str, int]]:
    """Return the policies that accounts are synced under, if only few, with the age of a verification that each allows.

    Those under which something else may be in the way are left out.
    """
    found = []
    for (text,) in journal.select(f"SELECT DISTINCT policy FROM sync_health LIMIT {_POLICIES_MAX}"):
        try:
            policy = json.loads(text)
            if not policy.get("breached"):
                found.append((text, int(float(policy["verified_sec"]) * SECOND_US)))
        except (AttributeError, KeyError, TypeError, ValueError, OverflowError):
            continue  # an account under it is looked at
    return found


def fulls(journal: SqlJournal, names: Iterable[AccountId]) -> dict[AccountId, Full]:
    """Return account -> all of it."""
    keys = {account_key(name): name for name in names}
    found: dict[AccountId, Full] = {}
    wanted = list(keys)
    columns = ", ".join(f"s.{name}" for name in Summary._fields), ", ".join(f"h.{name}" for name in _HEALTH)
    for begin in range(0, len(wanted), _AT_ONCE):
        some = wanted[begin : begin + _AT_ONCE]
        marks, values = among(some)
        for key, version, chain, is_here, *row in journal.select(_FULL % (*columns, marks), *values):
            summary, health = row[: len(Summary._fields)], dict(zip(_HEALTH, row[len(Summary._fields) :], strict=True))
            found[keys[key]] = Full(version, chain, _summary(summary), _health(keys[key], health), bool(is_here))
    return found


def tallies(journal: SqlJournal, names: Iterable[AccountId]) -> dict[AccountId, tuple[int, Tally]]:
    """Return account -> its version, and the tally of its events up to that; of many accounts in a few statements.

    Raises:
        CorruptEvent: The fields of a break cannot be read.
    """
    keys = {account_key(name): name for name in names}
    wanted = list(keys)
    found: dict[AccountId, tuple[int, Tally]] = {}
    for begin in range(0, len(wanted), _AT_ONCE):
        marks, values = among(wanted[begin : begin + _AT_ONCE])
        counts: dict[int, dict[str, int]] = defaultdict(dict)
        versions: dict[int, int] = defaultdict(int)
        for key, kind, count, version in journal.select(_COUNTS % marks, *values):
            counts[key][kind] = count
            versions[key] = max(versions[key], version)
        breaks: dict[int, list[tuple[str, int | None, str]]] = defaultdict(list)
        for key, version, *row in journal.select(_BREAKS % marks, *values):
            if version <= versions[key]:  # what came between both statements is counted with the next look
                breaks[key].append((row[0], row[1], row[2]))
        found |= {keys[key]: (versions[key], tally_of(kinds, breaks[key])) for key, kinds in counts.items()}
    return found


def _summary(row: list[Any]) -> Summary | None:
    return None if row[0] is None else Summary._make(row)


def _health(name: AccountId, row: Mapping[str, Any]) -> SyncHealth | None:
    return None if row["status"] is None else from_columns(name, row)


def _name(server: Any, login: Any) -> AccountId | None:
    """Return an account's name, None where it is damaged: ``verify`` names it."""
    try:
        return AccountId(server, login)
    except LedgerError:
        return None
