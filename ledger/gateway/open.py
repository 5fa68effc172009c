"""Which class speaks to a gateway: the one function that returns a gateway by its endpoint and its form."""

from __future__ import annotations

import os

from ledger.deprecation import arguments
from ledger.errors import BadValue
from ledger.gateway import Gateway
from ledger.gateway.client import TIMEOUT_MS, ZmqGateway
from ledger.gateway.curve import ClientKeys
from ledger.gateway.forms import FORMS, Form
from ledger.gateway.metatrader5 import MetaTrader5Gateway
from ledger.gateway.mql5_json_api import Mql5JsonApiGateway
from ledger.gateway.mt5_module import is_module_address, load_module
from ledger.gateway.mt5_terminal import TIMEOUT_MS as START_TIMEOUT_MS
from ledger.protocol import MESSAGE_BYTES_MAX
from ledger.values import shown


@arguments(timeout_msc="timeout_ms")
def open_gateway(
    endpoint: str,
    *,
    form: Form = "json",
    timeout_ms: int | None = None,
    message_bytes_max: int = MESSAGE_BYTES_MAX,
    keys: ClientKeys | None = None,
    allow_insecure: bool = False,
    terminal: str | os.PathLike[str] | None = None,
) -> Gateway:
    """Return a gateway by its endpoint and the form that it speaks, one of ``FORMS``.

    Args:
        endpoint: ``tcp://HOST:PORT``; or ``mt5:``, a terminal in this process, through the module ``MetaTrader5``, and
            ``mt5:MODULE`` or ``mt5:MODULE:NAME`` through another one with the same calls.
        form: What the gateway speaks.
        timeout_ms: What a call may take: 5 s without it. With ``mt5:`` what the terminal's start may take: 60 s without it.
        message_bytes_max: The largest answer that is taken.
        keys: Ours and the gateway's.
        allow_insecure: Speak to other machines without keys all the same.
        terminal: With ``mt5:`` the terminal's program.

    Raises:
        BadValue: The endpoint is none, the form is not known, something is given that does not go with it, or the module of
            ``mt5:`` is not installed.
        GatewayDenied: As ``ZmqGateway``.
    """
    if form not in FORMS:
        raise BadValue(f"the form of a gateway is one of {', '.join(FORMS)}, found {shown(form)}")
    if is_module_address(endpoint):
        if keys is not None or form != "json":
            raise BadValue(
                f"{endpoint} is a terminal in this process: keys and forms are for gateways on a wire, leave them out"
            )
        return MetaTrader5Gateway(
            load_module(endpoint), path=terminal, timeout_ms=START_TIMEOUT_MS if timeout_ms is None else timeout_ms
        )
    if terminal is not None:
        raise BadValue(f"the path of a terminal goes with mt5:, a terminal in this process, found it with {shown(endpoint)}")
    timeout_ms = TIMEOUT_MS if timeout_ms is None else timeout_ms
    if form == "json":
        return ZmqGateway(
            endpoint, timeout_ms=timeout_ms, message_bytes_max=message_bytes_max, keys=keys, allow_insecure=allow_insecure
        )
    if keys is not None:
        raise BadValue(f"a gateway of the form {form} knows no keys: leave them out, or put a tunnel before it")
    return Mql5JsonApiGateway(
        endpoint,
        answers_at_once=form == "ejtrader",
        timeout_ms=timeout_ms,
        message_bytes_max=message_bytes_max,
        allow_insecure=allow_insecure,
    )
