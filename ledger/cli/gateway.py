"""The commands beside a terminal: the gateway service."""

from __future__ import annotations

from importlib import import_module
from typing import Final

import click

from ledger.cli.gateway_status import status
from ledger.gateway.serve.command import serve

_PIN: Final = "pin"


class _Beside(click.Group):
    """Knows the command that needs a journal by name: beside a terminal there may be none."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted([*super().list_commands(ctx), _PIN])

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name != _PIN:
            return super().get_command(ctx, cmd_name)
        command: click.Command = import_module("ledger.cli.pin").pin
        return command


@click.group("gateway", cls=_Beside, short_help="Answer for a MetaTrader 5 terminal, beside it.")
def gateway() -> None:
    """Run what is between a MetaTrader 5 terminal and the ledger, or pin which of them orders are sent through."""


gateway.add_command(serve)
gateway.add_command(status)

COMMANDS: Final = {"gateway": gateway}
