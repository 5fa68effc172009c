"""One HTTP request: with a timeout, without redirects, its URL a secret."""

from __future__ import annotations

import base64
import ssl
import urllib.request
from collections.abc import Mapping
from functools import cache
from typing import Any, Final
from urllib.parse import SplitResult, unquote, urlsplit

from ledger.alerts.channels import DeliveryFailed, reason_of

_AGENT: Final = "mt5-position-ledger"


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """Refuses to follow: what is sent is for the host that the settings name, and nobody else."""

    def redirect_request(self, *_: Any) -> None:
        return None


def request(url: str, *, timeout_sec: float, body: bytes | None = None, headers: Mapping[str, str] | None = None) -> None:
    """Send a POST with a body, a GET without one.

    Args:
        url: Where; user and password in it are sent as such (Basic).
        timeout_sec: How long the receiver may be silent.
        body: What is sent.
        headers: Beside those of every request.

    Raises:
        DeliveryFailed: The answer is not one of success, or there is none.
    """
    address, authorization = _split(url)
    made = urllib.request.Request(address, data=body, method="GET" if body is None else "POST")  # noqa: S310  # checked
    for name, content in {"User-Agent": _AGENT, **authorization, **(headers or {})}.items():
        made.add_unredirected_header(name, content)
    try:
        with _opener().open(made, timeout=timeout_sec) as answer:
            answer.read(1)
    except Exception as error:  # noqa: BLE001  # libraries raise much, and their texts repeat the URL
        raise DeliveryFailed(reason_of(error)) from None


@cache
def _opener() -> urllib.request.OpenerDirector:
    """Return what sends requests. Reading the system's certificates takes longer than a request."""
    return urllib.request.build_opener(_NoRedirects(), urllib.request.HTTPSHandler(context=ssl.create_default_context()))


def _split(url: str) -> tuple[str, dict[str, str]]:
    """Return a URL without user and password, and the header that has them.

    Raises:
        DeliveryFailed: It is no URL.
    """
    try:
        found = urlsplit(url)
        port = found.port
    except ValueError:
        found, port = SplitResult("", "", "", "", ""), None
    is_plain = url.isascii() and url.isprintable() and " " not in url
    if found.scheme not in ("http", "https") or not found.hostname or not is_plain:
        raise DeliveryFailed("expected a URL that begins with https:// or http://, found something else") from None
    host = f"[{found.hostname}]" if ":" in found.hostname else found.hostname
    address = found._replace(netloc=host if port is None else f"{host}:{port}", fragment="").geturl()
    if found.username is None:
        return address, {}
    user = f"{unquote(found.username)}:{unquote(found.password or '')}"
    return address, {"Authorization": f"Basic {base64.b64encode(user.encode()).decode()}"}
