"""The command ``ledger``: arguments, one call, output, exit code.

Commands are loaded when they are called, so that help is quick. Exit codes: 0 fine, 1 disagreement or failed
verification, 2 wrong use or bad input, 3 unavailable (try again), 4 proposed for a second person.
"""

from __future__ import annotations

import gc
import os
import sys
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from ledger.cli import streams
from ledger.cli.chosen import CONFIG_HELP, JOURNAL_HELP, Chosen
from ledger.cli.streams import OutputClosed, complain
from ledger.errors import CorruptEvent, DealConflict, LedgerError, VersionGap

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

FINE: Final = 0
DISAGREES: Final = 1
WRONG_USE: Final = 2
UNAVAILABLE: Final = 3
_INTERRUPTED: Final = 130
_READER_LEFT: Final = 141  # as a shell reports a program that SIGPIPE ended
_NAMES: Final = ("ledger", "mt5-ledger")  # the second for machines where the first is another program
_COMPLETION: Final = {"_LEDGER_COMPLETE", "_MT5_LEDGER_COMPLETE"}
_OUR_FAULT: Final = 70  # EX_SOFTWARE of sysexits.h
#: So many new objects before Python looks for garbage: what a command makes it keeps, and looking costs a tenth of its time.
_GARBAGE: Final = 50_000

#: Command -> the module that holds it and its line in the help, in the order of the help.
COMMANDS: Final[dict[str, tuple[str, str]]] = {
    "init": ("ledger.cli.journal", "Create the journal, or migrate it to this version."),
    "account": ("ledger.cli.accounts", "Open an account, move it, or correct its clock."),
    "import": ("ledger.cli.importing", "Import terminal exports and deal dumps, and check them against the broker's figures."),
    "accounts": ("ledger.cli.accounts", "List the accounts."),
    "positions": ("ledger.cli.listings", "List open positions."),
    "trades": ("ledger.cli.listings", "List closed trades."),
    "balance": ("ledger.cli.listings", "Show balance, credit and where they come from."),
    "report": ("ledger.cli.report", "Report what was earned: by month, symbol and more."),
    "log": ("ledger.cli.log", "List the events of the journal."),
    "replay": ("ledger.cli.listings", "Show the portfolio at any moment."),
    "explain": ("ledger.cli.explain", "List the events that make a balance, a position or a trade."),
    "compare": ("ledger.cli.compare", "Show what differs between two moments, or two accounts, and why."),
    "sync": ("ledger.cli.sync", "Reconcile with the gateway: once, or as a daemon."),
    "drift": ("ledger.cli.sync", "Compare with the gateway; change nothing."),
    "status": ("ledger.cli.status", "Show sync health, and whether it is safe to trade."),
    "equity": ("ledger.cli.equity", "Show what accounts were worth over time."),
    "monitors": ("ledger.cli.equity", "Show how much of what accounts may lose is used up."),
    "metrics": ("ledger.cli.metrics", "Show metrics for Prometheus, or serve them."),
    "page": ("ledger.cli.page", "Serve the page for operators: see, go back in time, decide."),
    "breaks": ("ledger.cli.status", "List open breaks with their age."),
    "incidents": ("ledger.cli.incidents", "List what went wrong, and how it ended."),
    "orders": ("ledger.cli.orders", "List orders: which are open, and of which nobody knows."),
    "order": ("ledger.cli.orders", "Show one order with all of its events; resolve an unknown one."),
    "halt": ("ledger.cli.halts", "Halt trading: of the account, a symbol or a strategy."),
    "resume": ("ledger.cli.halts", "End a halt."),
    "limits": ("ledger.cli.limits", "Show the limits that orders have to meet, or set others."),
    "alert": ("ledger.cli.alert", "Notify people of what is wrong: as a daemon, or once."),
    "correct": ("ledger.cli.correct", "Correct manually what no machine can know."),
    "propose": ("ledger.cli.approvals", "Propose a correction, for a second person to approve."),
    "proposals": ("ledger.cli.approvals", "List corrections that wait for a second person."),
    "approve": ("ledger.cli.approvals", "Approve a correction that another person proposed, or sign it elsewhere."),
    "reject": ("ledger.cli.approvals", "Reject a proposed correction, or withdraw one's own."),
    "policy": ("ledger.cli.policy", "Show how many persons a correction needs, or set it."),
    "note": ("ledger.cli.approvals", "Note something about a break, or take it over."),
    "doctor": ("ledger.cli.doctor", "Check everything that syncing and trading rest on."),
    "sandbox": ("ledger.cli.sandbox", "Run a simulated MT5 terminal to develop and test against."),
    "gateway": ("ledger.cli.gateway", "Answer for a MetaTrader 5 terminal, beside it."),
    "keys": ("ledger.cli.keys", "Make and authorise keys for gateways; make keys for seals and operators."),
    "derive": ("ledger.cli.derive", "Bring the tables that answers are read from up to date."),
    "export": ("ledger.cli.backup", "Write events, trades, positions or balances to Parquet, CSV or JSON lines."),
    "archive": ("ledger.cli.archive", "Archive events as Parquet files, sealed and verified."),
    "fleet": ("ledger.cli.fleet", "Many accounts: who syncs them, how they are, what they hold."),
    "backup": ("ledger.cli.backup", "Copy the journal to a file, while it is in use."),
    "directory": ("ledger.cli.directory", "Keep a directory of several journals and their accounts."),
    "restore": ("ledger.cli.backup", "Restore a journal from a backup."),
    "seal": ("ledger.cli.seal", "Write a signed statement of all account heads."),
    "verify": ("ledger.cli.journal", "Verify that the journal is complete and unchanged."),
}

