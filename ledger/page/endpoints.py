"""The endpoints of the page as data: one table that the router and the OpenAPI description are both made of.

    Endpoint(method, path, summary, run, answer, parameters)

``run`` is a plain function of a ``Call``: it returns JSON values, or a ``Download``; what it raises becomes the answer too
(``ledger.page.answers``). It runs in a thread, so that it may read the journal.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from attrs import field, frozen

from ledger.clock import moment_end_us, moment_span_us, written_time
from ledger.errors import AccountUnknown, BadValue
from ledger.json_views import Json
from ledger.page.principals import Principal, Role
from ledger.service import Account, utc_now_us
from ledger.values import INT64_MAX, AccountId

if TYPE_CHECKING:
    from ledger.page.desk import Desk

#: So many rows are in one answer.
ROWS_MAX: Final = 500
#: So many columns a chart has.
COLUMNS_MAX: Final = 2000
_TEXT_MAX: Final = 500
#: The names of parameters that are the two ends of a window.
WINDOWS: Final = (("from", "to"), ("since", "until"), ("recorded_from", "recorded_to"))
#: What can be written as a date in UTC, in microseconds: other zones reach beyond both ends.
_FIRST_US: Final = -62_135_596_800_000_000
_LAST_US: Final = 253_402_300_799_999_999


@frozen(kw_only=True)
class Parameter:
    """A parameter of a query: its name, what it is about, how it is read, and its JSON schema."""

    name: str
    about: str
    read: Callable[[str], Any]
    schema: Json
    default: Any = None
    is_repeated: bool = False

    def of(self, given: list[str]) -> Any:
        """Return its value of the texts that a query gives.

        Raises:
            BadValue: One is none, or it is given more than once.
        """
        if self.is_repeated:
            return tuple(self._read(one) for one in given)
        if len(given) > 1:
            raise BadValue(f"expected {self.name} once, found {len(given)} times")
        return self._read(given[0]) if given and given[0] != "" else self.default

    def _read(self, text: str) -> Any:
        try:
            return self.read(text)
        except BadValue as error:
            raise BadValue(f"{self.name}: {error}") from None


@frozen(kw_only=True)
class Call:
    """A request that was understood: who asks, of which account, and what its parameters are."""

    desk: Desk
    principal: Principal
    path: Mapping[str, Any]
    query: Mapping[str, Any]
    body: Mapping[str, Any] = field(factory=dict)
    csrf: str | None = None

    @property
    def name(self) -> AccountId:
        """The account that the path names."""
        return AccountId(self.path["server"], self.path["login"])

    @property
    def account(self) -> Account:
        """The account that the path names, to read.

        Raises:
            AccountUnknown: The journal does not hold it.
        """
        name = self.name
        found = self.desk.source.reader.account(name)
        if not found.is_open:
            self.desk.source.reader.forget(name)  # a name from outside, which is not remembered
            raise AccountUnknown(f"account {name} is not in this journal")
        return found


@frozen(kw_only=True)
class Download:
    """An answer that is a file."""

    name: str
    content: bytes
    media: str


@frozen(kw_only=True)
class Endpoint:
    """What is asked by a method and a path.

    Attributes:
        method: GET or POST.
        path: With names in braces.
        summary: A sentence about it.
        run: Makes the answer.
        answer: The name of its schema (``ledger.page.schemas``), or of a media type.
        parameters: Those of its query.
        body: The name of the schema of its body; None for none.
        role: Who may ask.
    """

    method: str
    path: str
    summary: str
    run: Callable[[Call], Any]
    answer: str
    parameters: tuple[Parameter, ...] = ()
    body: str | None = None
    role: Role = Role.VIEWER


# ------------------------------------------------------------------------------------------------- kinds of parameters


def text(name: str, about: str) -> Parameter:
    """Return a parameter that is a short text."""

    def read(value: str) -> str:
        if len(value) > _TEXT_MAX:
            raise BadValue(f"expected at most {_TEXT_MAX} characters, found {len(value)}")
        if "\0" in value:
            raise BadValue("expected text, found a character that is none (NUL)")
        return value

    return Parameter(name=name, about=about, read=read, schema={"type": "string", "maxLength": _TEXT_MAX})


def whole(name: str, about: str, *, least: int = 0, most: int = INT64_MAX, default: int | None = None) -> Parameter:
    """Return a parameter that is a whole number."""

    def read(value: str) -> int:
        digits = value.removeprefix("-")
        if not (digits.isascii() and digits.isdigit() and len(digits) <= 19) or not least <= int(value) <= most:
            raise BadValue(f"expected a whole number from {least} to {most}, found {value[:40]!r}")
        return int(value)

    schema: Json = {"type": "integer", "minimum": least, "maximum": most}
    if default is not None:
        schema["default"] = default
    return Parameter(name=name, about=about, read=read, schema=schema, default=default)


def choice(name: str, about: str, *words: str, default: str | None = None) -> Parameter:
    """Return a parameter that is one of some words."""

    def read(value: str) -> str:
        if value not in words:
            raise BadValue(f"expected one of {', '.join(words)}, found {value[:40]!r}")
        return value

    schema: Json = {"type": "string", "enum": list(words)}
    if default is not None:
        schema["default"] = default
    return Parameter(name=name, about=about, read=read, schema=schema, default=default)


def flag(name: str, about: str) -> Parameter:
    """Return a parameter that is 1 for yes."""

    def read(value: str) -> bool:
        if value not in ("0", "1"):
            raise BadValue(f"expected 0 or 1, found {value[:40]!r}")
        return value == "1"

    return Parameter(name=name, about=about, read=read, schema={"type": "string", "enum": ["0", "1"]}, default=False)


def moment(name: str, about: str) -> Parameter:
    """Return a parameter that is a written time, or so long before now."""
    schema: Json = {"type": "string", "maxLength": 40, "examples": ["2026-06-15T12:00:05Z", "24h"]}
    return Parameter(name=name, about=about, read=lambda value: written_time(value, utc_now_us()), schema=schema)


def check_windows(query: Mapping[str, Any]) -> None:
    """Check that every window that a query names ends after it begins.

    Raises:
        BadValue: One does not.
    """
    for begin, end in WINDOWS:
        first, last = query.get(begin), query.get(end)
        if first is not None and last is not None and moment_end_us(last) <= moment_span_us(first)[0]:
            raise BadValue(f"expected a window that ends after it begins, found {begin} {first} and {end} {last}")


def writable_us(utc_us: int) -> int:
    """Return a moment, or the nearest that can be written as a date in UTC."""
    return min(max(utc_us, _FIRST_US), _LAST_US)


def several(one: Parameter) -> Parameter:
    """Return a parameter that may be given more than once."""
    schema: Json = {"type": "array", "items": one.schema, "maxItems": 50}
    return Parameter(name=one.name, about=one.about, read=one.read, schema=schema, default=(), is_repeated=True)


def path_parameters(path: str) -> list[str]:
    """Return the names in braces of a path, in their order."""
    return re.findall(r"{(\w+)}", path)
