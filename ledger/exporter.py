"""The export: every event of a journal as one flat record, in formats that data tools read, and the import of JSON lines.

A record has everything that the chain covers, so that a journal can be made of JSON lines again: numbers exact (decimal, never
binary), broker time in milliseconds as it was recorded, event time and recorded time in UTC.
"""

from __future__ import annotations

import csv
import json
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from decimal import Decimal, InvalidOperation
from itertools import groupby, islice
from pathlib import Path
from typing import IO, Any, Final, NamedTuple

from attrs import frozen

from ledger.clock import MICROSECOND, UTC_EPOCH
from ledger.codec import Stored, decode
from ledger.errors import AccountMismatch, BadValue, CorruptEvent, JournalUnavailable, LedgerError, MalformedExport
from ledger.frames.export import csv_value
from ledger.journal import Head, RawRows
from ledger.journal.admission import admit_verbatim, start
from ledger.journal.evidence import StoredEvidence, decompress, required
from ledger.output_files import require_writable, written_whole
from ledger.postings import MONEY
from ledger.service import Account, Ledger
from ledger.terms import TERMS_KINDS, AccountTerms, terms_after
from ledger.values import (
    ENTRY_WORDS,
    TRADES,
    AccountId,
    Side,
    entry_word,
    plain,
    scaled,
    signed_magic,
    unscaled,
    unsigned_magic,
)

Progress = Callable[[int], object]

_AT_ONCE: Final = 2000
_DEAL_SIDES: Final = (Side.BUY.value, Side.SELL.value)

FORMATS: Final = ("parquet", "csv", "jsonl")


class Record(NamedTuple):
    """One event, flat. The chain covers all of it but server, login, event time and side, which follow from the rest.

    ``recorded_at`` and ``event_time`` are UTC; ``broker_msc`` is the trade server's own clock in milliseconds. ``data`` is what
    of events other than deals, as JSON. Numbers are None where they are not known.
    """

    server: str
    login: int
    version: int
    kind: str
    event_time: datetime
    recorded_at: datetime
    broker_msc: int
    position_id: int | None
    deal: int | None
    order: int | None
    symbol: str | None
    side: str | None
    entry: str | None
    volume: Decimal | None
    price: Decimal | None
    commission: Decimal | None
    fee: Decimal | None
    swap: Decimal | None
    profit: Decimal | None
    magic: int | None
    reason: int | None
    comment: str | None
    origin: str | None
    deal_type: int | None
    natural_key: str
    caused_by: int | None
    correlation: str | None
    evidence: str | None
    schema: int
    data: str | None
    hash: str


_TIMES: Final = {"event_time", "recorded_at"}
_DECIMALS: Final = {"volume", "price", "commission", "fee", "swap", "profit"}
_INTEGERS: Final = {
    "login", "version", "broker_msc", "position_id", "deal", "order", "magic", "reason", "deal_type", "caused_by", "schema",
}  # fmt: skip


def record(account: AccountId, row: Stored, terms: AccountTerms) -> Record:
    """Return a stored row as a record."""
    price_scale, volume_scale = terms.scales(row.symbol or "")
    money = {name: _unscaled(getattr(row, name), terms.opened.money_scale) for name in MONEY}
    return Record(
        server=account.server,
        login=account.login,
        version=row.version,
        kind=row.kind,
        event_time=UTC_EPOCH + terms.clock.to_utc_msc(row.time_msc) * 1000 * MICROSECOND,
        recorded_at=UTC_EPOCH + row.recorded_us * MICROSECOND,
        broker_msc=row.time_msc,
        position_id=row.position_id,
        deal=row.deal,
        order=row.order_ticket,
        symbol=row.symbol,
        side=_DEAL_SIDES[row.deal_type] if row.deal_type in TRADES else None,
        entry=None if row.entry is None else entry_word(row.entry),
        volume=_unscaled(row.volume, volume_scale),
        price=_unscaled(row.price, price_scale),
        magic=unsigned_magic(row.magic),
        reason=row.reason,
        comment=row.comment,
        origin=row.origin,
        deal_type=row.deal_type,
        natural_key=row.natural_key,
        caused_by=row.caused_by,
        correlation=row.correlation,
        evidence=row.evidence,
        schema=row.schema,
        data=row.data,
        hash=row.hash.hex(),
        **money,
    )


