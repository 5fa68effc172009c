"""Which accounts a fleet has: read from a CSV file, checked whole before anything is changed."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from ledger.clock import SECOND_US
from ledger.errors import BadValue
from ledger.fleet.leases import INTERVAL_SEC, FleetAccount
from ledger.gateway.client import checked_endpoint
from ledger.text import visible
from ledger.values import AccountId

COLUMNS: Final = ("account", "gateway", "every_sec")
_SPAN: Final = re.compile(r"(\d{1,5}(?:\.\d{1,3})?)\s*(s|m|h)?")
_SECONDS: Final = {None: 1, "s": 1, "m": 60, "h": 3_600}
_DAY_SEC: Final = 86_400


def interval_us(text: str) -> int:
    """Read how often an account is synced: ``15s``, ``2m``, or seconds.

    Raises:
        BadValue: It is none, or not between a second and a day.
    """
    found = _SPAN.fullmatch(text.strip())
    seconds = float(found[1]) * _SECONDS[found[2]] if found else 0.0
    if not 1 <= seconds <= _DAY_SEC:
        raise BadValue(f"expected how often to sync, as 15s or 2m, between a second and a day, found {text!r}")
    return round(seconds * SECOND_US)


def fleet_account(account: AccountId, gateway: str, every: str | None) -> FleetAccount:
    """Return an account of a fleet.

    Raises:
        BadValue: The address or the interval is none.
    """
    endpoint = checked_endpoint(gateway, has_keys=True, allow_insecure=True)  # keys are the workers' business
    span_us = round(INTERVAL_SEC * SECOND_US) if not every else interval_us(every)
    return FleetAccount(account=account, gateway=endpoint, interval_us=span_us)


def read_csv(path: Path) -> list[FleetAccount]:
    """Read a file with the columns ``account``, ``gateway`` and, where it is another than 15 seconds, ``every_sec``.

    Raises:
        BadValue: A line cannot be read, or an account is named twice; nothing is left out silently.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            return list(_accounts(file, path))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise BadValue(f"{path}: expected a CSV file with the columns {', '.join(COLUMNS)}, found {error}") from None


def _accounts(lines: Iterable[str], path: Path) -> Iterator[FleetAccount]:
    rows = csv.DictReader(lines)
    found = tuple(rows.fieldnames or ())
    if not {"account", "gateway"} <= set(found) <= set(COLUMNS) or len(set(found)) < len(found):
        raise BadValue(
            f"{path}: expected the columns {', '.join(COLUMNS)}, each once, found {visible(', '.join(found)) or 'none'}"
        )
    seen: dict[AccountId, int] = {}
    for row in rows:
        try:
            _require_values(row, len(found))
            one = fleet_account(AccountId.parse(row["account"]), row["gateway"], row.get("every_sec"))
        except BadValue as error:
            raise BadValue(f"{path}, line {rows.line_num}: {error}") from None
        if one.account in seen:
            raise BadValue(f"{path}, line {rows.line_num}: {one.account} is in line {seen[one.account]} already")
        seen[one.account] = rows.line_num
        yield one


def _require_values(row: Mapping[str | Any, Any], expected: int) -> None:
    """Refuse a row with more or fewer values than columns: the more are a list under None, a column without one has None."""
    found = sum(value is not None for name, value in row.items() if name is not None) + len(row.get(None) or ())
    if found != expected:
        raise BadValue(f"expected {expected} values, as many as there are columns, found {found}")
