"""Corrections that wait for a second person: proposed, decided; by which policy; and what people note about breaks.

None of these changes a figure: positions and money follow what an approved correction records (``Adjusted``). They are folded
by version, and their broker time is the moment at which they were recorded.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from enum import Enum
from typing import Any, Final

import attrs
from attrs.converters import optional

from ledger.clock import TIME_MAX_MSC
from ledger.errors import BadValue
from ledger.events.fields import (
    storable,
    to_operator,
    to_reason,
    to_text_or_none,
    to_ticket_or_none,
    to_time_msc,
    to_version,
)
from ledger.values import shown, to_text, to_whole, to_word

_DIGEST: Final = re.compile(r"[0-9a-f]{64}")

#: What a correction can be: the member ``what`` of its recipe.
RECIPES: Final = ("add", "close", "update", "balance", "withdrawal", "acceptance", "clock", "order", "policy")
#: What a policy can ask two persons for, in the order in which it is stored.
SUBJECTS: Final = ("position", "balance", "credit", "withdrawal", "acceptance", "clock", "order")


class DecisionOutcome(Enum):
    """How a proposal was decided."""

    APPROVED = "approved"
    REJECTED = "rejected"
    WITHDRAWN = "withdrawn"
    LAPSED = "lapsed"


def _outcome(value: DecisionOutcome | str) -> DecisionOutcome:
    return to_word(value, DecisionOutcome)


def json_values(value: Any, what: str) -> Any:
    """Return a copy of JSON values that every journal can store; numbers are whole, exact others are text.

    Raises:
        BadValue: Something else is in it.
    """
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        return to_whole(value, -(2**63), 2**64 - 1, f"a number of {what}")
    if isinstance(value, str):
        return storable(value)
    if isinstance(value, Mapping):
        return {storable(name): json_values(one, what) for name, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [json_values(one, what) for one in value]
    raise BadValue(f"expected JSON values without fractions in {what}, found {shown(value)} ({type(value).__name__})")


def _object(value: object, what: str) -> dict[str, Any]:
    try:
        if isinstance(value, Mapping) and value:
            found: dict[str, Any] = json_values(value, what)
            json.dumps(found, allow_nan=False)
            return found
    except RecursionError:
        raise BadValue(f"expected {what} that is not nested without end") from None
    raise BadValue(f"expected {what} as a JSON object, found {shown(value)}")


def _correction(value: Mapping[str, Any]) -> dict[str, Any]:
    found = _object(value, "a correction")
    if found.get("what") not in RECIPES:
        raise BadValue(f"expected a correction whose what is one of {', '.join(RECIPES)}, found {shown(found.get('what'))}")
    return found


def _effect(value: Mapping[str, Any]) -> dict[str, Any]:
    return _object(value, "an effect")


def _changed(value: Mapping[str, Any]) -> dict[str, Any]:
    return _object(value, "what changed")


def to_digest(value: str) -> str:
    """Return a SHA-256 digest, as 64 hexadecimal digits."""
    text = to_text(value, "a digest").strip().lower()
    if not _DIGEST.fullmatch(text):
        raise BadValue(f"expected a digest of 64 hexadecimal digits, found {shown(value)}")
    return text


def _utc_msc(value: int) -> int:
    return to_whole(value, 0, TIME_MAX_MSC, "a time in milliseconds of UTC")


def _flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise BadValue(f"expected true or false, found {shown(value)}")
    return value


def _approvals(value: int) -> int:
    return to_whole(value, 1, 2, "how many persons a correction needs")


def _text(value: str) -> str:
    return to_text(value, "a note")


def _subjects(value: Iterable[str]) -> tuple[str, ...]:
    given = list(value) if isinstance(value, (list, tuple, set, frozenset)) else []
    if not given or any(one not in SUBJECTS for one in given):
        raise BadValue(f"expected some of {', '.join(SUBJECTS)} as what a policy is for, found {shown(value)}")
    return tuple(one for one in SUBJECTS if one in given)


@attrs.frozen(kw_only=True)
class CorrectionProposed:
    """A person proposed a correction, for a second one to decide. Nothing is corrected by it.

    ``correction`` is the recipe, ``effect`` what it would have changed at the version ``rests_on``: without times, versions and
    operator, so that it can be compared with that of a later version. ``effect_digest`` is the SHA-256 of it. ``urgent`` is one
    that was applied at once, and waits for a second person to confirm it. ``break_version`` is the version that opened the
    break that it is the answer to: with its end the proposal lapses.
    """

    operator: str = attrs.field(converter=to_operator)
    reason: str = attrs.field(converter=to_reason)
    time_msc: int = attrs.field(converter=to_time_msc)
    correction: dict[str, Any] = attrs.field(converter=_correction, hash=False)
    effect: dict[str, Any] = attrs.field(converter=_effect, hash=False)
    effect_digest: str = attrs.field(converter=to_digest)
    rests_on: int = attrs.field(converter=to_version)
    lapses_utc_msc: int = attrs.field(converter=_utc_msc)
    urgent: bool = attrs.field(converter=_flag, default=False)
    break_version: int | None = attrs.field(converter=optional(to_version), default=None)
    position_id: int | None = attrs.field(converter=to_ticket_or_none, default=None)
    symbol: str | None = attrs.field(converter=to_text_or_none, default=None)


@attrs.frozen(kw_only=True)
class CorrectionDecided:
    """A person decided a proposal: the one with version ``caused_by``.

    ``effect_digest`` is that of the effect that the person saw. An approved one is followed by what it corrects. One that
    lapsed would have another effect by now: ``changed`` names what is different, each as proposed and as it is. ``signature``
    is one by the operator's ``key``, over the effect as of the version ``rests_on``.
    """

    outcome: DecisionOutcome = attrs.field(converter=_outcome)
    operator: str = attrs.field(converter=to_operator)
    effect_digest: str = attrs.field(converter=to_digest)
    time_msc: int = attrs.field(converter=to_time_msc)
    caused_by: int = attrs.field(converter=to_version)
    reason: str | None = attrs.field(converter=optional(to_reason), default=None)
    changed: dict[str, Any] | None = attrs.field(converter=optional(_changed), default=None, hash=False)
    signature: str | None = attrs.field(converter=to_text_or_none, default=None)
    key: str | None = attrs.field(converter=to_text_or_none, default=None)
    rests_on: int | None = attrs.field(converter=optional(to_version), default=None)

    def __attrs_post_init__(self) -> None:
        if self.signature is not None and (self.key is None or self.rests_on is None):
            raise BadValue("a signature states whose key made it (key), and the version that it is about (rests_on)")


@attrs.frozen(kw_only=True)
class PolicySet:
    """A person set how many persons a correction needs, and which corrections: in force from the next event on.

    Two persons: one proposes, another approves; ``signed`` decisions carry a signature. What is not named needs one person.
    ``decision`` is the version of the decision that allowed it, where the policy before asked for two.
    """

    approvals: int = attrs.field(converter=_approvals)
    operator: str = attrs.field(converter=to_operator)
    reason: str = attrs.field(converter=to_reason)
    time_msc: int = attrs.field(converter=to_time_msc)
    corrections: tuple[str, ...] = attrs.field(converter=_subjects, default=SUBJECTS)
    signed: bool = attrs.field(converter=_flag, default=False)
    decision: int | None = attrs.field(converter=optional(to_version), default=None)

    def __attrs_post_init__(self) -> None:
        if self.signed and self.approvals < 2:
            raise BadValue("a signature is on the decision of a second person: expected 2 approvals with signed, found 1")


@attrs.frozen(kw_only=True)
class BreakNoted:
    """A person noted something about the break that version ``caused_by`` opened, or took it over: ``owner``."""

    operator: str = attrs.field(converter=to_operator)
    text: str = attrs.field(converter=_text)
    time_msc: int = attrs.field(converter=to_time_msc)
    caused_by: int = attrs.field(converter=to_version)
    owner: str | None = attrs.field(converter=optional(to_operator), default=None)


ApprovalEvent = CorrectionProposed | CorrectionDecided | PolicySet | BreakNoted
