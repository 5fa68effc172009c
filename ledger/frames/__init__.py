"""Frames: trades, deals, positions, events and equity as tables of pandas, polars or pyarrow.

    ledger.account("Broker-Live/70113").trades_frame(since="2026-06-01", symbols=["EURUSD"])

Identifiers and versions are nullable 64-bit integers, never floats; times are UTC with a zone, in microseconds; money, prices
and volumes are decimals, exactly the figures of the JSON output; what is not known is null. Everything is built as Arrow
columns, some thousand rows at a time, and given to the library that was asked for without a copy where that is possible.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final, Literal, TypedDict, Unpack

from attrs import frozen

from ledger.errors import BadValue, JournalUnavailable
from ledger.frames.columns import Block, Columns, Kind
from ledger.frames.rows import (
    BALANCES,
    DEALS,
    EQUITY,
    EVENTS,
    POSITIONS,
    TRADES,
    Asked,
    balances,
    deals,
    derived_trades,
    equity,
    events,
    is_derived,
    positions,
    trades,
)
from ledger.values import shown

if TYPE_CHECKING:
    from ledger.service import Account, Moment

Library = Literal["pandas", "polars", "pyarrow"]
LIBRARIES: Final = ("pandas", "polars", "pyarrow")
#: The extra of this package that brings a library.
_EXTRAS: Final = {"pandas": "pandas", "polars": "polars", "pyarrow": "parquet"}


class FrameOptions(TypedDict, total=False):
    """What a frame is asked for. Filters select rows, not what is folded.

    Attributes:
        since: From this moment on: trades by their close, deals, events and equity by their own time.
        until: Up to this moment, which belongs to it; positions are those of the moment.
        known_at: What the ledger believed then.
        symbols: Only these.
        magics: Only these magic numbers.
        library: ``pandas`` (without it), ``polars`` or ``pyarrow``.
        floats: Decimals as binary floats: easier to compute with, and not exact.
    """

    since: Moment
    until: Moment
    known_at: Moment
    symbols: Collection[str] | None
    magics: Collection[int] | None
    library: Library
    floats: bool


@frozen
class _Form:
    """A kind of frame: its columns and what makes its blocks of rows."""

    columns: tuple[tuple[str, Kind], ...]
    blocks: Callable[[Account, Asked, Columns], Iterator[Block]]


_FORMS: Final = {
    "trades": _Form(TRADES, trades),
    "deals": _Form(DEALS, deals),
    "positions": _Form(POSITIONS, positions),
    "balance": _Form(BALANCES, balances),
    "events": _Form(EVENTS, events),
    "equity": _Form(EQUITY, equity),
}


def frame(name: str, accounts: Sequence[Account], **options: Unpack[FrameOptions]) -> Any:
    """Return a frame of some accounts, one behind the other.

    Args:
        name: ``trades``, ``deals``, ``positions``, ``balance``, ``events`` or ``equity``.
        accounts: Whose.
        options: See ``FrameOptions``.

    Raises:
        BadValue: An option is not what it has to be.
        JournalUnavailable: The library is not installed.
        AccountUnknown: An account was not opened.
    """
    library, floats = options.pop("library", "pandas"), options.pop("floats", False)
    if library not in LIBRARIES:
        raise BadValue(f"expected a library of {', '.join(LIBRARIES)}, found {shown(library)}")
    require(library)
    return _as_asked(Rows(name, accounts, **options).table(floats=floats), library)


class Rows:
    """What a frame is made of, some rows at a time. Arguments and errors as ``frame``, of which it takes no library."""

    def __init__(self, name: str, accounts: Sequence[Account], **options: Unpack[FrameOptions]) -> None:
        self._form, self._accounts, self._asked = _FORMS[name], accounts, Asked.of(**options)
        self.columns = Columns(self._form.columns, [account.terms for account in accounts])

    @property
    def names(self) -> list[str]:
        """The names of the columns."""
        return [name for name, _ in self._form.columns]

    def table(self, *, floats: bool) -> Any:
        """Return all rows as an Arrow table: trades from the derived tables where these are of the present version.

        Args:
            floats: Decimals as 64-bit floats.
        """
        import pyarrow as pa

        if self._form is not _FORMS["trades"] or not self._accounts:
            return self.columns.table(self.blocks(), floats=floats)
        return pa.concat_tables([self._trades(account, floats=floats) for account in self._accounts])

    def _trades(self, account: Account, *, floats: bool) -> Any:
        if not is_derived(account, self._asked):
            return self.columns.table(trades(account, self._asked, self.columns), floats=floats)
        return account.derived.read(
            lambda _: self.columns.table(derived_trades(account, self._asked, self.columns), floats=floats)
        )

    def blocks(self) -> Iterator[Block]:
        """Yield the rows, one account behind the other."""
        return (block for account in self._accounts for block in self._form.blocks(account, self._asked, self.columns))


def require(library: str) -> None:
    """Refuse what a library is needed for that is not installed, or pyarrow under it.

    Raises:
        JournalUnavailable: It is not installed.
    """
    from importlib.util import find_spec

    for needed in (library, "pyarrow"):
        if find_spec(needed) is None:
            raise JournalUnavailable(
                f"a frame of {library} needs {needed}, which is not installed: "
                f"pip install 'mt5-position-ledger[{_EXTRAS[library]}]'"
            )


def _as_asked(table: Any, library: str) -> Any:
    if library == "pyarrow":
        return table
    if library == "polars":
        import polars as pl

        return pl.from_arrow(table)
    import pandas as pd

    return table.to_pandas(types_mapper=pd.ArrowDtype)
