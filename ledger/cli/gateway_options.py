"""The options of commands that speak to a gateway; ``gateways`` has what they come to."""

from __future__ import annotations

import click

from ledger.cli.options import CLOCK, CLOCK_HELP, Command
from ledger.gateway.forms import FORMS


def gateway_options(command: Command) -> Command:
    """Take what names a gateway and the keys for it."""
    for option in (
        click.option("--insecure", is_flag=True, default=None, help="Speak to another machine without keys."),
        click.option("--client-key", metavar="FILE", help="CURVE: our own secret key (ledger keys make)."),
        click.option("--server-key", metavar="FILE", help="CURVE: the public key of the gateway."),
        click.option("--form", type=click.Choice(FORMS), help="Gateway protocol (default: json)."),
        click.option("--timeout-ms", type=click.IntRange(min=1), metavar="N", help="For each request; else $GTW_TIMEOUT_MS."),
        click.option("--gateway", metavar="URL", help="tcp://HOST:PORT, or mt5:; else $GTW_HOST and $GTW_PORT (5555)."),
    ):
        command = option(command)
    return command


def terminal_option(command: Command) -> Command:
    """Add the option that names the program of a terminal in this process."""
    return click.option(
        "--terminal", metavar="PATH", help="Program of a MetaTrader 5 terminal on this machine, for --gateway mt5:."
    )(command)


def server_tz_option(command: Command) -> Command:
    """Take the clock rule for an account that a gateway opens."""
    return click.option("--server-tz", type=CLOCK, metavar="RULE", help=f"{CLOCK_HELP} For an account that is opened.")(command)
