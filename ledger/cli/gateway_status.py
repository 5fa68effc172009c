"""The command that shows the state of a gateway service."""

from __future__ import annotations

from typing import Any

import click

from ledger.cli.options import json_option
from ledger.cli.output import print_json, print_table, warn


@click.command("status", short_help="Show the state of a gateway service.")
@click.option("--gateway", metavar="URL", help="tcp://HOST:PORT; else $GTW_HOST and $GTW_PORT (5555).")
@click.option("--timeout-ms", type=click.IntRange(min=1), metavar="N", help="For the request; else $GTW_TIMEOUT_MS.")
@click.option("--server-key", metavar="FILE", help="CURVE: the public key of the gateway.")
@click.option("--client-key", metavar="FILE", help="CURVE: our own secret key (ledger keys make).")
@click.option("--insecure", is_flag=True, default=None, help="Speak to another machine without keys.")
@json_option
def status(gateway: str | None, as_json: bool, **given: Any) -> int:  # noqa: FBT001
    """Show the state of a gateway service: its store, its terminal process, and whether it sends orders.

    \b
    Examples:
      ledger gateway status
      ledger gateway status --gateway tcp://127.0.0.1:5555 --json

    Exit codes: 0 it is connected, 1 it is not, or sends no orders, 3 nobody answers.
    """
    from ledger.cli.gateways import gateway_settings
    from ledger.errors import GatewayError

    settings = gateway_settings(gateway=gateway or None, **given)
    url = "tcp://127.0.0.1:5555" if settings is None else settings.url
    settings = settings or gateway_settings(gateway=url, **given)
    assert settings is not None, "it is named"
    connection: Any = settings.connect()
    try:
        service = connection.ping() if hasattr(connection, "ping") else None
    except GatewayError as error:
        warn(str(error))
        return 3
    finally:
        connection.close()
    if service is None:
        warn(f"gateway {url}: it states nothing of itself (protocol version 1): expected a service of version 2")
        return 1
    _show(_rows(url, service), as_json=as_json)
    return 0 if service.connected and service.trade_allowed and "orders" in service.can else 1


def _rows(url: str, service: Any) -> dict[str, Any]:
    process = service.terminal_process or {}
    return {
        "gateway": url,
        "account": None if service.login is None else f"{service.server}/{service.login}",
        "connected": bool(service.connected),
        "trade_allowed": bool(service.trade_allowed),
        "can": sorted(service.can),
        "store": service.store,
        "epoch": service.epoch,
        "seq": service.seq,
        "push_port": service.push_port,
        "terminal_process": {
            name: process.get(name) for name in ("state", "call", "since_msc", "client_id", "pid", "error") if name in process
        },
    }


def _show(rows: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print_json(rows)
        return
    process = rows["terminal_process"]
    words = " ".join(str(process[name]) for name in ("state", "call", "client_id", "error") if process.get(name))
    shown = rows | {"can": ", ".join(rows["can"]), "terminal_process": words}
    print_table(
        "gateway", ["", "seen"], [[name.replace("_", " "), _word(value)] for name, value in shown.items()], empty="nothing"
    )


def _word(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "-" if value is None else str(value)
