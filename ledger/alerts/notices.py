"""This module is a notice as channels send it: text for people, in 80 columns, and JSON for programs. Pure."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from enum import Enum
from typing import Any, Final

from attrs import frozen

from ledger.alerts.conditions import Condition
from ledger.clock import SECOND_US, utc_text_us
from ledger.safety import age_text
from ledger.text import visible

WIDTH: Final = 80
_LABEL: Final = 9


class State(Enum):
    """What a notice says of its condition."""

    OPEN = "open"
    ESCALATED = "escalated"
    RESOLVED = "resolved"
    TEST = "test"


@frozen(kw_only=True)
class Outcome:
    """How something ended: how, by whom, and when (UTC); None for what is not known."""

    how: str
    by: str | None = None
    at_us: int | None = None


@frozen(kw_only=True)
class Notice:
    """What a channel sends.

    Attributes:
        condition: What it is about; of one that is over, as it was.
        state: What is said of it.
        stage: How far it has escalated, from 0; None where that does not matter any more.
        now_us: When it was written, UTC.
        outcome: How it ended.
    """

    condition: Condition
    state: State
    stage: int | None
    now_us: int
    outcome: Outcome | None = None

    @property
    def key(self) -> str:
        """The same for all notices about one condition: channels make one thread or one alert of them."""
        return self.condition.key

    @property
    def id(self) -> str:
        """The same whenever this notice is sent again: a receiver drops what it got before."""
        last = self.state.value if self.state in (State.RESOLVED, State.TEST) else str(self.stage)
        return f"{self.key}:{last}"

    @property
    def title(self) -> str:
        """What it is about, in one line, the same for all notices about it."""
        one = self.condition
        what = " ".join(part for part in (_named(one.kind, one.subject), one.subject) if part)
        return visible(f"{one.about}: {what}")

    @property
    def headline(self) -> str:
        """The title with the state in front: what a person reads first."""
        return f"{self.state.value.upper()} {self.title}"

    def text(self) -> str:
        """Return it for people, in 80 columns."""
        lines = [*textwrap.wrap(self.headline, WIDTH, break_on_hyphens=False), ""]
        for label, content in self._lines():
            lines += textwrap.wrap(
                visible(content), WIDTH, initial_indent=f"{label:<{_LABEL}}", subsequent_indent=" " * _LABEL,
                break_on_hyphens=False,
            ) or [label]  # fmt: skip
        return "\n".join([*lines, "", visible(self.key)]) + "\n"

    def json_value(self) -> dict[str, Any]:
        """Return it for programs: what is not known is null."""
        one, end = self.condition, self.outcome
        return {
            "key": self.key,
            "id": self.id,
            "state": self.state.value,
            "stage": self.stage,
            "title": self.title,
            "account": None if one.account is None else {"server": one.account.server, "login": one.account.login},
            "server": one.server,
            "kind": one.kind,
            "subject": one.subject or None,
            "symbol": one.symbol,
            "what": one.what,
            "since": None if one.since_us is None else utc_text_us(one.since_us),
            "age_sec": self._age_sec,
            "ours": one.ours,
            "theirs": one.theirs,
            "safe_to_trade": one.is_safe,
            "why_not_safe": one.why_unsafe,
            "cause": one.cause,
            "owner": one.owner,
            "next": one.command,
            "outcome": None if end is None else {
                "how": end.how, "by": end.by, "at": None if end.at_us is None else utc_text_us(end.at_us),
            },
            "sent_at": utc_text_us(self.now_us),
            "text": self.text(),
        }  # fmt: skip

    @property
    def _age_sec(self) -> int | None:
        since_us = self.condition.since_us
        end_us = self.now_us if self.outcome is None or self.outcome.at_us is None else self.outcome.at_us
        return None if since_us is None else max(0, (end_us - since_us) // SECOND_US)

    def _lines(self) -> Iterator[tuple[str, str]]:
        one, end = self.condition, self.outcome
        if one.what:
            yield "what", one.what
        if end is not None:
            when = "" if end.at_us is None else f" at {_time(end.at_us)}"
            by = f" by {end.by}" if end.by else ""
            yield "ended", f"{end.how}{by}{when}"
        age = self._age_sec
        lasted = "" if age is None else f", {'it lasted ' if end else ''}{age_text(age)}{'' if end else ' ago'}"
        yield "since", "?" if one.since_us is None else f"{_time(one.since_us)}{lasted}"
        if one.ours is not None or one.theirs is not None:
            yield "ours", one.ours or "none"
            yield "broker", one.theirs or "none"
        if one.account is not None:
            yield "safe", _safety(one)
        if one.cause is not None and end is None:
            yield "cause", one.cause
        if one.owner is not None and end is None:
            yield "owner", one.owner
        if end is None:
            yield "next", one.command


def _named(kind: str, subject: str) -> str:
    """Return the kind, where the subject does not name it already."""
    is_named = kind in ("sync", "server", "test", "journal", "verify", "verify-old") or subject.partition(" ")[0] == kind
    return "" if subject and is_named else kind


def _time(time_us: int) -> str:
    return f"{utc_text_us(time_us)[:19].replace('T', ' ')} UTC"


def _safety(one: Condition) -> str:
    """Say whether the account is safe to trade."""
    if one.is_safe is None:
        return "?"
    if one.is_safe:
        return "yes, it is safe to trade"
    why = "" if one.why_unsafe in (None, one.what) else f": {one.why_unsafe}"
    return f"NO, not safe to trade{why}"