def _unscaled(units: int | None, scale: int) -> Decimal | None:
    return None if units is None else unscaled(units, scale)


def records(account: Account, upto: int) -> Iterator[list[Record]]:
    """Yield an account's records up to a version, oldest first, some at a time. Times are shown by the clock rule of now."""
    terms = account.terms
    for at in range(0, upto, _AT_ONCE):
        # Read to the end each time, so that nothing is left open whatever becomes of the file.
        rows = list(account.ledger.journal.rows(account.name, after=at, upto=min(at + _AT_ONCE, upto)))
        yield [record(account.name, row, terms) for row in rows]


# ------------------------------------------------------------------------------------------------------------- writing


@frozen(kw_only=True)
class Exported:
    """What an export wrote: account -> where it stood."""

    file: str
    format: str
    heads: dict[AccountId, Head]

    @property
    def events(self) -> int:
        """How many events it holds."""
        return sum(head.version for head in self.heads.values())


def export(
    ledger: Ledger,
    accounts: Sequence[Account],
    path: Path,
    format_: str,
    progress: Progress = lambda _: None,
    *,
    force: bool = True,
) -> Exported:
    """Write all events of some accounts to a file, as of one moment, in constant memory. The file is whole or not there.

    Args:
        ledger: The journal.
        accounts: Which, one behind the other.
        path: The file; replaced if it is there.
        format_: One of ``FORMATS``.
        progress: Called with the number of events written since the last call.
        force: Replace any file but a database; without it, only an earlier export.

    Raises:
        BadValue: There is no such format, or the file is the journal, another database, or not to be replaced.
        JournalUnavailable: The library for the format is not installed.
    """
    heads = ledger.journal.heads()
    chosen = {account: heads[account.name] for account in accounts if account.name in heads}
    require_writable(path, journal=ledger.journal.file(), is_ours=is_earlier_export, force=force)
    with written_whole(path) as partial, _writer(format_, partial, ledger.journal) as write:
        for account, head in chosen.items():
            for some in records(account, head.version):
                write(account.name, some)
                progress(len(some))
    return Exported(file=str(path), format=format_, heads={account.name: head for account, head in chosen.items()})


def is_earlier_export(path: Path) -> bool:
    """Return whether a file is an export that was made before, in any of the formats."""
    with path.open("rb") as file:
        begin = file.read(4096).lstrip(b"\xef\xbb\xbf")
    if begin.startswith(_PARQUET):
        return _has_our_columns(path)
    return begin.startswith(",".join(Record._fields).encode()) or is_export(path)


_PARQUET: Final = b"PAR1"


def _has_our_columns(path: Path) -> bool:
    try:
        from pyarrow.parquet import read_schema

        names = read_schema(path).names
    except (ModuleNotFoundError, OSError, ValueError):
        return False
    return bool(names == list(Record._fields))


_Write = Callable[[AccountId, Sequence[Record]], object]


@contextmanager
def _writer(format_: str, path: Path, journal: RawRows) -> Iterator[_Write]:
    match format_:
        case "parquet":
            with _parquet(path) as write:
                yield write
        case "csv":
            with path.open("w", encoding="utf-8", newline="") as file:
                rows = csv.writer(file)
                rows.writerow(Record._fields)
                yield lambda _, some: rows.writerows(map(csv_value, one) for one in some)
        case "jsonl":
            with path.open("w", encoding="utf-8", newline="\n") as file:
                yield _json_lines(file, journal)
        case _:
            raise BadValue(f"expected a format of {', '.join(FORMATS)}, found {format_!r}")


def _text(value: Any) -> Any:
    if isinstance(value, Decimal):
        return plain(value)
    return value.isoformat(timespec="microseconds").replace("+00:00", "Z") if isinstance(value, datetime) else value


