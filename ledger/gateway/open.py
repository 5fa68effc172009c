"""Which class speaks to a gateway: the one function that returns a gateway by its endpoint and its form."""

from __future__ import annotations

from ledger.deprecation import arguments
from ledger.errors import BadValue
from ledger.gateway import Gateway
from ledger.gateway.client import TIMEOUT_MS, ZmqGateway
from ledger.gateway.curve import ClientKeys
from ledger.gateway.forms import FORMS, Form
from ledger.gateway.mql5_json_api import Mql5JsonApiGateway
from ledger.protocol import MESSAGE_BYTES_MAX
from ledger.values import shown


@arguments(timeout_msc="timeout_ms")
def open_gateway(
    endpoint: str,
    *,
    form: Form = "json",
    timeout_ms: int = TIMEOUT_MS,
    message_bytes_max: int = MESSAGE_BYTES_MAX,
    keys: ClientKeys | None = None,
    allow_insecure: bool = False,
) -> Gateway:
    """Return a gateway by its endpoint and the form that it speaks, one of ``FORMS``.

    Raises:
        BadValue: The endpoint is none, the form is not known, or keys are given for a form that knows none.
        GatewayDenied: As ``ZmqGateway``.
    """
    if form not in FORMS:
        raise BadValue(f"the form of a gateway is one of {', '.join(FORMS)}, found {shown(form)}")
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
