"""What several commands share: the journal they open, the accounts they mean, the moments they ask about."""

from __future__ import annotations

import getpass
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from ledger.cli.chosen import CONFIG_HELP, JOURNAL_HELP, choose, chosen
from ledger.clock import moment_span_us
from ledger.errors import AccountUnknown, BadValue
from ledger.service import Account, Ledger, utc_now_us
from ledger.values import AccountId

if TYPE_CHECKING:  # most commands need no settings
    from ledger.config import Configuration

Command = TypeVar("Command", bound=Callable[..., Any])


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


def journal_option(command: Command) -> Command:
    """Take ``--journal`` and ``--config`` behind the command as well as before it."""
    for option in (
        click.option(
            "--config", metavar="FILE", type=click.Path(path_type=Path), callback=choose, expose_value=False, help=CONFIG_HELP
        ),
        click.option("--journal", "journal", metavar="URL", callback=choose, help=JOURNAL_HELP),
    ):
        command = option(command)
    return command


def account_option(command: Command) -> Command:
    """Take ``--account``."""
    return click.option("--account", type=ACCOUNT_NAME, metavar="SERVER/LOGIN", help="Only this account; all without it.")(
        command
    )


def json_option(command: Command) -> Command:
    """Take ``--json``."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON.")(command)


def operator_option(text: str) -> Callable[[Command], Command]:
    """Add ``--operator`` (default: the login name); ``text`` states what that person does."""
    return click.option("--operator", default=getpass.getuser, show_default="your login name", help=text)


def moment_options(command: Command) -> Command:
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
    """Return the journal that is meant: the option, else the environment, else the file of settings.

    Raises:
        BadValue: None is named.
    """
    named = given or chosen().journal or os.environ.get("LEDGER_JOURNAL")
    url = named or configuration().journal
    if not url:
        raise BadValue(
            "which journal? Name it with --journal sqlite:///desk.db, or set LEDGER_JOURNAL, "
            'or write journal = "sqlite:///desk.db" into ledger.toml here'
        )
    return str(url)


def configuration() -> Configuration:
    """Return the settings that belong to the journal that is meant. Raises as ``ledger.config.find``."""
    return chosen().configuration()


def configuration_note() -> str | None:
    """Return which file the settings are from, and one that is not read; None if there is neither.

    Raises as ``ledger.config.find``.
    """
    found = configuration()
    notes = [f"settings from {found.path}"] if found.path is not None else []
    if found.left_alone is not None:
        notes.append(f"{found.left_alone} is not read, because the journal was named elsewhere: --config reads it")
    return "; ".join(notes) or None


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


def account_of(ledger: Ledger, account: AccountId | None) -> Account:
    """Return the account that a decision is about: the named one, or the only one of the journal.

    Raises:
        AccountUnknown: It is not in the journal, or there are several and none is named.
    """
    found = accounts_of(ledger, account)
    if len(found) != 1:
        known = ", ".join(str(one.name) for one in found) or "none"
        raise AccountUnknown(f"which account? Name one with --account; the journal holds: {known}")
    return found[0]


def require_consent(*, yes: bool, question: str, what: str, err: bool) -> None:
    """Ask a person before something is recorded; scripts pass ``--yes``.

    Args:
        yes: Whether that was passed.
        question: What is asked.
        what: What would be recorded, for scripts without it.
        err: Whether the question is written beside the output.

    Raises:
        BadValue: There is nobody to ask.
        click.Abort: The answer is no.
    """
    if yes:
        return
    if not sys.stdin.isatty():
        raise BadValue(f"standard input is not a terminal: pass --yes to record {what}")
    click.confirm(question, abort=True, err=err)


def decision_options(command: Command) -> Command:
    """Take what every recorded decision of a person has: ``--operator`` and ``--reason``."""
    for option in (
        click.option("--reason", required=True, help="Why; it is recorded."),
        operator_option("Who; it is recorded."),
    ):
        command = option(command)
    return command


def yes_option(command: Command) -> Command:
    """Take ``--yes``."""
    return click.option("--yes", is_flag=True, help="Do not ask: for scripts.")(command)
