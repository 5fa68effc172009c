"""The command that runs a simulated terminal."""

from __future__ import annotations

import signal
import tempfile
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from ledger.cli.options import CLOCK, CLOCK_HELP, account_option
from ledger.cli.output import print_json_lines, print_line, warn
from ledger.errors import BadValue
from ledger.events import CashMoved, FillRecorded
from ledger.values import AccountId, MarginMode

if TYPE_CHECKING:
    from ledger.clock import ClockRule

_CONTROL_BESIDE: Final = 1
_PORT: Final = click.IntRange(0, 65535)
_FILE: Final = click.Path(path_type=Path)
_EXPORT: Final = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command("sandbox", short_help="Run a simulated MT5 terminal to develop and test against.")
@click.option(
    "--port", type=click.IntRange(0, 65535), default=5555, show_default=True, help="Port on this machine; 0 takes a free one."
)
@click.option("--control-port", type=_PORT, metavar="PORT", help="Port of the commands (default: the next one).")
@click.option("--mode", type=click.Choice([mode.value for mode in MarginMode]), default="hedging", show_default=True)
@click.option("--form", type=click.Choice(["extended", "base"]), default="extended", show_default=True, help="Protocol form.")
@click.option("--seed", type=int, default=1, show_default=True, help="The same seed makes the same trades and prices.")
@click.option("--positions", type=click.IntRange(min=0), default=0, metavar="N", help="Positions open at the start.")
@click.option("--magic", type=int, default=0, metavar="N", help="Magic number of those.")
@click.option("--symbols", metavar="A,B,...", help="Only these of its symbols.")
@click.option("--login", type=click.IntRange(min=1), default=70113, show_default=True)
@click.option("--server", default="Sandbox-Demo", show_default=True)
@click.option("--currency", default="USD", show_default=True)
@click.option("--balance", type=Decimal, default=Decimal(10_000), show_default=True, help="First deposit.")
@click.option("--server-tz", type=CLOCK, metavar="RULE", default="ny-close", show_default=True, help=CLOCK_HELP)
@click.option("--virtual-clock", is_flag=True, help="A clock that moves with deals and on command only.")
@click.option("--history", type=_EXPORT, metavar="FILE", help="Replay this export.")
@account_option
@click.option(
    "--manual-trade-every",
    type=click.FloatRange(min=0),
    default=0,
    metavar="SEC",
    help="Make a random manual trade this often.",
)
@click.option("--hand-every", type=click.FloatRange(min=0), metavar="SEC", hidden=True)
@click.option("--fault", "faults", multiple=True, metavar="KIND[:N]", help="What goes wrong, N times. See below.")
@click.option("--fault-rate", type=click.FloatRange(0, 1), default=0, metavar="P", help="Share of answers that go wrong.")
@click.option("--store", type=_FILE, metavar="FILE", help="Store of client ids (default: none kept).")
@click.option("--server-key", type=_FILE, metavar="FILE", help="CURVE: the secret key of this server.")
@click.option("--authorised", type=_FILE, metavar="DIR", help="CURVE: keys of the clients it accepts.")
@click.option("--json", "as_json", is_flag=True, help="Print the endpoints as JSON, and end when standard input does.")
def sandbox(**options: Any) -> None:
    """Run a simulated MT5 terminal behind a real gateway, until it is interrupted.

    \b
    Examples:
      ledger sandbox --positions 3
      ledger sandbox --mode netting --form base --manual-trade-every 5
      ledger sandbox --fault error:2 --fault-rate 0.1 --seed 7
      ledger sandbox --history ReportHistory.html --server-tz ny-close --manual-trade-every 1

    \b
    Manual trades, time and faults are commanded at the control port, JSON over REQ:
      {"command": "trade_manually", "count": 3}    trade behind the engine's back
      {"command": "trade", "symbol": "EURUSD", "side": "buy", "volume": "0.10"}
      {"command": "close", "position": 50000000012}
      {"command": "fault", "kind": "half", "times": 2}        {"command": "clear"}
      {"command": "cash", "type": 2, "amount": "100"}         {"command": "books"}
    also: close_by, fill_more, rollover, rename, swap, stop_out, withdraw, advance, play, stats, stop.
    At the main port order messages are answered as by ledger gateway serve, each client id once;
    for tests there is also {"action": "SEND_ORDER", "symbol": "EURUSD", "side": "buy", "volume": "0.10"}.

    \b
    Faults: offline, slow, error, none, half, duplicate, wrong-login,
    wrong-server, no-identity, not-connected, stale, foreign, malformed, late-deals, no-deals, restart.
    """
    from ledger.gateway.curve import load_server_keys
    from ledger.gateway.sandbox.faults import Faults, fault_of
    from ledger.gateway.sandbox.server import SandboxServer, parent_is_gone

    port, control_port = options["port"], options["control_port"]
    if control_port is None:
        control_port = port + _CONTROL_BESIDE if port else 0
    every_sec = options["manual_trade_every"]
    if options["hand_every"] is not None:
        warn("--hand-every is deprecated: use --manual-trade-every")
        every_sec = options["hand_every"]
    faults = Faults(rate=options["fault_rate"], seed=options["seed"])
    for text in options["faults"]:
        faults.add(*fault_of(text))
    is_still = options["virtual_clock"] or options["history"] is not None
    terminal = _terminal(options, is_still=is_still)
    module = _module_over(terminal, None if is_still else options["server_tz"])
    server = SandboxServer(
        terminal,
        reads=module,
        order_terminal=module,
        store=_store(options["store"]),
        endpoint=f"tcp://127.0.0.1:{port}",
        control=f"tcp://127.0.0.1:{control_port}",
        is_extended=options["form"] == "extended",
        clock=None if is_still else options["server_tz"],
        manual_trade_every_ms=round(every_sec * 1000),
        faults=faults,
        keys=load_server_keys(options["server_key"]) if options["server_key"] else None,
        authorised=options["authorised"],
    )
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: server.stop())
    if options["as_json"]:
        server.serve(
            lambda endpoint, control: print_json_lines(iter([{"endpoint": endpoint, "control": control}])),
            is_orphan=parent_is_gone(),
        )
        return
    server.serve(lambda endpoint, control: _welcome(server.terminal.server, server.terminal.login, endpoint, control))


