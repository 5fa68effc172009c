"""What is done for the journal's own safety: noted when it is done, and judged by how long ago that is."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from socket import gethostname
from typing import Final

from attrs import frozen

from ledger.clock import SECOND_US
from ledger.errors import LedgerError
from ledger.journal import Journal
from ledger.journal.upkeep import BACKUP, COPY, SEAL, VERIFY, Upkeep
from ledger.safety import age_text
from ledger.text import visible

_DAY_SEC: Final = 86_400
_PROBLEM_MAX: Final = 500
_logger: Final = logging.getLogger("ledger.upkeep")


@frozen(kw_only=True)
class UpkeepRules:
    """How old the last verification, seal and backup may be, in seconds."""

    verify_sec: float = 2 * _DAY_SEC
    seal_sec: float = 2 * _DAY_SEC
    backup_sec: float = 26 * 3600


@frozen(kw_only=True)
class UpkeepAge:
    """How long ago something was done.

    Attributes:
        kind: verify, seal or backup.
        state: ok, warning where it is too old or its last attempt failed, failed where a verification found problems.
        at_us: When it was last done, well or not, UTC; None for never.
        seen: What is known of it, in words.
        advice: What to do.
        is_old: Whether it was done too long ago.
        last: What is stored of it.
    """

    kind: str
    state: str
    at_us: int | None
    seen: str
    advice: str = ""
    is_old: bool = False
    last: Upkeep | None = None


def note(journal: Journal, kind: str, now_us: int, *, problems: int = 0, problem: str | None = None) -> None:
    """Note that something was done. Where nothing can be written that is logged: what was done is done.

    In a backup that nobody records in nothing is noted: its bytes stay what they are.
    """
    text = None if problem is None else visible(problem)[:_PROBLEM_MAX]
    try:
        if not is_backup(journal):
            journal.save_upkeep(Upkeep(kind=kind, at_us=now_us, problems=problems, problem=text, host=gethostname()))
    except LedgerError as error:
        _logger.info("that it was done (%s) is not noted: %s", kind, error)


def is_backup(journal: Journal) -> bool:
    """Return whether a journal is a backup in which nothing was recorded since it was made."""
    copied = journal.upkeep().get(COPY)
    return copied is not None and all(head.recorded_us <= copied.at_us for head in journal.heads().values())


def ages(journal: Journal, rules: UpkeepRules, now_us: int) -> Iterator[UpkeepAge]:
    """Yield how long ago the journal was verified, sealed and backed up."""
    done = journal.upkeep()
    yield verify_age(journal, done.get(VERIFY), rules, now_us)
    yield _seal_age(journal, done.get(SEAL), rules, now_us)
    yield _backup_age(done.get(BACKUP), rules, now_us)


def verify_age(journal: Journal, last: Upkeep | None, rules: UpkeepRules, now_us: int) -> UpkeepAge:
    """Return how long ago the journal was verified, and what that found."""
    if last is None:
        made_us = journal.made_us()
        age_sec = 0 if made_us is None else _age_sec(made_us, now_us)
        is_old = age_sec > rules.verify_sec
        seen = f"never, and the journal is {age_text(age_sec)} old" if is_old else "never yet"
        return UpkeepAge(
            kind=VERIFY, state="warning" if is_old else "ok", at_us=None, seen=seen, is_old=is_old,
            advice="ledger verify finds out whether anything was changed",
        )  # fmt: skip
    age_sec = _age_sec(last.at_us, now_us)
    is_old = age_sec > rules.verify_sec
    when = f"{age_text(age_sec)} ago on {visible(last.host)}"
    if not last.is_ok:
        seen = f"{_count(last.problems)} found {when}: {last.problem or '?'}"
        advice = "stop writing to it, keep a copy, restore a backup: ledger verify"
        return UpkeepAge(kind=VERIFY, state="failed", at_us=last.at_us, seen=seen, advice=advice, is_old=is_old, last=last)
    advice = "what was changed since is not noticed: ledger verify" if is_old else ""
    state = "warning" if is_old else "ok"
    seen = f"no problem found, {when}"
    return UpkeepAge(kind=VERIFY, state=state, at_us=last.at_us, seen=seen, advice=advice, is_old=is_old, last=last)


def _seal_age(journal: Journal, last: Upkeep | None, rules: UpkeepRules, now_us: int) -> UpkeepAge:
    """Look at the seals that the journal has, by their own words; whoever may only read makes them without noting them."""
    from ledger.seals import read as read_seal  # cryptography is slow to load

    texts = journal.seals()
    noted_us = None if last is None else last.succeeded_us
    if not texts and noted_us is None:
        advice = "ledger seal proves later that nothing was rewritten"
        return UpkeepAge(kind=SEAL, state="ok", at_us=None, seen="none was made of this journal", advice=advice)
    try:
        made_us = max(noted_us or 0, read_seal(texts[-1]).made_us if texts else 0)
    except LedgerError as error:
        seen = f"the last one cannot be read: {error}"
        return UpkeepAge(kind=SEAL, state="warning", at_us=noted_us, seen=seen, advice="ledger seal", last=last)
    age_sec = _age_sec(made_us, now_us)
    is_old = age_sec > rules.seal_sec
    return UpkeepAge(
        kind=SEAL, state="warning" if is_old else "ok", at_us=made_us, is_old=is_old, last=last,
        seen=f"{len(texts)} made, the last {age_text(age_sec)} ago",
        advice="what was recorded since can be rewritten unseen: ledger seal" if is_old else "",
    )  # fmt: skip


def _backup_age(last: Upkeep | None, rules: UpkeepRules, now_us: int) -> UpkeepAge:
    if last is None:
        advice = "ledger backup copies it while it is in use"
        return UpkeepAge(kind=BACKUP, state="ok", at_us=None, seen="none was made by this program", advice=advice)
    good = "none before" if last.succeeded_us is None else f"the last good one {_ago(last.succeeded_us, now_us)}"
    is_old = last.succeeded_us is None or _age_sec(last.succeeded_us, now_us) > rules.backup_sec
    if not last.is_ok:
        seen = f"failed {_ago(last.at_us, now_us)} on {visible(last.host)}: {last.problem or '?'}; {good}"
        return UpkeepAge(
            kind=BACKUP, state="warning", at_us=last.at_us, seen=seen, advice="ledger backup", is_old=is_old, last=last
        )
    seen = f"made and verified {_ago(last.at_us, now_us)} on {visible(last.host)}"
    advice = "what was recorded since is lost with the disk: ledger backup" if is_old else ""
    state = "warning" if is_old else "ok"
    return UpkeepAge(kind=BACKUP, state=state, at_us=last.at_us, seen=seen, advice=advice, is_old=is_old, last=last)


def _count(problems: int) -> str:
    return f"{problems} problem{'' if problems == 1 else 's'}"


def _age_sec(then_us: int, now_us: int) -> int:
    return max(0, now_us - then_us) // SECOND_US


def _ago(then_us: int, now_us: int) -> str:
    return f"{age_text(_age_sec(then_us, now_us))} ago"
