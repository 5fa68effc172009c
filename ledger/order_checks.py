"""What sending orders rests on, line by line: what the journal holds of an account, and what its gateway states."""

from __future__ import annotations

import os
import stat
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from ledger.errors import BadValue, LedgerError
from ledger.events.orders import Carrier
from ledger.order_decisions import halts, orders_at_head, scope_text
from ledger.orders.limits import Limits
from ledger.orders.view import Orders, how_to_resume
from ledger.service import Account, utc_now_us
from ledger.snapshot import RemoteService, RemoteSymbol

OK: Final = "ok"
WARNING: Final = "warning"
FAILED: Final = "failed"

#: So far our clock and the gateway's may be apart: nothing is sent beyond.
SKEW_MAX_MSC: Final = 2000
_NEEDED: Final = ("orders", "fence")
_SHOWN_MAX: Final = 10
_MASKS: Final = ((1, "FOK"), (2, "IOC"))

#: One line of the list: what, how it is, what was seen, what to do.
Line = tuple[str, str, str, str]


def account_lines(account: Account) -> Iterator[Line]:
    """Look at what the journal holds that sending rests on."""
    _, orders = orders_at_head(account)
    yield _carriers(orders)
    yield from _limits(orders)
    unknown = [one for one in orders.orders(at_utc_msc=account.ledger.now_us() // 1000) if one.is_unknown]
    if unknown:
        seen = f"nobody knows whether {_some(str(one.client_id) for one in unknown)} was executed"
        yield "orders", WARNING, seen, "ledger sync asks the gateway; then ledger orders --unknown"
    else:
        yield "orders", OK, "none is unknown", ""
    for one in halts(account, orders):
        about = scope_text(one.scope, one.name)
        remedy = f"{how_to_resume(one.scope, one.name)} ends it"
        yield "halt", WARNING, f"{about} is halted ({one.mode.value}): {one.reason}", remedy


def _carriers(orders: Orders) -> Line:
    """Look at which fields of the broker's order records were seen to carry a client id."""
    proven = {kind for kind, is_proven in orders.carriers.items() if is_proven}
    broken = set(orders.carriers) - proven
    shown = ", ".join(f"{one.value} {'proven' if one in proven else 'broken'}" for one in orders.carriers)
    if proven:
        return "client ids", WARNING if broken else OK, f"carried by: {shown}", ""
    if broken:
        seen = f"{shown}: the broker changes what was sent"
        return "client ids", WARNING, seen, "an order that is lost is never presumed absent: a person decides (order resolve)"
    advice = "the first order that is found with its token proves it; until then a person decides about a lost one"
    return "client ids", WARNING, f"unproven: no order showed its {Carrier.COMMENT.value} yet", advice


def _limits(orders: Orders) -> Iterator[Line]:
    if orders.limits is None:
        yield "limits", WARNING, "none are set: only an engine's own would apply", "ledger limits set FILE"
        return
    try:
        limits = Limits.of_rules(orders.limits)
    except BadValue as error:
        yield "limits", FAILED, f"they cannot be read, so every order is denied: {error}", "ledger limits set FILE"
        return
    yield "limits", OK, f"{len(limits.rules)} rules: {', '.join(limits.rules)}", ""
    if limits.kill_switch_file is not None:
        yield _kill_switch(Path(limits.kill_switch_file))


def _kill_switch(path: Path) -> Line:
    """Look for the kill switch file as an engine on this machine does: what cannot be read denies."""
    if not path.is_absolute():
        advice = "write an absolute path into the limits"
        return "kill switch", WARNING, f"{path} is looked for in the folder of each engine, here {Path.cwd()}", advice
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        pass
    except (OSError, ValueError) as error:
        return "kill switch", FAILED, f"whether {path} exists cannot be read: {error}", "no order passes that adds risk"
    else:
        return "kill switch", WARNING, f"{path} exists: no new risk", "remove it to trade"
    try:
        is_folder = stat.S_ISDIR(path.parent.stat().st_mode) and os.access(path.parent, os.X_OK)
    except OSError:
        is_folder = False
    if not is_folder:
        return "kill switch", WARNING, f"{path.parent} is no folder that can be searched: nobody can make the file", "make it"
    return "kill switch", OK, f"{path} does not exist", ""


# ---- the gateway


def gateway_lines(gateway: Any, account: Account | None, *, is_asked: bool) -> Iterator[Line]:
    """Look at whether a gateway can be sent orders, and whether it is the one that intents name.

    Args:
        gateway: The gateway.
        account: Whose it is, where that is in the journal.
        is_asked: Whether it speaks the extended form, so that it may be asked for more than positions.
    """
    if not is_asked or not hasattr(gateway, "ping"):
        yield from _no_orders("it does not speak protocol version 2")
        return
    try:
        began_us = utc_now_us()
        service: RemoteService | None = gateway.ping()
        middle_msc = (began_us + utc_now_us()) // 2000
    except LedgerError as error:
        yield "orders", FAILED, f"it does not state what it can: {error}", "ledger gateway serve, beside the terminal"
        return
    if service is None:
        yield from _no_orders("it speaks protocol version 1, and cannot be asked twice about an order")
        return
    missing = [one for one in _NEEDED if one not in service.can]
    if missing:
        yield from _no_orders(
            f"it states that it can {', '.join(sorted(service.can)) or 'nothing'}, expected {' and '.join(missing)}"
        )
        return
    yield "orders", OK, f"protocol version {service.protocol}, with {', '.join(_NEEDED)}", ""
    yield _trading(service)
    yield _skew(service, middle_msc)
    if account is not None:
        yield _store(service, account)
    yield from _filling(gateway, account)


def _no_orders(why: str) -> Iterator[Line]:
    yield "orders", FAILED, f"this gateway takes none: {why}", "ledger gateway serve, beside the terminal"


def _trading(service: RemoteService) -> Line:
    if service.trade_allowed:
        return "trading", OK, "allowed by account, terminal and service", ""
    if service.trade_allowed is None:
        return "trading", WARNING, "it is not stated whether trading is allowed", ""
    advice = "allow algo trading in the terminal and its options; look for an investor password, or a service with --read-only"
    return "trading", FAILED, "not allowed by account, terminal or service: every order is refused", advice


def _skew(service: RemoteService, ours_msc: int) -> Line:
    """Compare our clock, in the middle of the call, with the gateway's."""
    if service.gateway_time_msc is None:
        return "clock skew", WARNING, "the gateway does not state its clock", ""
    skew_msc = service.gateway_time_msc - ours_msc
    seen = f"the gateway's clock is {abs(skew_msc) / 1000:.1f} s {'ahead of' if skew_msc > 0 else 'behind'} ours"
    if abs(skew_msc) <= SKEW_MAX_MSC:
        return "clock skew", OK, seen, ""
    return "clock skew", FAILED, f"{seen}: nothing is sent beyond {SKEW_MAX_MSC // 1000} s", "synchronise both machines (NTP)"


def _store(service: RemoteService, account: Account) -> Line:
    pinned = orders_at_head(account)[1].pinned_store
    if pinned is None:
        return "store", OK, f"{service.store}; none is pinned yet, the first order pins it", ""
    if pinned == service.store:
        return "store", OK, f"{service.store}, the pinned one", ""
    advice = "start the service with the pinned store; if that is lost: ledger gateway pin"
    return "store", FAILED, f"{service.store}, orders are pinned to {pinned}: none is sent", advice


def _filling(gateway: Any, account: Account | None) -> Iterator[Line]:
    try:
        symbols: Sequence[RemoteSymbol] = gateway.symbols()
    except LedgerError as error:
        yield "filling", WARNING, f"the symbols cannot be read: {error}", ""
        return
    known = {one.symbol: one for one in symbols}
    wanted = () if account is None else _traded(account)
    if wanted:
        missing = [name for name in wanted if name not in known]
        if missing:
            advice = "add them to the terminal's market watch, or correct the limits"
            yield "symbols", FAILED, f"the broker does not list {_some(missing)}", advice
        shown = _some(f"{name} {_mask_text(known[name].filling_mode)}" for name in wanted if name in known)
    else:
        counts = Counter(_mask_text(one.filling_mode) for one in symbols)
        shown = ", ".join(f"{count} with {mask}" for mask, count in sorted(counts.items()))
    unstated = [one for one in symbols if one.filling_mode is None and (not wanted or one.symbol in wanted)]
    advice = "a filling has to be named with each order" if unstated else ""
    yield "filling", WARNING if unstated else OK, shown or "no symbols", advice


def _traded(account: Account) -> tuple[str, ...]:
    """Return the symbols that an account trades: those that its limits allow, and those of open positions."""
    _, orders = orders_at_head(account)
    allowed: Iterable[str] = ()
    if orders.limits is not None:
        try:
            allowed = Limits.of_rules(orders.limits).symbols or ()
        except BadValue:
            allowed = ()
    return tuple(sorted({*allowed, *(one.symbol for one in account.portfolio.positions.values())}))


def _mask_text(mask: int | None) -> str:
    if mask is None:
        return "filling not stated"
    return "/".join(word for bit, word in _MASKS if mask & bit) or "neither FOK nor IOC"


def _some(names: Iterable[str]) -> str:
    listed = list(names)
    more = f" and {len(listed) - _SHOWN_MAX} more" if len(listed) > _SHOWN_MAX else ""
    return f"{', '.join(listed[:_SHOWN_MAX])}{more}"
