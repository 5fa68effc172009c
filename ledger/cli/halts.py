"""The commands that halt trading and end a halt. Nothing is asked first: a halt is safe, and is needed at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import click

from ledger.cli.options import Command, account_of, account_option, accounts_of, decision_options, journal_option, open_ledger
from ledger.cli.output import print_line, warn
from ledger.errors import AccountUnknown, LedgerError
from ledger.events.orders import HaltMode
from ledger.journal import Outcome
from ledger.order_decisions import halt as halt_trading
from ledger.order_decisions import resume as resume_trading

if TYPE_CHECKING:
    from ledger.values import AccountId

#: Mode -> its word on the command line.
MODES: Final = {mode: mode.value.replace("_", "-") for mode in HaltMode}
_MEANING: Final = {
    HaltMode.ALL: "nothing but cancellations is sent",
    HaltMode.NO_NEW_RISK: "only what makes exposure smaller is sent",
}


def _scope_options(command: Command) -> Command:
    for option in (
        click.option("--strategy", metavar="NAME", help="Only orders of this strategy."),
        click.option("--symbol", metavar="S", help="Only this symbol."),
    ):
        command = option(command)
    return command


@click.command("halt", short_help="Halt trading: of the account, a symbol or a strategy.")
@_scope_options
@click.option(
    "--mode",
    type=click.Choice(list(MODES.values())),
    default=MODES[HaltMode.ALL],
    show_default=True,
    help="all: only cancellations are sent; no-new-risk: what makes exposure smaller too.",
)
@decision_options
@journal_option
@account_option
def halt(
    journal: str | None, account: AccountId | None, symbol: str | None, strategy: str | None, mode: str, **decision: Any
) -> None:
    """Halt trading of every account, or of what is named, until it is resumed. Engines see it before their next order.

    It stops what is sent from now on, not what the broker has already: see ledger orders --open.

    \b
    Examples:
      ledger halt --reason "news at 14:30"
      ledger halt --symbol XAUUSD --mode no-new-risk --account Broker-Live/70113 --reason "spread"
    """
    _one_scope(symbol, strategy)
    wanted = next(one for one, word in MODES.items() if word == mode)
    with open_ledger(journal) as ledger:
        chosen = accounts_of(ledger, account)
        if not chosen:
            raise AccountUnknown("there is no account to halt: this journal holds none")
        failures = []
        for found in chosen:
            try:
                outcome = halt_trading(found, symbol=symbol, strategy=strategy, mode=wanted, **decision)
            except LedgerError as error:  # the other accounts are halted all the same
                warn(f"{found.name} is not halted: {error}")
                failures.append(error)
                continue
            did = "halted" if outcome is Outcome.APPENDED else "was halted so already"
            print_line(f"{found.name}{_of(symbol, strategy)} {did} ({mode}): {_MEANING[wanted]}")
        if failures:
            raise failures[0]


@click.command("resume", short_help="End a halt.")
@_scope_options
@decision_options
@journal_option
@account_option
def resume(journal: str | None, account: AccountId | None, symbol: str | None, strategy: str | None, **decision: Any) -> None:
    """End the halt of an account, or of the symbol or strategy of it that is named. Other halts stay in force.

    \b
    Example:
      ledger resume --symbol XAUUSD --account Broker-Live/70113 --reason "spread is normal"
    """
    _one_scope(symbol, strategy)
    with open_ledger(journal) as ledger:
        found = account_of(ledger, account)
        resume_trading(found, symbol=symbol, strategy=strategy, **decision)
        print_line(f"{found.name}{_of(symbol, strategy)} resumed")


def _one_scope(symbol: str | None, strategy: str | None) -> None:
    if symbol is not None and strategy is not None:
        raise click.UsageError("--symbol and --strategy are two halts: give one of them")


def _of(symbol: str | None, strategy: str | None) -> str:
    return f" symbol {symbol}" if symbol is not None else f" strategy {strategy}" if strategy is not None else ""


COMMANDS: Final = {"halt": halt, "resume": resume}