@contextmanager
def _parquet(path: Path) -> Iterator[_Write]:
    try:
        import pyarrow as pa
        from pyarrow.parquet import ParquetWriter
    except ModuleNotFoundError as error:
        raise JournalUnavailable(
            f"the library for Parquet is not installed ({error}): pip install 'mt5-position-ledger[parquet]'"
        ) from error
    # Every 64-bit number fits with up to 18 decimals, whatever the scale of its account or symbol.
    decimal, time, integer, text = pa.decimal128(38, 18), pa.timestamp("us", tz="UTC"), pa.int64(), pa.string()
    kinds = {**dict.fromkeys(_DECIMALS, decimal), **dict.fromkeys(_TIMES, time), **dict.fromkeys(_INTEGERS, integer)}
    kinds["magic"] = pa.uint64()
    schema = pa.schema([(name, kinds.get(name, text)) for name in Record._fields])
    with ParquetWriter(path, schema, compression="zstd") as writer:

        def write(_: AccountId, some: Sequence[Record]) -> None:
            columns = zip(*some, strict=True)
            arrays = [pa.array(column, one.type) for column, one in zip(columns, schema, strict=True)]
            writer.write_batch(pa.record_batch(arrays, schema=schema))

        yield write


def _json_lines(file: IO[str], journal: RawRows) -> _Write:
    """Write a line for each record; the first that refers to a raw answer carries it, so that nothing is left behind."""
    carried: set[tuple[AccountId, str]] = set()

    def write(account: AccountId, some: Sequence[Record]) -> None:
        for one in some:
            line = {name: _text(value) for name, value in one._asdict().items()}
            if one.evidence is not None and (account, one.evidence) not in carried:
                carried.add((account, one.evidence))
                kept = required(journal, account, one.evidence)
                line[_ANSWER] = b64encode(kept.body).decode()
                line[_SIZE] = kept.size
            file.write(json.dumps(line, ensure_ascii=False, separators=(",", ":")) + "\n")

    return write


# ---------------------------------------------------------------------------------------------------------- taking back

_ANSWER: Final = "evidence_zlib_base64"
_SIZE: Final = "evidence_size"


@frozen(kw_only=True)
class ImportedAccount:
    """What became of one account of a file: its events, and how many of them were not here yet."""

    file: str
    account: AccountId
    read: int
    appended: int
    head: str


def is_export(path: Path) -> bool:
    """Return whether a file is an export in JSON lines."""
    with path.open("rb") as file:
        begin = file.read(4096).lstrip(b"\xef\xbb\xbf \t\r\n")
    return begin.startswith(b'{"server":') and b'"broker_msc":' in begin


def import_json_lines(
    ledger: Ledger, path: Path, *, dry_run: bool = False, progress: Progress = lambda _: None
) -> list[ImportedAccount]:
    """Append what an export holds, as it was recorded: same versions, same times, same hashes.

    The whole file is checked before anything is appended: each account's chain from its beginning on, and that this journal
    has no other history of it.

    Raises:
        MalformedExport: A line is none of an export.
        CorruptEvent: The content of a line is not what was recorded.
        AccountMismatch: The account has another history here. Nothing was appended.
    """
    found = _checked(ledger, path, progress)
    if not dry_run:
        for account, lines in groupby(_lines(path), key=lambda line: line.account):
            while some := list(islice(lines, _AT_ONCE)):
                answers = [line.answer for line in some if line.answer is not None]
                ledger.journal.append_verbatim(account, [line.row for line in some], answers)
                progress(len(some))
    return found


class _Line(NamedTuple):
    number: int
    account: AccountId
    row: Stored
    answer: StoredEvidence | None


