"""What several commands share: the journal they open, the accounts they mean, the moments they ask about."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, TypeVar

import click

from ledger.clock import moment_span_us
from ledger.errors import AccountUnknown, BadValue
from ledger.service import Account, Ledger, utc_now_us
from ledger.values import AccountId

_Command = TypeVar("_Command", bound=Callable[..., Any])
CONFIGURATION: Final = "ledger.toml"


class _AccountName(click.ParamType[AccountId]):
    name = "account"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> AccountId:
        if isinstance(value, AccountId):
            return value
        try:
            return AccountId.parse(value)
        except BadValue as error:
            self.fail(str(error), param, ctx)


ACCOUNT_NAME: Final = _AccountName()


def journal_option(command: _Command) -> _Command:
    """Take ``--journal`` behind the command as well as before it."""
    return click.option(
        "--journal", "journal", metavar="URL", help="sqlite:///FILE or postgresql+psycopg://HOST/DB; else $LEDGER_JOURNAL."
    )(command)


def account_option(command: _Command) -> _Command:
    """Take ``--account``."""
    return click.option("--account", type=ACCOUNT_NAME, metavar="SERVER/LOGIN", help="Only this account; all without it.")(
        command
    )


def json_option(command: _Command) -> _Command:
    """Take ``--json``."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON.")(command)


def moment_options(command: _Command) -> _Command:
    """Take ``--until``, ``--known-at`` and ``--version``."""
    for option in (
        click.option("--version", type=click.IntRange(min=0), metavar="N", help="Only the first N events of the account."),
        click.option("--known-at", metavar="TIME", help="What the ledger believed then: events recorded by TIME."),
        click.option("--until", metavar="TIME", help="What had happened by then, as known now: events up to TIME."),
    ):
        command = option(command)
    return command


def since_us(text: str) -> int:
    """Return the UTC microsecond at which a period begins: a written time's first, or so long before now (``24h``, ``7d``).

    Raises:
        BadValue: It is neither.
    """
    ago = _ago_us(text)
    return utc_now_us() - ago if ago is not None else moment_span_us(text)[0]


def until_us(text: str) -> int:
    """Return the first UTC microsecond after a period: a written time's whole unit belongs to it. As ``since_us``."""
    ago = _ago_us(text)
    return utc_now_us() - ago if ago is not None else moment_span_us(text)[1]


def _ago_us(text: str) -> int | None:
    found = _DURATION.fullmatch(text.strip())
    return None if found is None else int(found[1]) * _UNITS_SEC[found[2]] * 1_000_000


_UNITS_SEC: Final = {"s": 1, "m": 60, "min": 60, "h": 3600, "d": 86_400, "w": 604_800}
_DURATION: Final = re.compile(rf"(\d{{1,6}})({'|'.join(sorted(_UNITS_SEC, key=len, reverse=True))})")


def journal_url(given: str | None) -> str:
    """Return the journal that is meant: the option, else the environment, else ``ledger.toml`` in this folder.

    Raises:
        BadValue: None is named.
    """
    context = click.get_current_context(silent=True)
    url = (
        given
        or (context.find_root().obj if context else None)
        or os.environ.get("LEDGER_JOURNAL")
        or configuration().get("journal")
    )
    if not url:
        raise BadValue(
            "which journal? Name it with --journal sqlite:///desk.db, or set LEDGER_JOURNAL, "
            f'or write journal = "sqlite:///desk.db" into {CONFIGURATION} here'
        )
    return str(url)


def configuration() -> Mapping[str, Any]:
    """Return what ``ledger.toml`` in this folder says, nothing where there is none.

    Raises:
        BadValue: It is no TOML.
    """
    path = Path(CONFIGURATION)
    if not path.is_file():
        return {}
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadValue(f"{CONFIGURATION}: expected TOML, found {error}") from None


def open_ledger(given: str | None, *, create: bool = False) -> Ledger:
    """Open the journal that is meant. Only some commands make one."""
    return Ledger.open(journal_url(given), create=create)


def accounts_of(ledger: Ledger, account: AccountId | None) -> list[Account]:
    """Return the accounts that a listing covers.

    Raises:
        AccountUnknown: The named account is not in the journal.
    """
    if account is None:
        return ledger.accounts()
    if not ledger.account(account).is_open:
        known = ", ".join(str(name) for name in ledger.journal.accounts()) or "none"
        raise AccountUnknown(f"account {account} is not in this journal; it holds: {known}")
    return [ledger.account(account)]
