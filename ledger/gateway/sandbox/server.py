"""The sandbox's server: a simulated terminal behind the gateway's server, and a second socket for commands.

Engines and reconcilers ask at the one, base or extended form; the other, REP and never disturbed by a fault, takes commands.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from threading import Event, Thread

import zmq
from attrs import define, field

from ledger.clock import ClockRule
from ledger.deprecation import Alias, init_arguments
from ledger.gateway.curve import ServerKeys
from ledger.gateway.sandbox.control import Control
from ledger.gateway.sandbox.faults import Faults
from ledger.gateway.sandbox.orders import SandboxOrders
from ledger.gateway.sandbox.responder import Reads, SandboxResponder, TerminalReads
from ledger.gateway.sandbox.terminal import Terminal
from ledger.gateway.serve.terminal_process import Terminal as OrderTerminal
from ledger.gateway.server import GatewayServer
from ledger.protocol import MESSAGE_BYTES_MAX


@init_arguments(hand_every_msc="manual_trade_every_ms")
@define(eq=False)
class SandboxServer:
    """Serves a terminal until ``stop``.

    Attributes:
        terminal: What it serves.
        reads: How it is read: a MetaTrader5 module over it, or None for the terminal itself.
        endpoint: ``tcp://127.0.0.1:5555``; port 0 takes a free one.
        control: The endpoint of the commands.
        is_extended: Whether it speaks the extended form.
        clock: What the server's clock shows of the present; None: a clock that only moves on command and with deals.
        manual_trade_every_ms: How often a random manual trade is made, 0 for never.
        faults: What goes wrong.
        keys: CURVE keys; clients must be in ``authorised`` then.
        order_terminal: What carries out orders, a MetaTrader5 module over the terminal; None: it takes none.
        store: File of the store of client ids, which orders need.
    """

    terminal: Terminal
    endpoint: str = "tcp://127.0.0.1:0"
    control: str = "tcp://127.0.0.1:0"
    is_extended: bool = True
    clock: ClockRule | None = None
    manual_trade_every_ms: int = 0
    faults: Faults = field(factory=Faults)
    reads: Reads | None = None
    keys: ServerKeys | None = None
    authorised: Path | None = None
    order_terminal: OrderTerminal | None = None
    store: Path | None = None
    _orders: SandboxOrders | None = field(default=None, init=False)
    _server: GatewayServer = field(init=False)
    _control: Control = field(init=False)
    hand_every_msc = Alias("manual_trade_every_ms")

    def __attrs_post_init__(self) -> None:
        responder = SandboxResponder(
            terminal=self.terminal,
            reads=self.reads or TerminalReads(self.terminal),
            is_extended=self.is_extended,
            clock=self.clock,
            manual_trade_every_ms=self.manual_trade_every_ms,
            faults=self.faults,
            restart=self._restart,
        )
        if self.order_terminal is not None and self.store is not None:
            responder.orders = self._orders = SandboxOrders(self.order_terminal, self.store, responder.head)
        self._server = GatewayServer(responder, endpoint=self.endpoint, keys=self.keys, authorised=self.authorised)
        self._control = Control(responder, self.stop)

    def serve(self, ready: Callable[[str, str], object] = lambda *_: None, *, is_orphan: Callable[[], bool] = bool) -> None:
        """Bind and answer until ``stop``, or until nobody is left who started it.

        Args:
            ready: Called with both endpoints once they are bound.
            is_orphan: Whether the process that started this one is gone.
        """
        context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        commands = context.socket(zmq.REP)
        try:
            commands.linger = 0
            commands.setsockopt(zmq.MAXMSGSIZE, MESSAGE_BYTES_MAX)
            commands.bind(self.control)
            control = commands.getsockopt_string(zmq.LAST_ENDPOINT)
            self._server.serve(
                context,
                lambda endpoint: ready(endpoint, control),
                watched={commands: lambda: commands.send(self._control.carry_out(b"".join(commands.recv_multipart())))},
                is_orphan=is_orphan,
            )
        finally:
            commands.close(linger=0)
            context.term()
            if self._orders is not None:
                self._orders.close()

    def stop(self) -> None:
        """End ``serve`` soon. May be called from a signal handler."""
        self._server.stop()

    def _restart(self) -> None:
        self._server.restart()


def parent_is_gone() -> Callable[[], bool]:
    """Return a function that returns whether the process that started this one is gone.

    On Windows a process keeps the id of its parent for ever; there the pipe that the parent holds to our input shows it.
    """
    if os.name != "posix":
        return pipe_ended(0)
    parent = os.getppid()
    return lambda: os.getppid() != parent


def pipe_ended(descriptor: int) -> Callable[[], bool]:
    """Return a function that returns whether a pipe has ended; what is no pipe never does."""
    ended = Event()

    def wait() -> None:
        with suppress(OSError):
            while os.read(descriptor, 1024):
                pass
        ended.set()

    try:
        if stat.S_ISFIFO(os.fstat(descriptor).st_mode):
            Thread(target=wait, daemon=True, name="ledger-parent").start()
    except OSError:
        pass  # there is no such input
    return ended.is_set
