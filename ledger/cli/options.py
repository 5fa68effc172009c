"""What several commands share: the journal they open, the accounts they mean, the moments they ask about."""

from __future__ import annotations

import getpass
import os
import sys
from collections.abc import Callable, Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from ledger.cli.chosen import CONFIG_HELP, JOURNAL_HELP, choose, chosen
from ledger.clock import ClockRule, moment_span_us, utc_text_us, written_time
from ledger.errors import AccountUnknown, BadValue
from ledger.values import INT64_MAX, UINT64_MAX, AccountId, shown

if TYPE_CHECKING:  # most commands need no settings, and completion needs no ledger
    from ledger.config import Configuration
    from ledger.directory import Directory
    from ledger.service import Account, Ledger

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


class _Time(click.ParamType[str]):
    """A written time, or so long before now (``24h``, ``7d``), which becomes the written time that it means."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        from ledger.service import utc_now_us

        text = str(value)
        try:
            return written_time(text, utc_now_us())
        except BadValue as error:
            return self.fail(str(error), param, ctx)


TIME: Final = _Time()


class _Clock(click.ParamType[ClockRule]):
    name = "rule"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> ClockRule:
        if isinstance(value, ClockRule):
            return value
        try:
            return ClockRule(str(value))
        except BadValue as error:
            self.fail(str(error), param, ctx)


CLOCK: Final = _Clock()
CLOCK_HELP: Final = "The server's clock: IANA zone, offset as +03:00, or ny-close."


class _Magic(click.ParamType[int]):
    """A magic number as MT5 shows it: the engine's own unsigned one, or the negative that some tools print for it."""

    name = "magic"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        try:
            magic = int(value)
        except ValueError:
            magic = UINT64_MAX + 1
        if not -INT64_MAX - 1 <= magic <= UINT64_MAX:
            self.fail(f"expected a magic number, a whole number of 64 bits, found {value!r}", param, ctx)
        return magic & UINT64_MAX


MAGIC: Final = _Magic()


class _Version(click.ParamType[int]):
    """The version of an event as people read it: v1403, or 1403."""

    name = "version"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        text = str(value).strip().lower().removeprefix("v")
        if not (text.isascii() and text.isdigit()) or not 0 < int(text) <= INT64_MAX:
            self.fail(f"expected the version of an event, as v1403, found {shown(value)}", param, ctx)
        return int(text)


VERSION: Final = _Version()


def partitions_option(command: Command) -> Command:
    """Take ``--partitions``: in how many parts a new journal on Postgres has what grows."""
    return click.option(
        "--partitions",
        type=click.IntRange(min=1),
        metavar="N",
        help="On Postgres: in so many partitions by account, at most 128. One table each without it.",
    )(command)


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


def accounts_option(command: Command) -> Command:
    """Take ``--account``, any number of times, as ``accounts``."""
    return click.option(
        "--account", "accounts", type=ACCOUNT_NAME, multiple=True, metavar="SERVER/LOGIN",
        help="Only this account; repeatable, all without it.",
    )(command)  # fmt: skip


def symbol_option(command: Command) -> Command:
    """Take ``--symbol``, any number of times, as ``symbols``."""
    return click.option(
        "--symbol", "symbols", multiple=True, metavar="S", help="Only of this symbol, as the broker writes it; repeatable."
    )(command)


def magic_option(command: Command) -> Command:
    """Take ``--magic``, any number of times, as ``magics``."""
    return click.option(
        "--magic", "magics", type=MAGIC, multiple=True, metavar="N", help="Only of this magic number; repeatable."
    )(command)


def period_options(what: str) -> Callable[[Command], Command]:
    """Take ``--since`` and ``--until``; ``what`` states which time is meant: "closed"."""

    def decorate(command: Command) -> Command:
        for option in (
            click.option("--until", type=TIME, metavar="TIME", help=f"What was {what} up to TIME, its whole unit included."),
            click.option("--since", type=TIME, metavar="TIME", help=f"What was {what} from TIME on, or 24h, 7d before now."),
        ):
            command = option(command)
        return command

    return decorate