def _checked(ledger: Ledger, path: Path, progress: Progress) -> list[ImportedAccount]:
    """Follow every chain of a file, and compare it with what is here already."""
    heads: dict[AccountId, Head] = {}
    by_account: dict[AccountId, set[str]] = {}
    here = ledger.journal.heads()
    for line in _lines(path):
        account, row = line.account, line.row
        try:
            heads[account] = admit_verbatim(account, heads.get(account) or start(account), [row], lambda _: None).head
            if line.answer is not None:
                decompress(line.answer)
        except LedgerError as error:
            raise CorruptEvent(f"{path}, line {line.number}: {error}. Nothing was imported") from error
        answers = by_account.setdefault(account, set())
        answers.update(() if line.answer is None else (line.answer.digest,))
        if row.evidence is not None and row.evidence not in answers:
            raise CorruptEvent(
                f"{path}, line {line.number}: the raw answer {row.evidence} is not in the file before it is needed"
            )
        if account in here and row.version == here[account].version and row.hash != here[account].hash:
            raise AccountMismatch(
                f"{path}: account {account} has another history in this journal: at version {row.version} the file has chain "
                f"hash {row.hash.hex()[:16]}, the journal {here[account].hash.hex()[:16]}. Nothing was imported"
            )
        if line.number % _AT_ONCE == 0:
            progress(_AT_ONCE)
    found = []
    for account, head in heads.items():
        known = here[account].version if account in here else 0
        if head.version < known and ledger.journal.hash_at(account, head.version) != head.hash:
            raise AccountMismatch(f"{path}: account {account} has another history in this journal. Nothing was imported")
        appended = max(0, head.version - known)
        found.append(
            ImportedAccount(file=str(path), account=account, read=head.version, appended=appended, head=head.hash.hex())
        )
    return found


def _lines(path: Path) -> Iterator[_Line]:
    """Read an export, line by line."""
    terms_by_account: dict[AccountId, AccountTerms | None] = {}
    with path.open(encoding="utf-8") as file:
        for number, text in enumerate(file, 1):
            try:
                fields = json.loads(text)
                account = AccountId(fields["server"], fields["login"])
                row = _row(fields, terms_by_account.get(account))
                if row.kind in TERMS_KINDS:
                    terms_by_account[account] = terms_after(terms_by_account.get(account), [decode(row, None)])
                answer = (
                    StoredEvidence(row.evidence or "", fields[_SIZE], b64decode(fields[_ANSWER])) if _ANSWER in fields else None
                )
            except (LedgerError, KeyError, TypeError, ValueError, AttributeError, InvalidOperation) as error:
                raise MalformedExport(
                    f"expected an event as ledger export --format jsonl writes it, found something else: {error}. "
                    "The file is cut off or was edited: export it again",
                    file=str(path),
                    row=number,
                ) from error
            yield _Line(number, account, row, answer)


def _row(fields: dict[str, Any], terms: AccountTerms | None) -> Stored:
    """Return the row of a line. The scales of its numbers come from the lines before it."""
    units = dict.fromkeys(_DECIMALS)
    if terms is not None:
        price_scale, volume_scale = terms.scales(fields["symbol"] or "")
        money_scale = terms.opened.money_scale
        scales = dict.fromkeys(MONEY, money_scale) | {"price": price_scale, "volume": volume_scale}
        units = {name: _units(fields[name], scale, name) for name, scale in scales.items()}
    return Stored(
        time_msc=fields["broker_msc"],
        version=fields["version"],
        kind=fields["kind"],
        deal=fields["deal"],
        deal_type=fields["deal_type"],
        entry=None if fields["entry"] is None else int(ENTRY_WORDS.get(fields["entry"], fields["entry"])),
        position_id=fields["position_id"],
        order_ticket=fields["order"],
        symbol=fields["symbol"],
        magic=signed_magic(fields["magic"]),
        data=fields["data"],
        placement=0,
        schema=fields["schema"],
        recorded_us=(datetime.fromisoformat(fields["recorded_at"]) - UTC_EPOCH) // MICROSECOND,
        natural_key=fields["natural_key"],
        correlation=fields["correlation"],
        caused_by=fields["caused_by"],
        evidence=fields["evidence"],
        reason=fields["reason"],
        comment=fields["comment"],
        origin=fields["origin"],
        prev_hash=b"",
        hash=bytes.fromhex(fields["hash"]),
        checks=b"",
        order_msc=None,
        order_deal=None,
        **units,
    )  # fmt: skip


def _units(text: str | None, scale: int, name: str) -> int | None:
    return None if text is None else scaled(Decimal(text), scale, name)
