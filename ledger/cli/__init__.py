"""The command ``ledger``: arguments, one call, output, exit code.

Commands are loaded when they are called, so that help is quick. Exit codes: 0 fine, 1 disagreement or failed
verification, 2 wrong use or bad input, 3 unavailable (try again).
"""

from __future__ import annotations

import gc
import os
import sys
from importlib import import_module
from typing import Any, Final

import click

from ledger.errors import CorruptEvent, DealConflict, LedgerError, VersionGap

FINE: Final = 0
DISAGREES: Final = 1
WRONG_USE: Final = 2
UNAVAILABLE: Final = 3
_INTERRUPTED: Final = 130
#: So many new objects before Python looks for garbage: what a command makes it keeps, and looking costs a tenth of its time.
_GARBAGE: Final = 50_000

#: Command -> the module that holds it and its line in the help, in the order of the help.
COMMANDS: Final[dict[str, tuple[str, str]]] = {
    "init": ("ledger.cli.journal", "Create the journal, or migrate it to this version."),
    "account": ("ledger.cli.accounts", "Open an account, or correct its clock."),
    "import": ("ledger.cli.importing", "Take in terminal exports and deal dumps, and prove them."),
    "accounts": ("ledger.cli.accounts", "List the accounts."),
    "positions": ("ledger.cli.look", "List open positions."),
    "trades": ("ledger.cli.look", "List closed trades."),
    "balance": ("ledger.cli.look", "Show balance, credit and where they come from."),
    "log": ("ledger.cli.log", "List the events of the journal."),
    "replay": ("ledger.cli.look", "Show the portfolio at any moment."),
    "sync": ("ledger.cli.sync", "Reconcile with the gateway: once, or as a daemon."),
    "drift": ("ledger.cli.sync", "Compare with the gateway; change nothing."),
    "status": ("ledger.cli.status", "Show how syncing stands, and whether it is safe to trade."),
    "breaks": ("ledger.cli.status", "List open breaks with their age."),
    "correct": ("ledger.cli.correct", "Correct by hand what no machine can know."),
    "doctor": ("ledger.cli.doctor", "Check everything that syncing and trading rest on."),
    "sandbox": ("ledger.cli.sandbox", "Run a simulated MT5 terminal to develop and test against."),
    "keys": ("ledger.cli.keys", "Make and authorise keys for gateways, and for seals."),
    "export": ("ledger.cli.carry", "Write events to Parquet, CSV or JSON lines."),
    "backup": ("ledger.cli.carry", "Copy the journal to a file, while it is in use."),
    "restore": ("ledger.cli.carry", "Make a journal of a backup."),
    "seal": ("ledger.cli.seal", "Sign where every account stands, to keep elsewhere."),
    "verify": ("ledger.cli.journal", "Prove that the journal is whole and untouched."),
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
input, 3 unavailable (try again). Times without a zone are UTC.
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
@click.option("--journal", metavar="URL", help="sqlite:///FILE or postgresql+psycopg://HOST/DB; else $LEDGER_JOURNAL.")
@click.option("--version", is_flag=True, is_eager=True, expose_value=False, callback=_print_version, help="Show the version.")
@click.pass_context
def cli(ctx: click.Context, journal: str | None) -> None:
    """An event-sourced position ledger for MetaTrader 5.

    Every fill, recovery and correction is an immutable event in a journal; the portfolio is rebuilt from it for any
    moment and proven against the broker's own figures.
    """
    ctx.obj = journal


def exit_code(error: LedgerError) -> int:
    """Return the exit code that an error ends a command with."""
    if error.retryable:
        return UNAVAILABLE
    return DISAGREES if isinstance(error, (CorruptEvent, DealConflict, VersionGap)) else WRONG_USE


def main(arguments: list[str] | None = None) -> Any:
    """Run a command and leave with its exit code."""
    gc.set_threshold(_GARBAGE)
    try:
        sys.exit(cli.main(args=arguments, prog_name="ledger", standalone_mode=False) or FINE)
    except click.ClickException as error:
        error.show()
        sys.exit(WRONG_USE)
    except (click.Abort, KeyboardInterrupt):
        click.echo("ledger: interrupted", err=True)
        sys.exit(_INTERRUPTED)
    except LedgerError as error:
        click.echo(f"ledger: {error}", err=True)
        sys.exit(exit_code(error))
    except BrokenPipeError:
        # Whoever read our output has seen enough; the interpreter must not complain about it at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(FINE)
    except OSError as error:
        click.echo(f"ledger: {error.filename or ''}: {error.strerror or error}", err=True)
        sys.exit(WRONG_USE)
    finally:
        gc.freeze()  # or else Python looks through all that was loaded once more before it ends