def json_option(command: Command) -> Command:
    """Take ``--json``."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON.")(command)


def operator_option(text: str) -> Callable[[Command], Command]:
    """Add ``--operator`` (default: the login name); ``text`` states what that person does."""
    return click.option("--operator", default=getpass.getuser, show_default="your login name", help=text)


def moment_options(command: Command) -> Command:
    """Take ``--until``, ``--known-at`` and ``--version``."""
    help_text = "What had happened by then, as known now: events up to TIME."
    return click.option("--until", type=TIME, metavar="TIME", help=help_text)(known_options(command))


def known_options(command: Command) -> Command:
    """Take ``--known-at`` and ``--version``: what was known."""
    for option in (
        click.option("--version", type=click.IntRange(min=0), metavar="N", help="Only the first N events of the account."),
        click.option(
            "--known-at",
            type=TIME,
            metavar="TIME",
            help="What the ledger believed then: events recorded by TIME.",
        ),
    ):
        command = option(command)
    return command


def since_us(text: str) -> int:
    """Return the first UTC microsecond of the unit that a written time names: a period begins there."""
    return moment_span_us(text)[0]


def until_us(text: str) -> int:
    """Return the first UTC microsecond behind the unit that a written time names: all of it belongs to a period."""
    return moment_span_us(text)[1]


def just_before(since: str, until: str | None) -> str:
    """Return the last moment before a period.

    Raises:
        click.UsageError: The period ends before it begins.
    """
    if until is not None and until_us(until) <= since_us(since):
        raise click.UsageError(f"--since {since} is not before --until {until}")
    return utc_text_us(since_us(since) - 1)


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
            'or write journal = "sqlite:///desk.db" into ledger.toml here. A [directory] serves the commands about accounts'
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


def directory_of(given: str | None) -> Directory | None:
    """Open the directory of the settings, where nothing names a journal; None where something does, or there is none.

    Raises as ``ledger.config.find`` and ``Directory.open``.
    """
    return open_directory() if is_by_directory(given) else None


def is_by_directory(given: str | None) -> bool:
    """Return whether nothing names a journal, and the settings a directory. Raises as ``ledger.config.find``."""
    if given or chosen().journal or os.environ.get("LEDGER_JOURNAL"):
        return False
    return configuration().directory is not None


def open_directory() -> Directory:
    """Open the directory that the settings name.

    Raises:
        BadValue: They name none.
    """
    from ledger.directory import Directory

    return Directory.open(directory_url(), journals=configuration().journals)


def directory_url() -> str:
    """Return the URL of the directory that the settings name. Raises as ``open_directory``."""
    found = configuration()
    if found.directory is None:
        raise BadValue(
            'which directory? Write [directory] url = "sqlite:///directory.db", or one of Postgres, into ledger.toml here, '
            f"or into the file of --config; settings: {found}"
        )
    return found.directory


def _accounts_meant() -> set[AccountId]:
    """Return the accounts that the command line names, whatever the option or argument is called."""
    context = click.get_current_context(silent=True)
    found = set[AccountId]()
    for value in () if context is None else context.params.values():
        for one in value if isinstance(value, (tuple, list)) else (value,):
            account = getattr(one, "account", one)  # of what names a moment too
            if isinstance(account, AccountId):
                found.add(account)
    return found


def journals_of(ledger: Ledger) -> list[tuple[str | None, Ledger]]:
    """Return the journals that a command about all of them is about, with their names in the directory."""
    of_directory = getattr(ledger, "journals", None)
    return [(None, ledger)] if of_directory is None else of_directory()


def open_ledger(given: str | None, *, create: bool = False) -> Ledger:
    """Open the journal that is meant. Only some commands make one."""
    from ledger.service import Ledger

    found = None if create else directory_of(given)
    if found is not None:
        from ledger.directory import DirectoryLedger

        try:
            return DirectoryLedger(found, sorted(_accounts_meant()))
        except BaseException:
            found.close()
            raise
    url = journal_url(given)
    has_own_folder = not url.startswith("postgresql")  # most commands need no settings, and these are slow to read
    return Ledger.open(url, create=create, segments=None if has_own_folder else configuration().segments)


def accounts_of(ledger: Ledger, named: AccountId | Collection[AccountId] | None) -> list[Account]:
    """Return the accounts that a listing covers, by server and login: those that are named, all where none is.

    Raises:
        AccountUnknown: A named account is not in the journal.
    """
    wanted = {named} if isinstance(named, AccountId) else set(named or ())
    if not wanted:
        return ledger.accounts()
    for account in sorted(wanted):
        if not ledger.account(account).is_open:
            known = ", ".join(str(name) for name in ledger.journal.accounts()) or "none"
            raise AccountUnknown(f"account {account} is not in this journal; it holds: {known}")
        _warn_of_move(ledger.account(account))
    return [ledger.account(account) for account in sorted(wanted)]


def _warn_of_move(account: Account) -> None:
    """Write beside the output that an account has moved, as what is printed is of before that."""
    from ledger.cli.output import warn
    from ledger.journal.location import MOVED

    location = account.ledger.journal.location(account.name)
    if location.state == MOVED:
        warn(f"account {account.name} has moved to {location.other}: this is what it was when it left")


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
