"""Which names the page is called by. A browser that is made to call it by another one is refused: that is DNS rebinding."""

from __future__ import annotations

import re
from typing import Final

from ledger.page.security.refusals import Refused
from ledger.page_settings import HOST, PageSettings

#: What a browser calls this machine by, and never asks a name server about.
LOOPBACK: Final = ("127.0.0.1", "localhost", "[::1]")
_HEADER: Final = re.compile(rb"([A-Za-z0-9](?:[A-Za-z0-9.-]{0,251}[A-Za-z0-9])?|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{1,5})?")


def allowed_hosts(settings: PageSettings) -> frozenset[str]:
    """Return the names that a request may call the page by."""
    return frozenset({HOST, *LOOPBACK, *settings.hosts})


def check_host(headers: list[tuple[bytes, bytes]], allowed: frozenset[str]) -> str:
    """Return the name that a request calls the page by, in lower case and without a port.

    Raises:
        Refused: None, several, or one that is not the page's.
    """
    found = [value for name, value in headers if name == b"host"]
    matched = _HEADER.fullmatch(found[0]) if len(found) == 1 else None
    host = matched[1].decode("ascii").lower() if matched else ""
    if host not in allowed:
        raise Refused(
            421,
            "HostUnknown",
            "the page is not called by this name here: open the printed link, or start it with --host and the name",
        )
    return host


def has_cookie_of_its_own(host: str) -> bool:
    """Return whether a browser sends a cookie of this name to nobody else: one of 127.0.0.1 goes to each of its ports."""
    return host not in LOOPBACK and f"[{host}]" not in LOOPBACK
