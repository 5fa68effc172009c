"""DuckDB views over an archive: exact decimals and timestamps where the files have whole numbers, for questions of your own.

    from ledger.forensics.views import connect
    connect("archive").sql("SELECT symbol, count(*) FROM events WHERE kind = 'FillRecorded' GROUP BY symbol")

``accounts`` has what is archived of each account, ``events`` every archived event, ``evidence`` the raw broker answers. They
show what was recorded, also of an account that has ``moved_to`` another journal: late and repeated records of a deal are
rows of their own. What accounts come to is ``fold_archive``'s.
"""

from __future__ import annotations

import re
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ledger.archive.form import ACCOUNTS, MANIFEST, NAME_DIGITS
from ledger.errors import BadValue, JournalUnavailable

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

#: What is no name of a folder in DuckDB's patterns, unless it is in brackets.
_GLOB: Final = re.compile(r"[\[*?]")
#: What a manifest has, as DuckDB reads it.
_MANIFEST: Final = {
    "account": "STRUCT(server VARCHAR, login BIGINT)",
    "last": "BIGINT",
    "head": "VARCHAR",
    "scales": (
        "STRUCT(currency VARCHAR, money INTEGER, price INTEGER, volume INTEGER, clock VARCHAR, "
        "symbols MAP(VARCHAR, STRUCT(price INTEGER, volume INTEGER)))"
    ),
    "location": "STRUCT(state VARCHAR, other VARCHAR)",
    "segments": "STRUCT(events STRUCT(file VARCHAR), evidence STRUCT(file VARCHAR))[]",
}
#: A whole number with so many decimals, exactly: both factors and the product have a fixed point.
_EXACT: Final = "CAST({0} AS DECIMAL(19, 0)) * CAST(power(10, -({1})) AS DECIMAL(19, 18)) AS {0}"
_SCALES: Final = {
    "volume": "coalesce(scales.symbols[symbol].volume, scales.volume)",
    "price": "coalesce(scales.symbols[symbol].price, scales.price)",
    **dict.fromkeys(("commission", "fee", "swap", "profit"), "scales.money"),
}
_VIEWS: Final = """\
CREATE VIEW manifests AS
SELECT account.server AS server, account.login AS login, last, head, scales, location, segments,
  left(filename, -length('{manifest}')) AS folder
FROM read_json('{accounts}/*/{manifest}', columns = {columns}, filename = true)
WHERE suffix(folder, '-' || left(sha256(account.server || '/' || account.login), {digits}) || '/');

CREATE VIEW accounts AS
SELECT server, login, scales.currency AS currency, scales.clock AS clock, last AS version, head,
  CASE location.state WHEN 'moved' THEN location.other END AS moved_to
FROM manifests;

CREATE VIEW files AS
SELECT server, login, scales, folder || segment.events.file AS events, folder || segment.evidence.file AS evidence
FROM (SELECT server, login, scales, folder, unnest(segments) AS segment FROM manifests);

CREATE VIEW events AS
SELECT server, login, version, kind, make_timestamp(time_msc * 1000) AS broker_time,
  make_timestamp(recorded_us) AS recorded_at, deal, deal_type, entry, position_id, order_ticket, symbol,
  {decimals},
  magic, reason, comment, origin, data, natural_key, correlation, caused_by, named.evidence, lower(hex(hash)) AS hash
FROM read_parquet('{accounts}/*/events-*.parquet', filename = true) AS named
JOIN files ON files.events = named.filename;
"""
_EVIDENCE: Final = """
CREATE VIEW evidence AS
SELECT server, login, lower(hex(sha256)) AS evidence, size, raw
FROM read_parquet('{accounts}/*/evidence-*.parquet', filename = true) AS named
JOIN files ON files.evidence = named.filename;
"""
_NO_EVIDENCE: Final = """
CREATE VIEW evidence AS
SELECT '' AS server, 0 AS login, '' AS evidence, 0 AS size, ''::BLOB AS raw WHERE false;
"""


def statements(folder: Path) -> str:
    """Return the statements that make the views of an archive, for DuckDB 1.3 and later.

    Raises:
        BadValue: There is no archive.
    """
    accounts = folder.absolute() / ACCOUNTS
    if not any(accounts.glob(f"*/{MANIFEST}")):
        raise BadValue(f"{folder}: expected an archive with accounts, found none: ledger archive --out {folder} writes one")
    columns = "{" + ", ".join(f"'{name}': '{kind}'" for name, kind in _MANIFEST.items()) + "}"
    decimals = ",\n  ".join(_EXACT.format(name, scale) for name, scale in _SCALES.items())
    text = _VIEWS + (_EVIDENCE if any(accounts.glob("*/evidence-*.parquet")) else _NO_EVIDENCE)
    return text.format(
        accounts=_pattern(accounts), manifest=MANIFEST, digits=NAME_DIGITS, columns=columns,
        decimals=decimals,
    )  # fmt: skip


def _quoted(path: Path) -> str:
    return path.as_posix().replace("'", "''")


def _pattern(path: Path) -> str:
    """Return a path as a part of a pattern, quoted."""
    return _GLOB.sub(r"[\g<0>]", _quoted(path))


def connect(folder: Path | str) -> DuckDBPyConnection:
    """Return a DuckDB connection with the views of an archive, that reads and writes nothing outside its folder.

    Raises:
        BadValue: There is no archive.
        JournalUnavailable: DuckDB is not installed.
    """
    if find_spec("duckdb") is None:
        raise JournalUnavailable(
            "views of an archive need duckdb, which is not installed: pip install 'mt5-position-ledger[archive]'"
        )
    import duckdb

    text, place = statements(Path(folder)), Path(folder).absolute()
    connection = duckdb.connect()
    # a pattern is looked at as it is written, and each file that it finds as it is named
    connection.execute(f"SET allowed_directories = ['{_quoted(place)}', '{_pattern(place)}']")
    connection.execute("SET enable_external_access = false; SET lock_configuration = true")
    connection.execute(text)
    return connection
