"""The command that runs the gateway service: options to settings, and what happens in words.

It needs no more than the service itself: beside a terminal the complete installation is not there.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import tempfile
import threading
from collections.abc import Callable
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import click
import zmq

from ledger.errors import BadValue, GatewayUnavailable
from ledger.gateway.curve import load_server_keys
from ledger.gateway.serve import package
from ledger.gateway.serve.link import CALL_DEADLINE_SEC
from ledger.gateway.serve.service import POLL_MS, GatewayService, ServiceSettings
from ledger.gateway.serve.terminal_process import TerminalSettings
from ledger.values import MarginMode

_FAKE: Final = "ledger.testing.service:open_fake"  # by name: only a terminal process with --fake imports it
_PORT: Final = click.IntRange(0, 65535)
_FILE: Final = click.Path(path_type=Path)
_STORE: Final = "gateway.db"
_SIGNALS: Final = ("SIGINT", "SIGTERM", "SIGBREAK")  # the last is Windows' Ctrl-Break


@click.command("serve", short_help="Answer for a MetaTrader 5 terminal, beside it.")
@click.option("--fake", is_flag=True, help="Answer for a simulated terminal.")
@click.option("--bind", "host", default="127.0.0.1", show_default=True, metavar="ADDRESS", help="Any other needs keys.")
@click.option("--port", type=_PORT, default=5555, show_default=True, help="Port of requests; 0 takes a free one.")
@click.option("--push-port", type=_PORT, metavar="PORT", help="Port of the push stream (default: the next one).")
@click.option("--store", type=_FILE, metavar="FILE", help=f"Store of the service (default: {_STORE}; none kept with --fake).")
@click.option("--path", metavar="EXE", help="The terminal's program, terminal64.exe (default: whichever the package finds).")
@click.option("--login", type=click.IntRange(min=1), metavar="N", help="Account that the terminal must show (default: any).")
@click.option("--server", metavar="NAME", help="Trade server that the terminal must show (default: any).")
@click.option("--portable", is_flag=True, help="Start the terminal in portable mode.")
@click.option("--read-only", is_flag=True, help="Refuse every order.")
@click.option("--allow-engine-form", is_flag=True, help="Take orders of engines without intents (BUY, SELL).")
@click.option(
    "--call-deadline", type=click.FloatRange(min=0.1), default=CALL_DEADLINE_SEC, show_default=True, metavar="SEC",
    help="Replace the terminal process after so long in one call.",
)  # fmt: skip
@click.option(
    "--poll-ms", type=click.IntRange(10, 60_000), default=POLL_MS, show_default=True, metavar="N",
    help="How often to look for changes.",
)  # fmt: skip
@click.option("--server-key", type=_FILE, metavar="FILE", help="CURVE: the secret key of this service.")
@click.option("--authorised", type=_FILE, metavar="DIR", help="CURVE: keys of the clients it accepts.")
@click.option("--control-port", type=_PORT, metavar="PORT", help="With --fake: port of commands (default: two further).")
@click.option("--positions", type=click.IntRange(min=0), default=0, metavar="N", help="With --fake: positions at the start.")
@click.option("--balance", default="10000", metavar="MONEY", help="With --fake: first deposit.")
@click.option("--mode", type=click.Choice([mode.value for mode in MarginMode]), default="hedging", help="With --fake.")
@click.option("--seed", type=int, default=1, help="With --fake: same seed, same books.")
@click.option("--server-tz", default="ny-close", metavar="RULE", help="With --fake: its clock; 'still' stands still.")
@click.option("--fault", "faults", multiple=True, metavar="KIND[:N]", help="With --fake: what goes wrong, N times.")
@click.option("--call-s", type=click.FloatRange(min=0), default=0, metavar="SEC", help="With --fake: how long each call takes.")
@click.option("--json", "as_json", is_flag=True, help="Print the endpoints as JSON, and end when standard input does.")
def serve(**options: Any) -> None:
    """Answer requests for a MetaTrader 5 terminal, and publish what changes in it, until interrupted.

    Run it on the terminal's machine. One service answers for one account of one terminal.

    \b
    Examples:
      ledger gateway serve --path C:/Broker/terminal64.exe --login 70113 --server Broker-Live
      ledger gateway serve --fake --positions 3
      ledger gateway serve --bind 0.0.0.0 --server-key service.key_secret --authorised clients

    \b
    A simulated terminal takes commands at its control port, JSON over REQ, as ledger sandbox does:
      {"command": "trade_manually", "count": 3}      {"command": "close", "position": 50000000012}
      {"command": "block", "seconds": 30}            the next call blocks the terminal process
      {"command": "block", "seconds": 30, "call": "order_send", "after": true}  it is executed, then blocks
      {"command": "fail", "fault": "timeout:3"}      {"command": "heal"}
      {"command": "sent"}                            how often order_send was called, with which comments
    """
    with ExitStack() as stack:
        service = GatewayService(_settings(options, stack), report=_report)
        for name in _SIGNALS:
            if hasattr(signal, name):
                signal.signal(getattr(signal, name), lambda *_: service.stop())
        if options["as_json"]:
            _stop_with_input(service.stop)
        try:
            service.serve(lambda: _welcome(service, as_json=options["as_json"]))
        except zmq.ZMQError as error:
            raise GatewayUnavailable(
                f"port {options['port']} or the next cannot be bound ({error}): choose another --port"
            ) from error
    if not options["as_json"]:
        _report("stopped")


def _settings(options: dict[str, Any], stack: ExitStack) -> ServiceSettings:
    """Return the settings of a service.

    Raises:
        BadValue: Options do not go together, or a file of keys is none.
    """
    port, push_port = options["port"], options["push_port"]
    host = f"[{options['host']}]" if ":" in options["host"] else options["host"]
    if (options["server_key"] is None) != (options["authorised"] is None):
        raise BadValue("keys come in twos: --server-key (our own) and --authorised (the folder of the clients')")
    store = options["store"]
    if store is None and options["fake"]:
        store = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ledger-gateway-"))) / _STORE
    store = store or Path(_STORE)
    control = None
    if options["fake"]:
        control_port = options["control_port"]
        control = f"tcp://127.0.0.1:{(port + 2 if port else 0) if control_port is None else control_port}"
    return ServiceSettings(
        terminal=_fake(options, store) if options["fake"] else _terminal(options),
        store=store,
        endpoint=f"tcp://{host}:{port}",
        push_endpoint=f"tcp://{host}:{(port + 1 if port else 0) if push_port is None else push_port}",
        control_endpoint=control,
        read_only=options["read_only"],
        allow_engine_form=options["allow_engine_form"],
        call_deadline_sec=options["call_deadline"],
        poll_ms=options["poll_ms"],
        keys=None if options["server_key"] is None else load_server_keys(options["server_key"]),
        authorised=options["authorised"],
    )


def _terminal(options: dict[str, Any]) -> TerminalSettings:
    given = {name: options[name] for name in ("path", "login", "server", "portable")}
    return TerminalSettings(opener=package.OPENER, settings=given)


def _fake(options: dict[str, Any], store: Path) -> TerminalSettings:
    settings: dict[str, Any] = {
        "state": str(store.with_name(store.name + ".fake")),
        "call_sec": options["call_s"],
        "deposit": options["balance"],
        "clock": None if options["server_tz"] == "still" else options["server_tz"],
        **{name: options[name] for name in ("positions", "mode", "seed", "faults")},
        **{name: options[name] for name in ("login", "server") if options[name] is not None},
    }
    return TerminalSettings(opener=_FAKE, settings=settings)


def _stop_with_input(stop: Callable[[], object]) -> None:
    """Stop when standard input ends: whoever started this program is gone then, on every system."""

    def wait() -> None:
        while os.read(sys.stdin.fileno(), 4096):  # a thread inside a buffered read would abort the end of the program
            pass
        stop()

    threading.Thread(target=wait, name="ledger-input", daemon=True).start()


def _welcome(service: GatewayService, *, as_json: bool) -> None:
    if as_json:
        found = {
            "endpoint": service.endpoint,
            "push": service.publisher.endpoint,
            "control": service.control_endpoint,
            "store": service.store.id,
            "epoch": service.store.epoch,
        }
        click.echo(json.dumps(found))
        return
    click.echo(f"answering at {service.endpoint}, events at {service.publisher.endpoint}")
    if service.control_endpoint is not None:
        click.echo(f"a simulated terminal, commands at {service.control_endpoint}")
    click.echo("now, in another shell:")
    click.echo("  ledger init --journal sqlite:///desk.db")
    click.echo(f"  ledger sync --startup --journal sqlite:///desk.db --gateway {service.endpoint}")
    click.echo("interrupt to end")


def _report(what: str) -> None:
    click.echo(f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S}Z {what}", err=True)
