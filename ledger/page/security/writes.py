"""What a request to write must have, so that no other page can make a browser send it: cross-site request forgery."""

from __future__ import annotations

import hmac
from typing import Final

from ledger.page.security.refusals import Refused

CSRF_HEADER: Final = b"x-ledger-csrf"
_JSON: Final = b"application/json"
_Headers = list[tuple[bytes, bytes]]


def check_origin(headers: _Headers, origins: tuple[str, ...]) -> None:
    """Refuse a request that another page may have sent.

    A form can send neither JSON nor a header of its own; a script of another origin can, but only after a question that the
    page never answers; and what a browser itself states about the sender no script can change.

    Args:
        headers: Of the request.
        origins: What the page is to a browser that sent it.

    Raises:
        Refused: It may.
    """
    if value_of(headers, b"content-type").partition(b";")[0].strip().lower() != _JSON:
        raise Refused(403, "NotJson", "expected a body of application/json: nothing else writes")
    if value_of(headers, b"sec-fetch-site") != b"same-origin":
        raise Refused(403, "OtherOrigin", "expected Sec-Fetch-Site: same-origin: only the page's own requests write")
    origin = [value for name, value in headers if name == b"origin"]
    if origin and (len(origin) > 1 or origin[0] not in [one.encode() for one in origins]):
        raise Refused(403, "OtherOrigin", "the request was sent by another page: only the page's own requests write")


def check_token(headers: _Headers, csrf: str) -> None:
    """Refuse a request without the token that only the page itself can read.

    Raises:
        Refused: It is not there, or another.
    """
    if not hmac.compare_digest(value_of(headers, CSRF_HEADER), csrf.encode()):
        raise Refused(403, "TokenWrong", "expected X-Ledger-Csrf with what /api/session has as csrf: load the page anew")


def check_reader(headers: _Headers) -> None:
    """Refuse to answer another page's script, which could not read the answer anyway.

    Raises:
        Refused: A browser states that it was one.
    """
    if value_of(headers, b"sec-fetch-site") not in (b"", b"same-origin", b"none"):
        raise Refused(403, "OtherOrigin", "the request was sent by another page: only the page's own requests are answered")


def value_of(headers: _Headers, name: bytes) -> bytes:
    """Return the value of a header; several make one that nothing compares equal to."""
    return b", ".join(value for one, value in headers if one == name)
