"""This module is what happened in one line: for every kind of event, in 80 columns where its texts allow it.

The first part of a line is always complete; details are added as long as they fit. Text from outside is not escaped here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from typing import Any, Final

from ledger.clock import utc_text
from ledger.codec import plain_fields
from ledger.events import DealRevised, Origin, Recorded
from ledger.mt5 import ORDER_STATE_NAMES
from ledger.terms import AccountTerms
from ledger.values import CASH_WORDS, plain

WIDTH: Final = 80
_KIND_WIDTH: Final = 12
#: An event that was recorded so long after it happened is late; an import's deals all are, so that lateness means nothing for
#: them.
LATE_MSC: Final = 60_000
#: So begins the correlation of all that an import records; the digest of its files follows.
IMPORT_CORRELATION: Final = "import:"

#: A part that is always there, and details in the order of their worth.
_Parts = tuple[str, Iterable[str]]
_Line = Callable[[Mapping[str, Any], AccountTerms], _Parts]

#: A position in the words of a break (``reconcile.decide``).
_POSITION: Final = re.compile(r"(?P<side>buy|sell) (?P<volume>\S+) (?P<symbol>.+) @ (?P<price_open>[^@]+)", re.DOTALL)


def event_line(recorded: Recorded, terms: AccountTerms, *, version_width: int = 0) -> str:
    """Return an event as a line: version, event time (UTC), kind, what happened.

    Args:
        recorded: The event.
        terms: What its account is read with.
        version_width: Columns of the version, so that lines of one listing are in line.
    """
    time = utc_text(_utc_msc(recorded, terms))[5:19].replace("T", " ")
    mark = "?" if recorded.is_ambiguous else " "  # the clock showed this time twice, and nothing decided
    head = f"{f'v{recorded.version}':<{version_width}} {time}{mark}{recorded.kind:<{_KIND_WIDTH}} "
    always, details = describe(recorded, terms)
    line = head + always
    for detail in details:
        if len(line) + len(detail) <= WIDTH:
            line += detail
    return line


def describe(recorded: Recorded, terms: AccountTerms) -> _Parts:
    """Return what happened, without when: the part that is always there, and details."""
    event = recorded.event
    data = plain_fields(event.now if isinstance(event, DealRevised) else event)
    always, details = LINES.get(recorded.kind, _plain)(data, terms)
    late = lag_msc(recorded, terms)
    is_live = getattr(event, "origin", None) in (Origin.ENGINE, Origin.RECOVERY)
    return always, [f" late {_span(late)}", *details] if is_live and late > LATE_MSC else details


def lag_msc(recorded: Recorded, terms: AccountTerms) -> int:
    """Return how long after it happened an event was recorded, in milliseconds."""
    return recorded.recorded_us // 1000 - _utc_msc(recorded, terms)


def is_imported(recorded: Recorded) -> bool:
    """Return whether an event was recorded by an import: of its past nothing could be known earlier."""
    is_of_import = (recorded.correlation or "").startswith(IMPORT_CORRELATION)
    return is_of_import or getattr(recorded.event, "origin", None) is Origin.IMPORT


def is_late(recorded: Recorded, terms: AccountTerms) -> bool:
    """Return whether an event was recorded late, which an import never is."""
    return lag_msc(recorded, terms) > LATE_MSC and not is_imported(recorded)


def year(recorded: Recorded, terms: AccountTerms) -> str:
    """Return the year of an event, in UTC: lines do not have it."""
    return utc_text(_utc_msc(recorded, terms))[:4]


def _utc_msc(recorded: Recorded, terms: AccountTerms) -> int:
    return terms.clock.to_utc_msc(recorded.event.time_msc) if recorded.utc_msc is None else recorded.utc_msc


def _span(msc: int) -> str:
    for unit, size in (("d", 86_400_000), ("h", 3_600_000)):
        if msc >= 2 * size:
            return f"{msc // size}{unit}"
    return f"{msc // 60_000}m"


# ------------------------------------------------------------------------------------------------------- the kinds


def _account_opened(data: Mapping[str, Any], _: AccountTerms) -> _Parts:
    return f"{data['currency']} {data['mode']}, server clock {data['clock']}", ()


def _symbol_specified(data: Mapping[str, Any], _: AccountTerms) -> _Parts:
    known = {"digits": "digits", "volume_step": "step", "contract_size": "contract", "currency": "in"}
    return data["symbol"], [f", {word} {data[name]}" for name, word in known.items() if name in data]


def _fill(data: Mapping[str, Any], terms: AccountTerms) -> _Parts:
    profit = data.get("profit")
    closes = data["entry"] != "in"
    if profit is None:
        money = ", result unknown" if closes else ""
    else:
        money = f" {_signed(profit, terms)}" if closes or Decimal(profit) else ""
    return f"{data['side']} {data['entry']} {_size(data)} @ {data['price']}{money}", _of_deal(data)


def _cash(data: Mapping[str, Any], terms: AccountTerms) -> _Parts:
    word = data["word"] if "word" in data else CASH_WORDS.get(data["type"], f"type {data['type']}")
    about = f" {data['symbol']}" if "symbol" in data else ""
    return f"{word}{about} {_signed(data['profit'], terms)}", [*_of_deal(data), *_quoted(data, "comment")]


def _completed(data: Mapping[str, Any], terms: AccountTerms) -> _Parts:
    money = [f"{name} {_signed(data[name], terms)}" for name in ("profit", "commission", "swap", "fee") if name in data]
    rest = [f"{word} {data[name]}" for name, word in (("position_id", "position"), ("magic", "magic")) if name in data]
    first, *others = [*money, *rest] or ["nothing new"]
    return f"deal {data['deal']}: {first}", [f", {one}" for one in others]


def _revised(data: Mapping[str, Any], terms: AccountTerms) -> _Parts:
    now, _ = (_fill if "side" in data else _cash)(data, terms)
    return f"deal {data['deal']} now {now}", ()


def _recovered(data: Mapping[str, Any], _: AccountTerms) -> _Parts:
    state = data["position"]
    return f"{state['position_id']} {state['side']} {_size(state)} @ {state['price_open']}", (" from the broker",)


def _ghost_closed(data: Mapping[str, Any], _: AccountTerms) -> _Parts:
    state = data["before"]
    return f"{state['position_id']} {state['side']} {_size(state)}, result unknown", ()


def _drift_corrected(data: Mapping[str, Any], _: AccountTerms) -> _Parts:
    before, after = data["before"], data["after"]
    return f"{after['position_id']} {changed_fields(before, after)}", (f", {after['symbol']}",)


def _reticketed(data: Mapping[str, Any], _: AccountTerms) -> _Parts:
    return f"{data['position_id']} ticket -> {data['ticket_after']}", (f" {data['symbol']}", f", was {data['ticket_before']}")


def _break_opened(data: Mapping[str, Any], _: AccountTerms) -> _Parts:
    ours, theirs, seen, tried = data.get("ours"), data.get("theirs"), data["confirmations"], data["attempts"]
    details = [f", seen {seen}x" if seen > 1 else "", f", tried {tried}x" if tried else ""]
    about = _about(data)
    match data["kind"]:
        case "ghost" if ours:
            return f"{about}: {short_position(ours)}", [", broker none", *details]
        case "zombie" if theirs:
            return f"{about}: broker {short_position(theirs)}", [", we none", *details]
        case "drift" if ours and theirs and "field" in data:
            return f"{about}: {differing_fields(data['field'], ours, theirs)}", details
    sides = [f"ours {ours}" if ours else "", f"broker {theirs}" if theirs else ""]
    what = ", ".join(filter(None, sides)) or data.get("why", "")
    return f"{about}: {what}" if what else about, details


def _break_closed(data: Mapping[str, Any], _: AccountTerms) -> _Parts:
    return f"{_about(data)} {data['end']}", (f", opened v{data['caused_by']}",)


def _degraded(data: Mapping[str, Any], _: AccountTerms) -> _Parts:
    return str(data["reason"]), ()


def _restored(_: Mapping[str, Any], __: AccountTerms) -> _Parts:
    return "snapshots are usable again", ()


def _balance(data: Mapping[str, Any], terms: AccountTerms) -> _Parts:
    if "credit" not in data:
        return f"broker states {money_text(data['balance'], terms)} with credit", ()
    return f"broker states {money_text(data['balance'], terms)}", (f", credit {money_text(data['credit'], terms)}",)


def _adjusted(data: Mapping[str, Any], terms: AccountTerms) -> _Parts:
    parts = [
        f"{name} {shown(data[f'{name}_before'], terms)} -> {shown(data[f'{name}_after'], terms)}"
        for name, shown in (("balance", money_text), ("credit", money_text), ("clock", _as_it_is), ("order", _as_it_is))
        if f"{name}_before" in data
    ]
    before, after = data.get("before"), data.get("after")
    if before and after:
        parts.append(f"{after['position_id']} {changed_fields(before, after)}")
    elif before:
        parts.append(f"closed {before['position_id']} {before['side']} {_size(before)}")
    elif after:
        parts.append(f"added {after['position_id']} {after['side']} {_size(after)}")
    if "deal" in data:
        parts.append(f"withdrew deal {data['deal']}")
    if "accepted" in data:
        accepted = data["accepted"]
        parts.append(f"accepted {accepted['volume']} {accepted['symbol']} of {accepted.get('position_id', 'no position')}")
    return f"{', '.join(parts)}{_by(data)}", (f", decided v{data['decision']}" if "decision" in data else "",)


def _identified(data: Mapping[str, Any], _: AccountTerms) -> _Parts:
    return f"gateway of {data.get('server')}/{data.get('login')}", (f", {data['form']} form" if "form" in data else "",)


def _relaxed(data: Mapping[str, Any], _: AccountTerms) -> _Parts:
    return f"base form allowed{_by(data)}", ()


def _required(data: Mapping[str, Any], _: AccountTerms) -> _Parts:
    return f"identity required{_by(data)}", ()


def _order_intended(data: Mapping[str, Any], _: AccountTerms) -> _Parts:
    return f"{data['client_id']} {_request(data)}", _of_order(data)


def _order_denied(data: Mapping[str, Any], _: AccountTerms) -> _Parts:
    bounds = f", limit {data['limit']}, found {data.get('value')}" if "limit" in data else ""
    return f"{data['client_id']} {_request(data)}: {data['rule']}", (bounds, f", {data['why']}")


def _order_answered(data: Mapping[str, Any], _: AccountTerms) -> _Parts:
    code = f" {data['retcode']}" if "retcode" in data else ""
    details = [f", {word} {data[word]}" for word in ("order", "deal") if data.get(word)]
    return f"{data['client_id']} {data['verdict']}{code}", [*details, *_quoted(data, "comment")]


def _order_seen(data: Mapping[str, Any], _: AccountTerms) -> _Parts:
    state = ORDER_STATE_NAMES.get(data["state"], f"state {data['state']}").replace("_", " ")
    rest = f"{data['volume_current']} left of {data['volume_initial']} {data['symbol']}"
    whose = f", ours {data['client_id']}" if "client_id" in data else ", not ours"
    return f"{data['ticket']} {state}, {rest}", (whose, *_quoted(data, "comment"))


def _order_resolved(data: Mapping[str, Any], _: AccountTerms) -> _Parts:
    by = _by(data) if "operator" in data else ""
    tickets = ", ".join(map(str, data["tickets"]))
    return f"{data['client_id']} {data['outcome']} by {data['basis']}{by}", (f", ticket {tickets}" if tickets else "",)


def _stops_seen(data: Mapping[str, Any], _: AccountTerms) -> _Parts:
    stops = ", ".join(f"{name} {data[name]}" for name in ("sl", "tp") if name in data)
    return f"{data['position_id']} {stops or 'stops unknown'}", (
        f", asked by {data['client_id']}" if "client_id" in data else "",
    )


def _limits_set(data: Mapping[str, Any], _: AccountTerms) -> _Parts:
    return f"limits set{_by(data)}", (f" {data['rules']}",)


def _halted(data: Mapping[str, Any], _: AccountTerms) -> _Parts:
    by = _by(data) if "operator" in data else f' by rule {data["rule"]}: "{data["reason"]}"'
    return f"{_scope(data)}{' halted' if data['mode'] == 'all' else ': no new risk,'}{by}", ()


def _resumed(data: Mapping[str, Any], _: AccountTerms) -> _Parts:
    return f"{_scope(data)} resumed{_by(data)}", ()


def _carrier_proven(data: Mapping[str, Any], _: AccountTerms) -> _Parts:
    return f"{data['kind']} of {data['ticket']} came back as sent", ()


def _carrier_broken(data: Mapping[str, Any], _: AccountTerms) -> _Parts:
    return f"{data['kind']} of {data['ticket']} came back changed", _quoted(data, "found")


def _store_pinned(data: Mapping[str, Any], _: AccountTerms) -> _Parts:
    by = f" by {data['operator']}" if "operator" in data else ", the first"
    return f'{data["store"]}{by}: "{data["reason"]}"', ()


def _proposed(data: Mapping[str, Any], _: AccountTerms) -> _Parts:
    urgent = "urgent: " if data.get("urgent") else ""
    lapses = utc_text(data["lapses_utc_msc"])[11:16]
    return f"{urgent}{recipe_text(data['correction'])}{_by(data)}", (*_for(data["correction"]), f", lapses {lapses}")


def _decided(data: Mapping[str, Any], _: AccountTerms) -> _Parts:
    reason = f': "{data["reason"]}"' if "reason" in data else ""
    signed = ", signed" if "signature" in data else ""
    changed = f", changed: {', '.join(data['changed'])}" if "changed" in data else ""
    return f"v{data['caused_by']} {data['outcome']} by {data['operator']}{signed}{reason}", (changed,)


def _policy_set(data: Mapping[str, Any], _: AccountTerms) -> _Parts:
    allowed = f", decided v{data['decision']}" if "decision" in data else ""
    return f"{policy_text(data)}{_by(data)}", (*_for(data), allowed)


def _break_noted(data: Mapping[str, Any], _: AccountTerms) -> _Parts:
    owner = f", owner {data['owner']}" if "owner" in data else ""
    return f'break v{data["caused_by"]}{owner}: "{data["text"]}" by {data["operator"]}', ()


def _plain(data: Mapping[str, Any], _: AccountTerms) -> _Parts:
    """Describe a kind that has no line of its own by its fields."""
    return ", ".join(f"{name} {value}" for name, value in data.items()), ()


#: Kind -> its line. A test finds kinds that have none.
LINES: Final[Mapping[str, _Line]] = {
    "AccountOpened": _account_opened,
    "SymbolSpecified": _symbol_specified,
    "FillRecorded": _fill,
    "CashMoved": _cash,
    "DealCompleted": _completed,
    "DealRevised": _revised,
    "PositionRecovered": _recovered,
    "GhostClosed": _ghost_closed,
    "DriftCorrected": _drift_corrected,
    "PositionReticketed": _reticketed,
    "BreakOpened": _break_opened,
    "BreakClosed": _break_closed,
    "SyncDegraded": _degraded,
    "SyncRestored": _restored,
    "BalanceAsserted": _balance,
    "Adjusted": _adjusted,
    "GatewayIdentified": _identified,
    "IdentityRelaxed": _relaxed,
    "IdentityRequired": _required,
    "OrderIntended": _order_intended,
    "OrderDenied": _order_denied,
    "OrderAnswered": _order_answered,
    "OrderSeen": _order_seen,
    "OrderResolved": _order_resolved,
    "StopsSeen": _stops_seen,
    "LimitsSet": _limits_set,
    "TradingHalted": _halted,
    "TradingResumed": _resumed,
    "CarrierProven": _carrier_proven,
    "CarrierBroken": _carrier_broken,
    "StorePinned": _store_pinned,
    "CorrectionProposed": _proposed,
    "CorrectionDecided": _decided,
    "PolicySet": _policy_set,
    "BreakNoted": _break_noted,
}


# --------------------------------------------------------------------------------------------------------- words


def money_text(amount: str, terms: AccountTerms) -> str:
    """Return an amount with the decimals of the account's currency."""
    return plain(Decimal(amount), decimals=terms.opened.currency_digits)


