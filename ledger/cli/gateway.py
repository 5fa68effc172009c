"""The commands beside a terminal: the gateway service."""

from __future__ import annotations

from typing import Final

import click

from ledger.cli.gateway_status import status
from ledger.gateway.serve.command import serve


@click.group("gateway", short_help="Answer for a MetaTrader 5 terminal, beside it.")
def gateway() -> None:
    """Run what stands between a MetaTrader 5 terminal and the ledger."""


gateway.add_command(serve)
gateway.add_command(status)

COMMANDS: Final = {"gateway": gateway}
