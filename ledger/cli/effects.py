"""The effect of a correction as people read it: each line of the portfolio that would change, before and after.

It is made of the effect alone, as it is recorded with a proposal: so that whoever signs it elsewhere, without a journal, sees
the same as whoever approves it here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from ledger.cli.output import print_line, print_table
from ledger.event_lines import policy_text
from ledger.text import json_text

_NONE: Final = "none"
_SHOWN: Final = {"position_id", "symbol", "side", "volume", "price_open", "magic"}


def print_effect(title: str, effect: Mapping[str, Any]) -> None:
    """Print what a correction would change, and the breaks that it would end."""
    try:
        rows, lines = effect_rows(effect), list(break_lines(effect))
    except (AttributeError, KeyError, TypeError, ValueError):  # somebody else than the ledger wrote it
        print_line(f"{title}, in a way that cannot be shown: {json_text(effect)}", "red")
        return
    print_table(title, ["", "before", "after"], rows, empty="nothing")
    for line in lines:
        print_line(line)


def effect_rows(effect: Mapping[str, Any]) -> list[list[str]]:
    """Return a row for each line of the portfolio that changes: what it is, as it is, as it would be."""
    rows = [
        [str(position_id), *(_position(one) for one in sides)] for position_id, sides in effect.get("positions", {}).items()
    ]
    rows += [row for one in effect.get("adjusted", ()) for row in _adjusted(one)]
    rows += [["policy", *map(_policy, effect["policy"])]] if "policy" in effect else []
    named = {row[0] for row in rows}
    rows += [[name, "", f"moves by {by}"] for name, by in effect.get("money", {}).items() if name not in named]
    return rows + [_unexplained(about, sides) for about, sides in effect.get("unexplained", {}).items()]


def _unexplained(about: str, sides: Sequence[Any]) -> list[str]:
    """Return the row of what would be unexplained otherwise; ``about`` is its kind, and the position or the symbol."""
    kind, _, name = about.rpartition(" ")
    return [name, *("nothing unexplained" if str(one) == "0" else f"{kind} {one}" for one in sides)]


def break_lines(effect: Mapping[str, Any]) -> Iterator[str]:
    """Yield a line for each break that would end."""
    for one in effect.get("breaks", ()):
        about = next((one[name] for name in ("position_id", "deal", "order", "client_id", "field") if one.get(name)), "")
        yield f"the open break {one['kind']} {about}".rstrip() + " would end as accepted"


def path_words(path: str) -> str:
    """Return what a part of an effect is about, by its path: "positions.7.0.volume" is "7 before: volume"."""
    part, *rest = path.split(".")
    if part == "adjusted" and len(rest) > 1:
        return " ".join(rest[1:]).replace("_", " ")
    if part == "money":
        return f"{' '.join(rest)} moves by"
    if part == "positions" and len(rest) > 1:
        return f"{rest[0]} {_SIDES.get(rest[1], rest[1])}{': ' if rest[2:] else ''}{' '.join(rest[2:])}"
    return " ".join((part, *rest))


#: The sides of what changes, by their place in an effect.
_SIDES: Final = {"0": "before", "1": "after"}


def _adjusted(one: Mapping[str, Any]) -> Iterator[list[str]]:
    before, after = one.get("before") or {}, one.get("after") or {}
    for name in sorted(after.keys() - _SHOWN):  # what no row of positions shows
        if after[name] != before.get(name):
            about = f"{after['position_id']} {name.replace('_', ' ')}"
            yield [about, str(before.get(name, _NONE)), str(after[name])]
    for name in ("balance", "credit", "clock", "order"):
        if f"{name}_after" in one:
            yield [name, str(one[f"{name}_before"]), str(one[f"{name}_after"])]
    if "deal" in one:
        yield [f"deal {one['deal']}", "counts", "withdrawn"]
    if "accepted" in one:
        accepted = one["accepted"]
        about = accepted.get("position_id") or accepted["symbol"]
        yield [str(about), f"{accepted['volume']} {accepted['symbol']} unexplained", "accepted"]


def _policy(policy: Mapping[str, Any]) -> str:
    return f"{policy_text(policy)}{_for(policy)}"


def _for(policy: Mapping[str, Any]) -> str:
    corrections: Sequence[str] = policy.get("corrections", ())
    return "" if policy["approvals"] == 1 else f" for {', '.join(corrections)}"


def _position(item: Mapping[str, Any] | None) -> str:
    if item is None:
        return _NONE
    magic = f", magic {item['magic']}" if item.get("magic") else ""
    return f"{item['side']} {item['volume']} {item['symbol']} @ {item['price_open']}{magic}"
