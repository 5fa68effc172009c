"""This module is gateways of a fleet: servers on real sockets, each of which answers for many simulated terminals.

    python3 -m tools.testkit.fleet '{"gateways": 2, "accounts": 20, "first": 0, "trade_every_ms": 50, "seed": 1}'

Every account has a terminal of the sandbox, with the product's own responder over it. Manual trades happen behind everybody's
back, of one account after another at random. Commands come as lines of JSON on standard input, each is answered by one.
"""

from __future__ import annotations

import json
import math
import random
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from threading import Event, Lock, Thread
from typing import Any, Final, Self

import zmq

from ledger.clock import ClockRule
from ledger.gateway.sandbox.faults import Faults
from ledger.gateway.sandbox.responder import SandboxResponder, TerminalReads
from ledger.gateway.sandbox.terminal import Terminal, open_random_positions
from ledger.gateway.server import Call, GatewayServer
from ledger.protocol.messages import Refusal

ROOT: Final = Path(__file__).resolve().parents[2]
SERVER: Final = "Fleet-Demo"
FIRST_LOGIN: Final = 1_000_000
_POSITIONS_MAX: Final = 3  # fewer than these are open at first
_UTC: Final = ClockRule("UTC")


class Gateway:
    """One gateway that answers for many accounts: which, a request states.

    Args:
        logins: Of the accounts.
        trade_every_ms: How often a manual trade is made, of any of them; 0 for never.
        seed: Of prices and trades.
    """

    def __init__(self, logins: range, *, trade_every_ms: float, seed: int) -> None:
        self._lock = Lock()
        self._dice = random.Random(f"fleet {seed} {logins.start}")  # noqa: S311  # a simulation is repeatable, not secret
        self._every_sec = trade_every_ms / 1000
        self._next_at = time.monotonic() if trade_every_ms else math.inf
        self.trades = 0
        self.terminals = {f"{SERVER}/{login}": _terminal(login, seed) for login in logins}
        self._responders = {name: _responder(one) for name, one in self.terminals.items()}
        self.server = GatewayServer(self)

    def take(self, call: Call) -> None:
        """Answer a request for the account that it states."""
        one = self._responders.get(str(call.request.fields.get("account")))
        if one is None:
            call.answer(Refusal("UNKNOWN_ACCOUNT", f"{call.request.fields.get('account')} is of another gateway"))
            return
        with self._lock:
            one.run_due()  # its clock
            one.take(call)

    def run_due(self) -> float:
        """Make the manual trades that are due."""
        with self._lock:
            while time.monotonic() >= self._next_at:
                self._next_at += self._every_sec
                self._trade()
        return self._next_at - time.monotonic()

    def _trade(self) -> None:
        name = self._dice.choice(list(self.terminals))
        self._responders[name].run_due()
        self.terminals[name].trade_manually()
        self.trades += 1

    def quiet(self) -> int:
        """Let no more trades happen; return how many did."""
        with self._lock:
            self._next_at = math.inf
        return self.trades

    def books(self) -> dict[str, Any]:
        """Return account -> its books, with the tickets of its deals."""
        with self._lock:
            return {
                name: one.books() | {"tickets": [row["ticket"] for row in one.deals()]} for name, one in self.terminals.items()
            }


def _terminal(login: int, seed: int) -> Terminal:
    start_msc = _UTC.from_utc_msc(time.time_ns() // 1_000_000) - 3_600_000
    terminal = Terminal(seed=seed * 1_000_003 + login, login=login, server=SERVER, now_msc=start_msc)
    terminal.cash(2, "10000", "first deposit")
    open_random_positions(terminal, login % _POSITIONS_MAX)
    terminal.pace_ms = 0
    return terminal


def _responder(terminal: Terminal) -> SandboxResponder:
    return SandboxResponder(
        terminal=terminal,
        reads=TerminalReads(terminal),
        is_extended=True,
        clock=_UTC,
        manual_trade_every_ms=0,
        faults=Faults(),
        restart=lambda: None,
    )


def main() -> int:
    """Serve gateways until standard input ends."""
    asked = json.loads(sys.argv[1])
    size = asked["accounts"]
    firsts = [FIRST_LOGIN + (asked["first"] + number) * size for number in range(asked["gateways"])]
    gateways = [Gateway(range(one, one + size), trade_every_ms=asked["trade_every_ms"], seed=asked["seed"]) for one in firsts]
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    for one in gateways:
        ready = Event()
        Thread(target=one.server.serve, args=(context, lambda _, ready=ready: ready.set()), daemon=True).start()
        ready.wait()
    _print({one.server.endpoint: list(one.terminals) for one in gateways})
    for line in sys.stdin:
        match json.loads(line):
            case "quiet":
                _print(sum(one.quiet() for one in gateways))
            case "books":
                _print({name: book for one in gateways for name, book in one.books().items()})
    return 0


def _print(value: object) -> None:
    print(json.dumps(value), flush=True)


class GatewayProcess:
    """A process with gateways, commanded by a test or a tool.

    Args:
        gateways: How many.
        accounts: Of each.
        first: The number of the first gateway, among those of all processes.
        trade_every_ms: How often a trade is made at each.
        seed: Of prices and trades.
    """

    def __init__(self, *, gateways: int, accounts: int, first: int = 0, trade_every_ms: float = 0, seed: int = 1) -> None:
        asked = {
            "gateways": gateways, "accounts": accounts, "first": first, "trade_every_ms": trade_every_ms, "seed": seed,
        }  # fmt: skip
        self.popen = subprocess.Popen(
            [sys.executable, "-m", "tools.testkit.fleet", json.dumps(asked)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def endpoints(self) -> Mapping[str, list[str]]:
        """Return endpoint -> the accounts behind it. To be asked once, before anything else."""
        found: Mapping[str, list[str]] = self._read()
        return found

    def ask(self, command: str) -> Any:
        """Send a command: ``quiet`` ends trading, ``books`` returns account -> its books."""
        assert self.popen.stdin is not None
        self.popen.stdin.write(json.dumps(command).encode() + b"\n")
        self.popen.stdin.flush()
        return self._read()

    def close(self) -> None:
        """End it at once."""
        self.popen.kill()
        self.popen.wait()
        for pipe in (self.popen.stdin, self.popen.stdout):
            if pipe is not None:
                pipe.close()

    def _read(self) -> Any:
        assert self.popen.stdout is not None
        line = self.popen.stdout.readline()
        if not line:
            raise AssertionError(f"the gateways ended with {self.popen.wait()}")
        return json.loads(line)


if __name__ == "__main__":
    sys.exit(main())
