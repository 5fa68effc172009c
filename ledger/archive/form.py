"""The form of an archive: names of folders and files, and the columns of the two kinds of Parquet files."""

from __future__ import annotations

import re
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from ledger.codec import TEXT_COLUMNS
from ledger.errors import JournalUnavailable
from ledger.journal.chain import COVERED
from ledger.values import AccountId

#: Raised whenever a reader of before could not read what is written.
FORM: Final = 1
DESCRIPTION: Final = "archive.json"
ACCOUNTS: Final = "accounts"
SEALS: Final = "seals"
MANIFEST: Final = "manifest.json"
LOCK: Final = "archive.lock"
#: Rows of a row group, and of a segment at most: a segment is the unit that a killed run loses.
GROUP_ROWS: Final = 131_072
SEGMENT_ROWS: Final = 8 * GROUP_ROWS

#: What is derived of the columns under the hash, and costs time to derive: ``ledger archive verify`` compares it.
DERIVED: Final = ("placement", "order_msc", "order_deal", "client_id", "token")
#: The columns of an events file. The hash of the event before is the row before, or ``before`` of the segment.
EVENT_COLUMNS: Final = (*COVERED, *DERIVED, "hash")
EVIDENCE_COLUMNS: Final = ("sha256", "size", "raw")

#: Few values that come again and again.
REPEATED: Final = (
    "kind", "schema", "correlation", "deal_type", "entry", "symbol", "volume", "commission", "fee", "swap", "magic", "reason",
    "origin", "placement",
)  # fmt: skip
#: Numbers that grow.
GROWING: Final = ("version", "time_msc", "recorded_us", "deal", "position_id", "order_ticket", "caused_by")
_NEVER_NULL: Final = ("version", "kind", "schema", "time_msc", "recorded_us", "natural_key", "placement", "hash")
_SAFE: Final = re.compile(r"[^A-Za-z0-9-]+")
_NAME_LENGTH: Final = 48
#: Windows waits for no more processes at once, so no pool here has more.
PROCESSES_MAX: Final = 61
#: Digits of the SHA-256 that a folder's name ends with.
NAME_DIGITS: Final = 16


def require_pyarrow() -> None:
    """Refuse what needs Parquet where the library for it is not installed.

    Raises:
        JournalUnavailable: It is not installed.
    """
    if find_spec("pyarrow") is None:
        raise JournalUnavailable("an archive needs pyarrow, which is not installed: pip install 'mt5-position-ledger[archive]'")


def folder_name(account: AccountId) -> str:
    """Return the name of an account's folder: readable, the same for ever, and safe on every file system.

    The digest makes it unique where names differ in case only, or in what no file name may have.
    """
    readable = _SAFE.sub("-", account.server)[:_NAME_LENGTH]
    return f"{readable}_{account.login}-{sha256(str(account).encode()).hexdigest()[:NAME_DIGITS]}"


def account_folder(folder: Path, account: AccountId) -> Path:
    """Return where an account is in an archive."""
    return folder / ACCOUNTS / folder_name(account)


def file_name(kind: str, first: int, last: int) -> str:
    """Return the name of a file of ``events`` or ``evidence``, of the versions from one to another inclusive."""
    return f"{kind}-{first:012}-{last:012}.parquet"


def event_schema() -> Any:
    """Return the Arrow schema of an events file: whole numbers as in the journal, texts, hashes as 32 bytes."""
    import pyarrow as pa

    def kind_of(name: str) -> Any:
        if name == "hash":
            return pa.binary(32)
        return pa.string() if name in TEXT_COLUMNS else pa.int64()

    return pa.schema([pa.field(name, kind_of(name), nullable=name not in _NEVER_NULL) for name in EVENT_COLUMNS])


def evidence_schema() -> Any:
    """Return the Arrow schema of an evidence file: the SHA-256 and the size of a raw answer, and the answer as it came in."""
    import pyarrow as pa

    kinds = (pa.binary(32), pa.int64(), pa.binary())
    pairs = zip(EVIDENCE_COLUMNS, kinds, strict=True)
    return pa.schema([pa.field(name, kind, nullable=False) for name, kind in pairs])


def event_writer(path: Path) -> Any:
    """Return a Parquet writer of an events file."""
    from pyarrow.parquet import ParquetWriter

    encodings = dict.fromkeys(GROWING, "DELTA_BINARY_PACKED") | {"natural_key": "DELTA_BYTE_ARRAY"}
    compression = dict.fromkeys(EVENT_COLUMNS, "zstd") | {"hash": "NONE"}
    return ParquetWriter(
        path, event_schema(), compression=compression, use_dictionary=list(REPEATED), column_encoding=encodings
    )