def _signed(amount: str, terms: AccountTerms) -> str:
    shown = money_text(amount, terms)
    return shown if shown.startswith("-") else f"+{shown}"


def _as_it_is(value: str, _: AccountTerms) -> str:
    return value


def _size(data: Mapping[str, Any]) -> str:
    return f"{data['volume']} {data['symbol']}"


def _request(data: Mapping[str, Any]) -> str:
    """Return what an order request asks for."""
    words = [data["kind"], data.get("type"), data.get("side"), data.get("volume"), data.get("symbol")]
    price = f"@ {data['price']}" if "price" in data else None
    return " ".join(
        str(one).replace("_", " ") if one in (data["kind"], data.get("type")) else str(one) for one in [*words, price] if one
    )


def _of_order(data: Mapping[str, Any]) -> list[str]:
    about = (("position_id", "position"), ("by_position_id", "by"), ("target_order", "order"), ("target_client_id", "order"))
    return [f", {word} {data[name]}" for name, word in (*about, ("sl", "sl"), ("tp", "tp")) if name in data]


def recipe_text(recipe: Mapping[str, Any]) -> str:
    """Return what a correction would do, as it was asked for: "close 7", "update 7 volume 0.20", "balance 9.50"."""
    what = recipe["what"]
    if what == "policy" and "approvals" in recipe:
        return f"policy: {policy_text(recipe)}"
    given = {name: _argument(value) for name, value in recipe.items() if name != "what" and value is not None}
    if what == "add" and "price_open" in given:
        given["price_open"] = f"@ {given['price_open']}"
    alone = _ALONE | {"volume", "price_open"} if what == "add" else _ALONE | {what}
    return " ".join([what, *(one if name in alone else f"{name.replace('_', ' ')} {one}" for name, one in given.items())])


