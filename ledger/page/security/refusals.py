"""What the page answers with when it refuses a request, and the headers that every answer has."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

from ledger.text import json_text

if TYPE_CHECKING:
    from starlette.types import Send

#: What a browser may load, run and be embedded in: only what is ours.
_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; base-uri 'none'; "
    "form-action 'self'; frame-ancestors 'none'"
)
HEADERS: Final[Mapping[bytes, bytes]] = {
    b"content-security-policy": _POLICY.encode(),
    b"x-content-type-options": b"nosniff",
    b"referrer-policy": b"no-referrer",
    b"cross-origin-opener-policy": b"same-origin",
    b"cross-origin-resource-policy": b"same-origin",
    b"cache-control": b"no-store",
}
#: What names the program, and so its weaknesses.
_HIDDEN: Final = frozenset({b"server", b"x-powered-by"})
_Headers = list[tuple[bytes, bytes]]


class Refused(Exception):  # it is no error, but an answer
    """A request that is refused.

    Attributes:
        status: Of HTTP.
        code: Which refusal it is, for programs.
        text: What was expected, what was found and what to do.
        retry_sec: After so many seconds the same request may succeed.
    """

    def __init__(self, status: int, code: str, text: str, *, retry_sec: int | None = None) -> None:
        self.status = status
        self.code = code
        self.text = text
        self.retry_sec = retry_sec
        super().__init__(f"{status} {code}: {text}")

    def body(self) -> bytes:
        """Return the error in the form of all errors."""
        return body_of({"error": {"code": self.code, "text": self.text, "retryable": self.retry_sec is not None}})

    def headers(self) -> _Headers:
        """Return what goes with it."""
        more = [] if self.retry_sec is None else [(b"retry-after", b"%d" % self.retry_sec)]
        return [*more, *([(b"allow", b"GET, HEAD, POST")] if self.status == HTTPStatus.METHOD_NOT_ALLOWED else [])]


def body_of(value: Any) -> bytes:
    """Return JSON as bytes."""
    return json_text(value, is_ascii=True).encode("ascii")


def with_headers(headers: _Headers) -> _Headers:
    """Return the headers of an answer with those that every answer has."""
    kept = [(name, value) for name, value in headers if name.lower() not in HEADERS and name.lower() not in _HIDDEN]
    return [*kept, *HEADERS.items()]


async def answer(send: Send, status: int, body: bytes, headers: _Headers) -> None:
    """Send an answer of JSON."""
    own = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body)), *headers]
    await send({"type": "http.response.start", "status": status, "headers": with_headers(own)})
    await send({"type": "http.response.body", "body": body})
