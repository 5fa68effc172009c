"""Typed columns as Arrow arrays: integers stay integers, and decimals are made of scaled integers without a detour."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from enum import Enum
from typing import Any, Final

from ledger.terms import AccountTerms
from ledger.values import MONEY_SCALE, PRICE_SCALE, VOLUME_SCALE, unscaled

#: The digits of a 64-bit integer. A decimal has no more than it needs: a sum of two columns has one digit more, and there are
#: at most 38.
_DIGITS: Final = 19
_DIGITS_MAX: Final = 38


class Kind(Enum):
    """What a column holds.

    Decimals come as scaled integers, with the scale of ``Columns``, or as exact texts; times as UTC microseconds.
    """

    TEXT = "text"
    INTEGER = "integer"
    UNSIGNED = "unsigned"
    FLAG = "flag"
    TIME = "time"
    MONEY = "money"
    PRICE = "price"
    VOLUME = "volume"


_DECIMALS: Final = (Kind.MONEY, Kind.PRICE, Kind.VOLUME)
#: A block of rows: name -> the values of the column. A plain text is the same in every row.
Block = Mapping[str, "Sequence[Any] | str"]


class Columns:
    """The columns of a frame over some accounts.

    Attributes:
        scales: Kind of decimal -> the decimals of its columns: as many as the finest of all accounts and symbols.
    """

    def __init__(self, columns: Sequence[tuple[str, Kind]], terms: Sequence[AccountTerms]) -> None:
        self._columns = columns
        symbols = [scales for one in terms for scales in map(one.scales, one.symbols)]
        scales = {
            Kind.MONEY: [one.opened.money_scale for one in terms] or [MONEY_SCALE],
            Kind.PRICE: [PRICE_SCALE, *(price for price, _ in symbols)],
            Kind.VOLUME: [VOLUME_SCALE, *(volume for _, volume in symbols)],
        }
        self.scales = {kind: max(found) for kind, found in scales.items()}
        self._digits = {kind: min(_DIGITS_MAX, _DIGITS + max(found) - min(found)) for kind, found in scales.items()}

    def factor(self, kind: Kind, scale: int) -> int:
        """Return what brings integers of a scale to that of the columns of a kind."""
        factor: int = 10 ** (self.scales[kind] - scale)
        return factor

    def schema(self) -> Any:
        """Return the Arrow schema of the columns."""
        import pyarrow as pa

        return pa.schema([(name, self._type(kind)) for name, kind in self._columns])

    def batches(self, blocks: Iterable[Block]) -> Iterator[Any]:
        """Yield the blocks as Arrow record batches."""
        schema = self.schema()
        return (self._batch(block, schema) for block in blocks)

    def table(self, blocks: Iterable[Block], *, floats: bool) -> Any:
        """Return the blocks as one Arrow table.

        Args:
            blocks: The rows, some at a time.
            floats: Decimals as 64-bit floats.
        """
        import pyarrow as pa

        schema = self.schema()
        table = pa.Table.from_batches(self.batches(blocks), schema=schema)
        if not floats:
            return table
        return table.cast(
            pa.schema([(name, pa.float64() if kind in _DECIMALS else schema.field(name).type) for name, kind in self._columns])
        )

    def _type(self, kind: Kind) -> Any:
        import pyarrow as pa

        if kind in self.scales:
            return pa.decimal128(self._digits[kind], self.scales[kind])
        return {
            Kind.TEXT: pa.string(),
            Kind.INTEGER: pa.int64(),
            Kind.UNSIGNED: pa.uint64(),
            Kind.FLAG: pa.bool_(),
            Kind.TIME: pa.timestamp("us", tz="UTC"),
        }[kind]

    def _batch(self, block: Block, schema: Any) -> Any:
        import pyarrow as pa

        size = next(len(values) for values in block.values() if not isinstance(values, str))
        arrays = []
        for name, kind in self._columns:
            values = block[name]
            if isinstance(values, str):
                arrays.append(pa.repeat(pa.scalar(values, pa.string()), size))
            elif kind in self.scales:
                is_text = isinstance(next((one for one in values if one is not None), None), str)
                arrays.append(
                    _of_texts(values, schema.field(name).type) if is_text else _decimals(values, schema.field(name).type)
                )
            elif kind is Kind.TIME:
                arrays.append(pa.array(values, pa.int64()).cast(schema.field(name).type))
            else:
                arrays.append(pa.array(values, schema.field(name).type))
        return pa.record_batch(arrays, schema=schema)


def _of_texts(texts: Sequence[str | None], kind: Any) -> Any:
    """Return exact texts as decimals of a type."""
    import pyarrow as pa

    return pa.array(texts, pa.string()).cast(kind)


def _decimals(units: Sequence[Any], kind: Any) -> Any:
    """Return scaled integers as decimals of a type: 128 bits each, of which only the type says where the point is."""
    import pyarrow as pa

    first = units[0] if units else None
    if len(units) > 1 and units.count(first) == len(units):  # as commission, fee and swap often are
        return pa.repeat(_decimals(units[:1], kind)[0], len(units))
    try:
        whole = pa.array(units, pa.int64()).cast(pa.decimal128(kind.precision, 0))
    except (OverflowError, pa.ArrowInvalid):  # an integer of more than 64 bits, of a scale that another account has made finer
        return pa.array([None if one is None else unscaled(one, kind.scale) for one in units], kind)
    return pa.Array.from_buffers(kind, len(whole), whole.buffers(), whole.null_count)
