"""The effect of a correction: what it would change, as JSON values that can be compared between two versions of an account.

It holds no time of recording, no version and no operator, so that it stays the same as long as it means the same: a fill of
another position in between changes nothing of it, another volume of the position in question does.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from decimal import Decimal
from hashlib import sha256
from typing import Any, Final

from ledger.events import Adjusted, BreakClosed, Event, PolicySet
from ledger.events.approvals import SUBJECTS
from ledger.events.plain import plain_fields
from ledger.portfolio import Portfolio
from ledger.values import plain, unsigned_magic

#: Effects, recipes and policies as JSON values.
Json = dict[str, Any]

#: What two records of one correction may differ in: by whom, why, when, and behind which other events.
_INCIDENTAL: Final = frozenset({"operator", "reason", "caused_by", "decision"})
_TIMES: Final = ("opened_msc", "updated_msc")
#: What the correction of a recipe is about; a policy is about none of it.
_SUBJECTS_OF: Final[Mapping[str, frozenset[str]]] = {
    **{what: frozenset(("position",)) for what in ("add", "close", "update")},
    "balance": frozenset(("balance", "credit")),
    **{what: frozenset((what,)) for what in ("withdrawal", "acceptance", "clock", "order")},
}
_POSITION: Final = ("symbol", "side", "volume", "price_open", "magic")


def canonical(value: Mapping[str, Any]) -> bytes:
    """Return the one spelling of JSON values: names in order, no spaces, UTF-8."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), sort_keys=True, allow_nan=False).encode()


def digest_of(effect: Mapping[str, Any]) -> str:
    """Return the digest of an effect: the SHA-256 of its canonical bytes, in hex."""
    return sha256(canonical(effect)).hexdigest()


def adjustment_of(event: Adjusted | PolicySet) -> Json:
    """Return what an event corrects, whoever recorded it whenever.

    Of a position that was open, when it was opened is no part of it: sources know it to the second or to the millisecond.
    """
    found = {name: value for name, value in plain_fields(event, magic=unsigned_magic).items() if name not in _INCIDENTAL}
    before, after = found.get("before"), found.get("after")
    if after is not None:
        known = before or {}
        found["after"] = {name: one for name, one in after.items() if name not in _TIMES or known.get(name) != one}
    if before is not None:
        found["before"] = {name: one for name, one in before.items() if name not in _TIMES}
    if isinstance(event, PolicySet):
        found["corrections"] = list(event.corrections)
    return found


def effect_of(events: Iterable[Event], before: Portfolio, after: Portfolio) -> Json:
    """Return the effect of a correction.

    Args:
        events: What it would record.
        before: The portfolio that it rests on; it names the breaks that end.
        after: The portfolio with it.
    """
    breaks = {one.version: one for one in before.breaks}
    recorded = list(events)
    ended = [breaks[one.caused_by] for one in recorded if isinstance(one, BreakClosed) and one.caused_by in breaks]
    found: Json = {
        "adjusted": [adjustment_of(one) for one in recorded if isinstance(one, (Adjusted, PolicySet))],
        "breaks": [
            {name: value for name, value in _break(one).items() if value is not None}
            for one in sorted(ended, key=lambda one: one.version or 0)
        ],
        "positions": dict(_positions(before, after)),
        "unexplained": dict(_unexplained(before, after)),
    }
    moved = {name: getattr(after, name) - getattr(before, name) for name in ("balance", "credit")}
    found["money"] = {name: plain(by) for name, by in moved.items() if by}
    return {name: value for name, value in found.items() if value}


def _break(one: Any) -> Json:
    about: Json = {name: getattr(one, name) for name in ("position_id", "deal", "order", "client_id")}
    return {"kind": one.kind.value, **about, "field": one.field if one.position_id is None else None}


def _positions(before: Portfolio, after: Portfolio) -> Iterator[tuple[str, list[Json | None]]]:
    """Yield the positions that would be other ones: id -> as it is, as it would be."""
    for position_id in sorted(before.positions.keys() | after.positions.keys()):
        sides = [_position(one.positions.get(position_id)) for one in (before, after)]
        if sides[0] != sides[1]:
            yield str(position_id), sides


def _position(one: Any) -> Json | None:
    return None if one is None else {name: _text(getattr(one, name)) for name in _POSITION}


def _text(value: Any) -> Any:
    return plain(value) if isinstance(value, Decimal) else getattr(value, "value", value)


def _unexplained(before: Portfolio, after: Portfolio) -> Iterator[tuple[str, list[str]]]:
    """Yield what would be unexplained otherwise: what it is about -> volume as it is, as it would be."""
    sides = []
    for one in (before, after):
        volumes: dict[str, Decimal] = {}
        for each in one.unexplained:
            about = f"{each.kind} {each.position_id or each.symbol}"
            volumes[about] = volumes.get(about, Decimal(0)) + each.volume
        sides.append(volumes)
    for about in sorted(sides[0].keys() | sides[1].keys()):
        volumes_of = [side.get(about, Decimal(0)) for side in sides]
        if volumes_of[0] != volumes_of[1]:
            yield about, [plain(one) for one in volumes_of]


def subjects_of(adjusted: Mapping[str, Any]) -> frozenset[str]:
    """Return what a policy can ask two persons for that a correction is about, by the fields of its ``Adjusted``."""
    found = {
        "position": "before" in adjusted or "after" in adjusted,
        "balance": "balance_after" in adjusted,
        "credit": "credit_after" in adjusted,
        "withdrawal": "deal" in adjusted,
        "acceptance": "accepted" in adjusted,
        "clock": "clock_after" in adjusted,
        "order": "order_after" in adjusted,
    }
    return frozenset(name for name in SUBJECTS if found[name])


def is_of(correction: Mapping[str, Any], adjusted: object) -> bool:
    """Return whether what an effect states as adjusted is what a correction of that kind can adjust."""
    if not isinstance(adjusted, list) or not adjusted or not all(isinstance(one, dict) for one in adjusted):
        return False
    if correction["what"] == "policy":
        rule = {name: value for name, value in correction.items() if name != "what"}
        return adjusted == [rule]
    subjects = _SUBJECTS_OF[correction["what"]]
    return all(subjects_of(one) and subjects_of(one) <= subjects for one in adjusted)


def changes(then: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, list[Any]]:
    """Return what differs between two effects: its path -> as proposed, as it is now; None where it is not there."""
    left, right = dict(_leaves(then)), dict(_leaves(now))
    paths = sorted(left.keys() | right.keys())
    return {path: [left.get(path), right.get(path)] for path in paths if left.get(path) != right.get(path)}


def _leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    named: Iterable[tuple[Any, Any]]
    if isinstance(value, Mapping):
        named = value.items()
    elif isinstance(value, list):
        named = enumerate(value)
    else:
        yield path, value
        return
    for name, one in named:
        yield from _leaves(one, f"{path}.{name}" if path else str(name))
