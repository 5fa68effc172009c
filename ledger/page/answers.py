"""What the page answers with when it does not answer with what was asked: errors, waiting, and too much at once."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from ledger.errors import (
    AccountUnknown,
    CorruptEvent,
    GatewayError,
    InputError,
    JournalError,
    LedgerError,
    NotPermitted,
    VersionConflict,
    VersionGap,
)
from ledger.json_views import Json
from ledger.text import json_text
from ledger.values import AccountId

RETRY_SEC: Final = 1
#: What an error is in HTTP; the first line that it is of counts. What may succeed later without any change is 503.
_STATUS: Final[tuple[tuple[type[LedgerError], int], ...]] = (
    (NotPermitted, 403),
    (AccountUnknown, 404),
    (VersionConflict, 409),
    (CorruptEvent, 422),
    (VersionGap, 422),
    (InputError, 400),
)
_VERSION: Final = re.compile(r"\bversions? (?:behind )?(\d+)")


class Unanswered(Exception):  # it is no error
    """Something else than what was asked: a status, a JSON object, headers."""

    def __init__(self, status: int, content: Json, headers: Mapping[str, str] | None = None) -> None:
        self.status = status
        self.content = content
        self.headers = dict(headers or {})
        super().__init__(f"{status}: {content}")


def refusal(status: int, code: str, text: str, *, is_retryable: bool = False, **more: Any) -> Unanswered:
    """Return an error with what was expected, what was found and what to do."""
    headers = {"Retry-After": str(RETRY_SEC)} if status in (429, 503) else {}
    return Unanswered(status, {"error": {"code": code, "text": text, "retryable": is_retryable, **more}}, headers)


def not_found(text: str) -> Unanswered:
    """Return that something is not there."""
    return refusal(404, "NotFound", text)


def too_much(text: str) -> Unanswered:
    """Return that something asks for more than is given at once; the text names what to narrow."""
    return refusal(429, "TooMuch", text, is_retryable=True)


def waiting(job: str, done: int, of: int) -> Unanswered:
    """Return that a job is under way: ask for it, and then again for what was asked."""
    return Unanswered(202, {"job": job, "done": done, "of": of}, {"Retry-After": str(RETRY_SEC)})


def refusal_of(error: LedgerError, account: AccountId | None = None) -> Unanswered:
    """Return what an error of the ledger is in HTTP. One that is of an account's events alone names account and version."""
    status = next((status for kind, status in _STATUS if isinstance(error, kind)), 409)
    if isinstance(error, (JournalError, GatewayError)) and error.retryable and not isinstance(error, VersionConflict):
        status = 503
    more: Json = {}
    if isinstance(error, (CorruptEvent, VersionGap)) and account is not None:
        found = _VERSION.search(str(error))
        more = {"account": str(account), "version": int(found[1]) if found else None, "command": "ledger verify"}
    return refusal(status, type(error).__name__, str(error), is_retryable=error.retryable, **more)


def error_json(error: Exception) -> Json:
    """Return an error as it is a member of another answer."""
    if isinstance(error, LedgerError):
        return {"code": type(error).__name__, "text": str(error), "retryable": error.retryable}
    return {"code": "Fault", "text": f"a fault of the page: {type(error).__name__}", "retryable": False}


def body_of(value: Any) -> bytes:
    """Return JSON as bytes."""
    return json_text(value).encode("utf-8", "backslashreplace")
