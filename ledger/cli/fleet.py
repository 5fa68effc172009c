"""The commands about a fleet: many accounts at once."""

from __future__ import annotations

from typing import Final

import click

from ledger.cli.fleet_archive import breaks, replay, report


@click.group("fleet", short_help="Ask about all accounts at once, of an archive or the journal.")
def fleet() -> None:
    """Ask about all accounts at once: who holds what at a moment, who believed it, which breaks were open.

    \b
    Examples:
      ledger fleet report --archive archive
      ledger fleet replay --archive archive --until 2026-06-15T12:00 --where 'symbol = XAUUSD'
      ledger fleet breaks --archive archive --known-at 2026-06-15
    """


for _command in (replay, report, breaks):
    fleet.add_command(_command)

COMMANDS: Final = {"fleet": fleet}