_EPILOG: Final = """\b
Examples:
  ledger import history.html --journal sqlite:///desk.db --server-tz ny-close
  ledger positions --journal sqlite:///desk.db
  export LEDGER_JOURNAL=sqlite:///desk.db
  ledger replay --until 2026-06-15T12:00:05
  ledger replay --known-at 2026-06-15
  ledger verify
  ledger sync --startup --gateway tcp://127.0.0.1:5555

\b
Exit codes: 0 fine, 1 disagreement or failed verification, 2 wrong use or bad
input, 3 unavailable (try again), 4 proposed for a second person. Times
without a zone are UTC.
Shell completion: eval "$(_LEDGER_COMPLETE=bash_source ledger)", or zsh, fish.
"""


class _LazyGroup(click.Group):
    """Knows its commands by name and loads the one that is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in COMMANDS:
            return None
        module = import_module(COMMANDS[cmd_name][0])
        command: click.Command = module.COMMANDS[cmd_name]
        return command

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Complete names of commands without loading the commands."""
        from click.shell_completion import CompletionItem

        found = [CompletionItem(name, help=line) for name, (_, line) in COMMANDS.items() if name.startswith(incomplete)]
        return [*found, *click.Command.shell_complete(self, ctx, incomplete)]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in COMMANDS.items()])

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            raise click.UsageError(f"{error.message} Commands: {', '.join(COMMANDS)}.", ctx) from None


def _print_version(ctx: click.Context, _: click.Parameter, wanted: bool) -> None:  # noqa: FBT001
    if wanted:
        from importlib.metadata import version

        click.echo(f"ledger {version('mt5-position-ledger')}")
        ctx.exit()


@click.group(
    cls=_LazyGroup,
    epilog=_EPILOG,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.option("--journal", metavar="URL", help=JOURNAL_HELP)
@click.option("--config", metavar="FILE", type=click.Path(path_type=Path), help=CONFIG_HELP)
@click.option("--version", is_flag=True, is_eager=True, expose_value=False, callback=_print_version, help="Show the version.")
@click.pass_context
def cli(ctx: click.Context, journal: str | None, config: Path | None) -> None:
    """An event-sourced position ledger for MetaTrader 5.

    Every fill, recovery and correction is an immutable event in a journal; the portfolio is rebuilt from it for any
    moment and proven against the broker's own figures.
    """
    ctx.obj = Chosen(journal=journal, config=config)


def exit_code(error: LedgerError) -> int:
    """Return the exit code that an error ends a command with."""
    if error.retryable:
        return UNAVAILABLE
    return DISAGREES if isinstance(error, (CorruptEvent, DealConflict, VersionGap)) else WRONG_USE


def main(arguments: list[str] | None = None) -> Any:
    """Run a command and leave with its exit code."""
    gc.set_threshold(_GARBAGE)
    if not _COMPLETION.isdisjoint(os.environ):  # a shell asks for words of ours, and click writes them as bytes
        cli.main(args=arguments, prog_name=_called_name(), standalone_mode=False)
    with streams.replaced():
        code = _run(arguments)
    gc.freeze()  # or else Python looks through all that was loaded once more before it ends
    sys.exit(code)


def _called_name() -> str:
    """Return the name that the command was called by, for its usage lines and its completion."""
    name = Path(sys.argv[0]).stem
    return name if name in _NAMES else _NAMES[0]


def _run(arguments: list[str] | None) -> int:
    try:
        code = _called(arguments)
        streams.flush()
    except OutputClosed as closed:
        if isinstance(closed.error, BrokenPipeError):
            streams.abandon()
            return _READER_LEFT
        with suppress(OutputClosed):
            complain(str(closed))
        streams.abandon()
        return UNAVAILABLE
    return code


def _called(arguments: list[str] | None) -> int:
    """Call a command; print what is wrong and return the exit code.

    Raises:
        OutputClosed: An output accepts no more.
    """
    try:
        return int(cli.main(args=arguments, prog_name=_called_name(), standalone_mode=False) or FINE)
    except OutputClosed:
        raise
    except click.ClickException as error:
        error.show()
        return WRONG_USE
    except (click.Abort, KeyboardInterrupt):
        complain("interrupted")
        return _INTERRUPTED
    except LedgerError as error:
        complain(str(error))
        return exit_code(error)
    except OSError as error:
        complain(f"{error.filename or ''}: {error.strerror or error}")
        return WRONG_USE
    except Exception as error:  # noqa: BLE001  # a fault of ours must not look like a disagreement, which is Python's own 1
        if isinstance(error, ModuleNotFoundError) and not (error.name or "ledger").startswith("ledger"):
            complain(f"this needs the package {error.name}, which is not installed here; the complete installation has it")
            return WRONG_USE
        import traceback

        traceback.print_exc()
        complain("this is a fault of the ledger itself: please report it with the lines above")
        return _OUR_FAULT
