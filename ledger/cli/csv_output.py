"""Listings as CSV: UTF-8, RFC 4180, a header, exact decimals, UTC in ISO 8601, empty for what is unknown.

A listing is the same rows as its JSON output. Columns are named, so that the header is the same whatever is listed, and printed
even where nothing is. Broker text that a spreadsheet would take for a formula gets a quote in front; numbers stay numbers.
"""

from __future__ import annotations

import csv
import io
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

import click

from ledger.cli.output import print_bytes
from ledger.text import csv_text, json_text, visible

if TYPE_CHECKING:
    from ledger.cli.options import Command

#: What every listing of several accounts begins with.
ACCOUNT: Final = ("account", "currency")
#: Columns that hold words of brokers and people, also where these look like a number.
TEXTS: Final = frozenset(("client_id", "comment", "currency", "external_id", "operator", "reason", "symbol", "why"))
_NUMBER: Final = re.compile(r"-?[0-9]+(\.[0-9]+)?")
_AT_ONCE: Final = 1000  # rows


def csv_option(command: Command) -> Command:
    """Take ``--csv``."""
    return click.option("--csv", "as_csv", is_flag=True, help="Print CSV.")(command)


def require_one_format(*, as_json: bool, as_csv: bool) -> None:
    """Refuse two formats at once.

    Raises:
        click.UsageError: Both are asked for.
    """
    if as_json and as_csv:
        raise click.UsageError("--json and --csv are two formats: choose one")


def print_csv(columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
    """Print rows of JSON values as CSV, in memory that does not grow with them.

    Args:
        columns: What the header names, in this order. ``account`` is ``SERVER/LOGIN`` of a row's account and ``currency`` its
            currency, where the row has none of its own; ``a.b`` is the field ``b`` of the object ``a``.
        rows: What the JSON output lists. What no column names is left out.
    """
    cells = [_reader(column) for column in columns]
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n" if sys.stdout.isatty() else "\r\n")
    writer.writerow(csv_text(visible(column.replace(".", "_", 1))) for column in columns)
    for number, row in enumerate(rows, 1):
        writer.writerow(read(row) for read in cells)
        if not number % _AT_ONCE:
            _flush(text)
    _flush(text)


def _flush(text: io.StringIO) -> None:
    print_bytes(text.getvalue().encode("utf-8", "backslashreplace"))
    text.seek(0)
    text.truncate()


def _reader(column: str) -> Callable[[Mapping[str, Any]], str]:
    """Return what makes a column's cell of a row."""
    if column == "account":
        return lambda row: csv_cell(_account(row.get("account")), is_text=True)
    if column == "currency":
        return lambda row: csv_cell(row["currency"] if "currency" in row else _currency(row.get("account")), is_text=True)
    path = column.split(".", 1)  # the name of a cash movement is a broker's word
    is_text = path[-1] in TEXTS

    def read(row: Mapping[str, Any]) -> str:
        value: Any = row
        for name in path:
            value = value.get(name) if isinstance(value, Mapping) else None
        return csv_cell(value, is_text=is_text)

    return read


def _account(account: Any) -> str | None:
    if isinstance(account, Mapping):
        return f"{account['server']}/{account['login']}"
    return None if account is None else str(account)


def _currency(account: Any) -> str | None:
    return account.get("currency") if isinstance(account, Mapping) else None


def csv_cell(value: Any, *, is_text: bool = False) -> str:
    """Return the cell of a JSON value: empty for None; lists of words with blanks between, other values as JSON.

    Exact numbers are text in JSON: they stay as they are, except where a column holds words (``is_text``).
    """
    match value:
        case None:
            return ""
        case bool():
            return "true" if value else "false"
        case int():
            return str(value)
        case Decimal():
            return f"{value:f}"
        case str():
            return value if not is_text and _NUMBER.fullmatch(value) else csv_text(visible(value))
        case [*several] if all(isinstance(one, (str, int)) for one in several):
            return csv_text(" ".join(visible(str(one)) for one in several))
        case _:
            return csv_text(json_text(value))