def policy_text(policy: Mapping[str, Any]) -> str:
    """Return how many persons correct."""
    return "one person corrects" if policy["approvals"] == 1 else f"two persons{', signed' if policy.get('signed') else ''}"


def _for(policy: Mapping[str, Any]) -> list[str]:
    """Name what a policy asks two persons for."""
    return [f", for {_argument(policy['corrections'])}"] if policy.get("approvals", 1) != 1 and "corrections" in policy else []


#: Arguments of corrections that need no name beside them.
_ALONE: Final = {"position_id", "symbol", "side", "rule"}


def _argument(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)


def _scope(data: Mapping[str, Any]) -> str:
    return " ".join(filter(None, (data["scope"], data.get("name"))))


def _of_deal(data: Mapping[str, Any]) -> list[str]:
    return [f", {word} {data[name]}" for name, word in (("deal", "deal"), ("position_id", "position")) if name in data]


def _quoted(data: Mapping[str, Any], name: str) -> list[str]:
    return [f' "{data[name]}"'] if name in data else []


def _by(data: Mapping[str, Any]) -> str:
    return f' by {data.get("operator")}: "{data.get("reason")}"'


def _about(data: Mapping[str, Any]) -> str:
    """Name a break: its kind, and what it is about."""
    about = data.get("position_id") or ("deal" in data and f"deal {data['deal']}") or data.get("field") or data.get("symbol")
    if data["kind"] == "order":
        words = [data.get("order") or data.get("client_id"), data.get("field")]
        about = " ".join(str(word) for word in words if word is not None)
    return f"{data['kind']} {about}" if about else str(data["kind"])


def short_position(side: str) -> str:
    """Return one side of a break without its price."""
    found = _POSITION.fullmatch(side)
    return f"{found['side']} {found['volume']} {found['symbol']}" if found else side


def differing_fields(fields: str, ours: str, theirs: str) -> str:
    """Return the fields that differ, where the sides are positions in words; else both sides."""
    one, other = _POSITION.fullmatch(ours), _POSITION.fullmatch(theirs)
    names = fields.split(",")
    if one is None or other is None or not set(names) <= one.groupdict().keys():
        return f"{fields} {ours}, broker {theirs}"
    return "; ".join(f"{name.replace('_', ' ')} {one[name]}, broker {other[name]}" for name in names)


def changed_fields(before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    """Return what changed of a position: the fields that differ, before and after."""
    names = [name for name in ("side", "volume", "symbol", "price_open", "magic") if before.get(name) != after.get(name)]
    arrow = " -> " if len(names) == 1 else "->"
    changes = [f"{name.replace('_', ' ')} {before.get(name, '?')}{arrow}{after.get(name, '?')}" for name in names]
    return ", ".join(changes) or "as it was"
