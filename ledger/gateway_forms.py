"""What a gateway speaks, as people know it, and what it cannot do."""

from __future__ import annotations

from typing import Any, Final

from attrs import frozen

from ledger.errors import GatewayError
from ledger.gateway.forms import Form
from ledger.gateway.mt5_module import is_module_address
from ledger.reconciler.listing import FIX, PASSES_ON, may_pass_on
from ledger.snapshot import RemoteService, Snapshot

_POSITIONS_ONLY: Final = "positions only: it reports neither account nor server time nor deals"
_READS: Final = "positions, deals, account and symbols"
_PROGRAMS: Final[dict[Form, str]] = {"mql5-json-api": "MQL5-JSON-API", "ejtrader": "MQL5-JSON-API as ejtrader changed it"}
_HOW_TO: Final = '"The server you already have" in the manual'


@frozen
class Spoken:
    """What a gateway speaks: its name, what it offers and what not, and what to do where that is a risk."""

    name: str
    offers: str
    advice: str = ""


def form_of(gateway: Any, snapshot: Snapshot, *, url: str, form: Form) -> Spoken:
    """Return what a gateway speaks, by its answers.

    Args:
        gateway: Is asked for the version of the protocol, where it speaks the extended form.
        snapshot: Its answer.
        url: Its address,
        form: and the form that the settings name.
    """
    if form in _PROGRAMS:
        return Spoken(_PROGRAMS[form], _POSITIONS_ONLY)
    if is_module_address(url):
        return Spoken("MetaTrader 5 in this process", f"{_READS}; no orders, no pushed events")
    if snapshot.is_extended:
        return _extended(_service(gateway))
    if not snapshot.is_engine_form:
        return Spoken("version 1, base form", _POSITIONS_ONLY)
    offers = f"{_POSITIONS_ONLY}; an id and a time of its own in each answer, ok, BUY or SELL, open_price"
    if not may_pass_on(snapshot):
        return Spoken("engine form", offers)
    return Spoken("engine form", offers, f"{PASSES_ON.replace('this gateway passes', 'if it passes')}; {FIX}: see {_HOW_TO}")


def _service(gateway: Any) -> RemoteService | None:
    try:
        service: RemoteService | None = gateway.ping()
    except GatewayError:
        return None
    return service


def _extended(service: RemoteService | None) -> Spoken:
    if service is None:
        return Spoken("version 1, extended form", f"{_READS}; no orders, no pushed events: it is asked at intervals")
    orders = "orders" if "orders" in service.can else "no orders"
    push = "pushed events" if "push" in service.can else "no pushed events: it is asked at intervals"
    return Spoken(f"version {service.protocol}", f"{_READS}; {orders}, {push}")
