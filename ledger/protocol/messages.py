"""The messages of the gateway protocol as values: what a client asks, and what a server answers.

A ``Query`` is what is asked. A ``Request`` is one that arrived at a server, with the id that its answer has to echo. An
``Answer`` is what the server sends back; its rows have the field names of MetaTrader 5, with numbers and words as JSON writes
them. What the client makes of an answer are the values of ``ledger.snapshot``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Final

from attrs import field, frozen

from ledger.values import MarginMode

Row = Mapping[str, Any]

#: The fields that a position has in the base form.
BASE_FIELDS: Final = ("ticket", "symbol", "type", "volume", "price_open", "profit", "time")


# ---- what is asked


@frozen(kw_only=True)
class GetPositions:
    """Ask for the open positions. ``*`` means those of all symbols."""

    action: ClassVar[str] = "GET_POSITIONS"
    symbol: str = "*"


@frozen(kw_only=True)
class GetDeals:
    """Ask for the deals of a span of broker server time, both ends included, or for those of one position."""

    action: ClassVar[str] = "GET_DEALS"
    from_msc: int | None = None
    to_msc: int | None = None
    position: int | None = None


@frozen(kw_only=True)
class GetAccount:
    """Ask for the account: its currency, margin mode and money."""

    action: ClassVar[str] = "GET_ACCOUNT"


@frozen(kw_only=True)
class GetSymbols:
    """Ask for the specifications of the symbols."""

    action: ClassVar[str] = "GET_SYMBOLS"


@frozen(kw_only=True)
class Ping:
    """Ask whether the gateway is there."""

    action: ClassVar[str] = "PING"


Query = GetPositions | GetDeals | GetAccount | GetSymbols | Ping


@frozen(kw_only=True)
class Request:
    """A request as it arrived: its action, and all its fields as JSON has them, of which none is checked yet."""

    action: str
    fields: Row

    @property
    def echo(self) -> Row:
        """What the answer has to repeat: the id, whatever was sent as one; nothing where none was."""
        return {"req_id": self.fields["req_id"]} if "req_id" in self.fields else {}


# ---- what is answered


@frozen(kw_only=True)
class Head:
    """What a good answer of the extended form states of account and terminal. What is None is left out."""

    login: int | None
    server: str | None
    margin_mode: MarginMode
    server_time_msc: int | None
    connected: bool


@frozen(kw_only=True)
class EncodedRows:
    """Rows that are written already, for a server that is asked for the same ones again and again."""

    raw: bytes
    count: int


@frozen(kw_only=True)
class Positions:
    """Answer to ``GetPositions``. Without a head it is of the base form.

    ``rows`` is None where the terminal has none to give: null, which no client takes for an empty list. ``count`` is how many
    there are, where that is not the length of ``rows``.
    """

    head: Head | None
    rows: Sequence[Row] | EncodedRows | None
    count: int | None = None


@frozen(kw_only=True)
class Deals:
    """Answer to ``GetDeals``."""

    head: Head
    rows: Sequence[Row]


@frozen(kw_only=True)
class Account:
    """Answer to ``GetAccount``."""

    head: Head
    account: Row


@frozen(kw_only=True)
class Symbols:
    """Answer to ``GetSymbols``."""

    head: Head
    rows: Sequence[Row]


@frozen(kw_only=True)
class Pong:
    """Answer to ``Ping``."""

    head: Head


@frozen
class Refusal:
    """An error as an answer, to any request."""

    code: str
    text: str


@frozen(kw_only=True)
class Extension:
    """A good answer to an action that only this server has."""

    fields: Row = field(factory=dict)


Answer = Positions | Deals | Account | Symbols | Pong | Refusal | Extension