def _module_over(terminal: Any, clock: ClockRule | None) -> Any:
    """Return the reads of a MetaTrader5 module over a terminal, as ``ledger gateway serve`` has them of a real one."""
    from ledger.gateway.mt5_orders import Mt5OrderTerminal
    from ledger.testing import FakeMetaTrader5, FakeSettings

    present = None if clock is None else lambda: _now_msc(clock)
    settings = FakeSettings(tick_every_ms=0)  # prices depend on seed and orders only, not on how often they are read
    return Mt5OrderTerminal(
        FakeMetaTrader5(terminal, clock=present, settings=settings), login=terminal.login, server=terminal.server
    )


def _store(path: Path | None) -> Path:
    """Return the file of the store; without one that was named it is gone when the program ends."""
    if path is not None:
        return path
    folder = tempfile.TemporaryDirectory(prefix="ledger-sandbox-")
    click.get_current_context().call_on_close(folder.cleanup)
    return Path(folder.name) / "gateway.db"


def _terminal(options: dict[str, Any], *, is_still: bool) -> Any:
    from ledger.gateway.sandbox.terminal import START_MSC, SYMBOLS, Terminal, open_random_positions

    terms: dict[str, Any] = {name: options[name] for name in ("seed", "login", "server", "currency")}
    if options["history"] is not None:
        return _from_history(options, terms)
    symbols = dict(SYMBOLS)
    if options["symbols"]:
        wanted = [name.strip() for name in options["symbols"].split(",")]
        unknown = [name for name in wanted if name not in symbols]
        if unknown:
            raise BadValue(f"the sandbox trades {', '.join(symbols)}, found {', '.join(unknown)}")
        symbols = {name: symbols[name] for name in wanted}
    clock: ClockRule = options["server_tz"]
    start_msc = START_MSC if is_still else _begin_msc(_now_msc(clock))
    terminal = Terminal(mode=options["mode"], symbols=symbols, now_msc=start_msc, **terms)
    if options["balance"]:
        terminal.cash(2, options["balance"], "first deposit")
    open_random_positions(terminal, options["positions"], magic=options["magic"])
    terminal.pace_ms = terminal.pace_ms if is_still else 0
    return terminal


def _begin_msc(now_msc: int) -> int:
    """Return when trading began: an hour ago, so that nothing is just settling; or with the server's day, if that was later.

    Positions that are older than the day need equity that nobody has seen. A day that has just begun is none to settle in.
    """
    from ledger.clock import DAY_MSC, MINUTE_MSC

    day_msc = now_msc - now_msc % DAY_MSC
    return max(now_msc - 3_600_000, day_msc + 1000 if now_msc - day_msc > MINUTE_MSC else 0)


def _now_msc(clock: ClockRule) -> int:
    import time

    return clock.from_utc_msc(time.time_ns() // 1_000_000)


def _from_history(options: dict[str, Any], terms: dict[str, Any]) -> Any:
    """Return a terminal that replays an export: as time passes, or by the command ``play``."""
    from ledger.gateway.sandbox.terminal import Terminal
    from ledger.importer import ImportOptions, import_files
    from ledger.service import Ledger

    account: AccountId | None = options["account"]
    with Ledger.open("memory://") as ledger:
        defaults = ImportOptions(
            account=account, mode=MarginMode(options["mode"]), clock=options["server_tz"], currency=options["currency"]
        )
        import_files(ledger, [options["history"]], options=defaults)
        (account_of_export,) = ledger.accounts()
        deals = [one.event for one in account_of_export.events() if isinstance(one.event, (FillRecorded, CashMoved))]
        opened = account_of_export.terms.opened
    terms |= {"login": opened.login, "server": opened.server, "currency": opened.currency}
    return Terminal.from_history(deals, mode=opened.mode, currency_digits=opened.currency_digits, **terms)


def _welcome(server: str, login: int, endpoint: str, control: str) -> None:
    print_line(f"a simulated terminal, account {server}/{login}, at {endpoint} (commands at {control})")
    print_line("now, in another shell:")
    print_line("  ledger init --journal sqlite:///sandbox.db")
    print_line(f"  ledger sync --startup --journal sqlite:///sandbox.db --gateway {endpoint}")
    print_line("  ledger positions --journal sqlite:///sandbox.db")
    print_line("interrupt to end")


COMMANDS: Final = {"sandbox": sandbox}
