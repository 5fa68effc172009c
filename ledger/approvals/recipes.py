"""The recipes of corrections: which there are, and their arguments as JSON values of one spelling. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

from ledger.clock import to_clock
from ledger.errors import BadValue
from ledger.events import DealOrder, PolicySet
from ledger.events.approvals import RECIPES
from ledger.events.fields import to_positive, to_symbol, to_ticket, to_time_msc
from ledger.values import exact, plain, shown, to_magic, to_side, to_word


class Arguments(NamedTuple):
    """The arguments of a recipe: those that it needs, and those that may be left out."""

    needed: tuple[str, ...]
    others: tuple[str, ...] = ()


#: What a recipe needs, and what may be left out of it.
ARGUMENTS: Final[Mapping[str, Arguments]] = {
    "add": Arguments(("position_id", "symbol", "side", "volume", "price_open"), ("magic", "opened_msc")),
    "close": Arguments(("position_id",)),
    "update": Arguments(("position_id",), ("side", "volume", "price_open", "magic")),
    "balance": Arguments((), ("balance", "credit")),
    "withdrawal": Arguments(("deal",)),
    "acceptance": Arguments((), ("position_id", "symbol")),
    "clock": Arguments(("clock",)),
    "order": Arguments(("order",)),
    "policy": Arguments(("approvals",), ("corrections", "signed")),
}
assert tuple(ARGUMENTS) == RECIPES


def _number(value: Any) -> str:
    return plain(exact(value))


_SPELLINGS: Final[Mapping[str, Callable[[Any], Any]]] = {
    "position_id": to_ticket,
    "symbol": to_symbol,
    "side": lambda value: to_side(value).name.lower(),
    "volume": lambda value: plain(to_positive(value)),
    "price_open": _number,
    "magic": to_magic,
    "opened_msc": to_time_msc,
    "balance": _number,
    "credit": _number,
    "deal": to_ticket,
    "clock": lambda value: to_clock(value).name,
    "order": lambda value: to_word(value, DealOrder).value,
}


def to_recipe(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return a recipe with its arguments in one spelling; those that are None are left out.

    Raises:
        BadValue: There is no such recipe, or an argument is missing, is none of it, or is not what it has to be.
    """
    what = dict(given).get("what")
    if not isinstance(what, str) or what not in ARGUMENTS:
        raise BadValue(f"expected a correction whose what is one of {', '.join(RECIPES)}, found {shown(what)}")
    needed, others = ARGUMENTS[what]
    arguments = {name: value for name, value in given.items() if name != "what" and value is not None}
    strange = [name for name in arguments if name not in (*needed, *others)]
    missing = [name for name in needed if name not in arguments]
    if strange or missing:
        wrong = f"without {missing[0]}" if missing else f"with {shown(strange[0])}"
        optional = f", and if wanted {', '.join(others)}" if others else ""
        raise BadValue(f"expected {what} with {', '.join(needed) or 'one of these'}{optional}, found one {wrong}")
    if what == "policy":
        return {"what": what, **_policy(arguments)}
    if not arguments:
        raise BadValue(f"expected {what} with at least one of {', '.join(others)}, found none")
    return {"what": what, **{name: _SPELLINGS[name](arguments[name]) for name in (*needed, *others) if name in arguments}}


def _policy(arguments: Mapping[str, Any]) -> dict[str, Any]:
    event = PolicySet(operator="-", reason="-", time_msc=0, **arguments)
    return {"approvals": event.approvals, "corrections": list(event.corrections), "signed": event.signed}
