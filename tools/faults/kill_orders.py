#!/usr/bin/env python3
"""Kills an engine that sends orders, and both processes of the gateway service, and checks that no order is lost or doubled.

    python3 tools/faults/kill_orders.py                                 # 2,000 SIGKILLs, SQLite, hedging: an hour
    python3 tools/faults/kill_orders.py --kills 200 --mode netting --seed 7
    python3 tools/faults/kill_orders.py --postgres

An engine trades 20 symbols through an ``OrderManager``, with a ``StateReconciler`` beside it: market and pending orders,
closes, cancels, changes, stops. Prices move, pending orders fill, stops are hit, people close positions in the terminal;
``order_send`` blocks before or after it executes, loses its answer, or answers 10012. The engine, the server process and the
terminal process are killed (SIGKILL) wherever they are, and started again. Every 20 kills the simulated broker's books are
the judge: each client id was sent and executed at most once, nothing that is REJECTED was executed, every order at the broker
is known with its fills, no intent was lost, and the portfolio equals the books after one ``startup_recovery``. The exit code
is 1 if any of it does not hold. A seed repeats the kills and faults, not the moments inside the processes.
"""

import argparse
import json
import os
import pickle
import random
import re
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # Python looks in the folder of a script, not in the project

from tools.dev import bootstrap

_ROOT: Final = Path(__file__).resolve().parents[2]
_ACCOUNT: Final = ("Sandbox-Demo", 70113)
_PATIENCE_SEC: Final = 60.0
_LOOK_SEC: Final = 0.003
_CHECK_EVERY: Final = 20  # kills
_WORLD_KILLS: Final = 200  # then journal, store and books are new ones
_TICK_MS: Final = 150
#: Prices move, and for some calls an order that is done is in neither list, and its deals are not shown.
_BEHAVIOUR: Final = {"tick_every_ms": _TICK_MS, "history_delay_calls": 4, "deals_delay_calls": 6}
_BLOCK_MAX_SEC: Final = 1.0
_ABSENT_SEC: Final = 4.0  # longer than any call blocks: whatever is absent then was not executed
_JUDGE_MS: Final = 20_000  # how long an answer is waited for while nobody is killed
_OPEN_MAX: Final = 30
_TOKEN: Final = re.compile(r"L[A-Z2-7]{19}")
_FURTHER: Final = (("EURAUD", 5, "1.65012"), ("AUDNZD", 5, "1.09311"))  # the sandbox has 18 symbols

#: The service as the command starts it. Its pauses before another attempt are shorter: it is restarted a thousand times.
_SERVICE: Final = """
import sys
from ledger.gateway.serve import command, link, service
link.PAUSE_SEC = service.RECONNECT_SEC = 0.02
link.PAUSE_MAX_SEC = service.RECONNECT_MAX_SEC = 0.2
command._FAKE = "tools.faults.kill_orders:open_market"
command.serve(sys.argv[1:])
"""


class Broken(Exception):
    """Something does not hold that must."""


@dataclass(frozen=True, kw_only=True)
class Harm:
    """One thing that must not be: of an order where it is about one."""

    what: str
    client_id: str | None = None


# ------------------------------------------------------------------------------------------- the market (a terminal process)


def open_market(settings: dict[str, Any], report: Callable[[str | None], object]) -> Any:
    """Return the simulated terminal of ``ledger gateway serve --fake``, with 20 symbols, and prices that can be stopped."""
    from ledger.gateway.sandbox.terminal import SYMBOLS, Symbol
    from ledger.testing import service

    class Market(service.FakeTerminal):
        def command(self, raw: bytes) -> bytes:
            asked = json.loads(raw)
            if asked.get("command") != "tick_every_ms":
                return super().command(raw)
            with self._own_books():
                self._fake.control.change(tick_every_ms=asked["ms"])
                self._save()
            return b'{"status":"SUCCESS"}'

    lot, step = Decimal(100_000), Decimal("0.01")
    further = {name: Symbol(name, digits, step, lot, name[3:], Decimal(price)) for name, digits, price in _FURTHER}
    service.FakeTerminal = Market  # type: ignore[misc]  # this process has no other
    return service.open_fake(settings | {"symbols": {**SYMBOLS, **further}, "behaviour": _BEHAVIOUR}, report)


def digits_of() -> dict[str, int]:
    """Return the symbols, and how many decimals their prices have."""
    from ledger.gateway.sandbox.terminal import SYMBOLS

    return {name: one.digits for name, one in SYMBOLS.items()} | {name: digits for name, digits, _ in _FURTHER}


# -------------------------------------------------------------------------------------------- the engine (a forked process)


def fork_server() -> None:
    """Fork an engine for each line of standard input; answer with its process id.

    It has loaded everything and opened nothing, so that a thousand engines do not cost a thousand starts.
    """
    import ledger.gateway.client
    import ledger.journal.sql.journal
    import ledger.order_manager
    import ledger.reconciler  # noqa: F401

    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # whoever dies is gone at once
    for line in sys.stdin:
        url, endpoint, notes, last, seed = json.loads(line)
        child = os.fork()
        if not child:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            report = _speaker(notes)
            try:
                Engine(url, endpoint, report, last, seed).run()
            except BaseException:  # noqa: BLE001  # an engine that ends by itself is a finding
                report("x " + json.dumps(traceback.format_exc()))
            finally:
                os._exit(1)
        print(child, flush=True)


def _speaker(notes: str) -> Callable[[str], object]:
    """Return a function that leaves a note at once: what was written survives whoever wrote it."""
    file = os.open(notes, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    return lambda words: os.write(file, f"{words}\n".encode())


class Engine:
    """An engine that trades by chance, for ever.

    It notes ``b`` when it begins, ``w ID REQUEST`` before an intent, ``i ID`` when its intent is durable, ``s ID STATE`` when
    it was sent, ``y`` after a sync, and ``x`` what it dies of.
    """

    def __init__(self, url: str, endpoint: str, report: Callable[[str], object], last: str | None, seed: int) -> None:
        from ledger import Ledger

        self.report, self.last, self.endpoint = report, last, endpoint
        self.dice = random.Random(seed)  # noqa: S311  # a test is repeatable, not secret
        self.account = Ledger.open(url).account(*_ACCOUNT)
        self.digits = digits_of()
        self.prefix = f"k{seed}"
        self.count = 0

    def run(self) -> None:
        """Start as an engine does that was killed, then trade."""
        self.report("b")
        self.manager = start_manager(self.account, self.endpoint)
        threading.Thread(target=self._sync, daemon=True).start()
        if self.last is not None and self.dice.random() < 0.5:  # as an engine does that knows only what it wanted
            client_id, fields = json.loads(self.last)
            self._submit(fields, client_id)
        while True:
            self._trade()

    def _sync(self) -> None:
        try:
            one = reconciler(self.account, self.endpoint, self.manager)
            result = one.startup_recovery()
            while result.status.value != "FAILED":
                self.report("y")
                time.sleep(0.05)
                result = one.sync_positions()
            self.report("x " + json.dumps(f"a sync failed: {result.reason}"))
        except BaseException:  # noqa: BLE001  # as above
            self.report("x " + json.dumps(traceback.format_exc()))
        os._exit(1)

    def _trade(self) -> None:
        from ledger.errors import GatewayError

        try:
            fields = self._wish()
        except GatewayError:
            time.sleep(0.01)
            return
        if fields is not None:
            self.count += 1
            self._submit(fields, f"{self.prefix}-{self.count}")

    def _submit(self, fields: dict[str, Any], client_id: str) -> None:
        from ledger.errors import OrderConflict
        from ledger.orders.request import OrderRequest

        self.report("w " + json.dumps([client_id, fields]))
        words = dict(fields)
        make = getattr(OrderRequest, words.pop("make"))
        try:
            order = self.manager.create_order(make(*words.pop("args"), **words), client_id)
        except OrderConflict:
            return  # wanted again after a restart, and the symbol of its position is not known any more
        if order.state.value == "denied":
            return
        self.report(f"i {client_id}")
        order = self.manager.send_order(order, timeout=0.4)
        self.report(f"s {client_id} {order.state.value}")

    def _wish(self) -> dict[str, Any] | None:
        """Return what to do next, as JSON: a method of OrderRequest and its arguments."""
        dice = self.dice
        held = list(self.manager.get_local_positions().values())
        waiting = [one for one in self.manager.orders(open_only=True) if one.ticket is not None and one.kind.value == "pending"]
        full = len(held) + len(waiting) > _OPEN_MAX
        what = dice.choices(
            ("market", "pending", "close", "stops", "cancel", "modify"), (0 if full else 7, 0 if full else 5, 5, 3, 2, 2)
        )[0]
        lots = str(Decimal(dice.randint(1, 20)) / 100)
        side, symbol = dice.choice(("buy", "sell")), dice.choice(list(self.digits))
        if what == "market":
            return {"make": "market", "args": [symbol, side, lots]}
        if what == "pending":
            kind = dice.choice(("limit", "stop"))
            below = (side == "buy") == (kind == "limit")
            return {"make": "pending", "args": [symbol, side, lots], "type": kind, "price": self._away(symbol, below=below)}
        if what in ("close", "stops"):
            if not held:
                return None
            one = dice.choice(held)
            if what == "close":
                part = (one.volume / 2).quantize(Decimal("0.01"))
                args = [one.position_id] if dice.random() < 0.6 or not part else [one.position_id, str(part)]
                return {"make": "close", "args": args}
            return {"make": "stops", "args": [one.position_id], "sl": self._away(one.symbol, below=one.side.value == "buy")}
        if not waiting:
            return None
        target = dice.choice(waiting)
        if what == "cancel":
            return {"make": "cancel", "args": [target.client_id or target.ticket]}
        if target.request is None:
            return None
        below = (target.request.side.value == "buy") == (target.request.type.value == "limit")
        return {"make": "modify", "args": [target.client_id], "price": self._away(target.symbol, below=below)}

    def _away(self, symbol: str, *, below: bool) -> str:
        """Return a price near the market: soon, or later, it is reached."""
        point = Decimal(1).scaleb(-self.digits[symbol])
        away = self.dice.randint(5, 150) * point
        bid = self.manager.gateway.tick(symbol).bid
        return str((bid - away if below else bid + away).quantize(point))


# ------------------------------------------------------------------------------------------------- what both sides start


def policy() -> Any:
    """Return the policy of orders: absence is presumed, soon, as no call blocks for long."""
    from ledger import OrderPolicy

    return OrderPolicy(absence="presume", absent_after_sec=_ABSENT_SEC, valid_for_sec=2)


def start_manager(account: Any, endpoint: str, timeout_ms: int = 1_000) -> Any:
    """Start an order manager as soon as the gateway lets us."""
    from ledger import OrderManager
    from ledger.errors import GatewayError, OrdersRefused
    from ledger.gateway.client import ZmqGateway

    give_up = time.monotonic() + _PATIENCE_SEC
    gateway = ZmqGateway(endpoint, timeout_ms=timeout_ms)
    while True:
        try:
            return OrderManager(account, gateway, policy=policy(), allow_unknown=True)
        except (GatewayError, OrdersRefused):
            if time.monotonic() > give_up:
                raise
            time.sleep(0.02)


def reconciler(account: Any, endpoint: str, manager: Any, timeout_ms: int = 1_000) -> Any:
    """Return a reconciler that does not wait long for what is settling, nor read ten minutes of such trading again."""
    from ledger import ReconcilePolicy, StateReconciler
    from ledger.gateway.client import ZmqGateway

    gateway = ZmqGateway(endpoint, timeout_ms=timeout_ms)
    return StateReconciler(account, gateway, orders=manager, policy=ReconcilePolicy(settle_sec=0.1, overlap_sec=5))


def until(holds: Callable[[], Any], what: str, patience_sec: float = _PATIENCE_SEC) -> Any:
    """Look again and again until something holds, and return it."""
    give_up = time.monotonic() + patience_sec
    found = holds()
    while not found:
        if time.monotonic() > give_up:
            raise Broken(f"waited for {what}")
        time.sleep(_LOOK_SEC)
        found = holds()
    return found


# ------------------------------------------------------------------------------------------------------------ the service


class Service:
    """``ledger gateway serve --fake``: its two processes, which can be killed, and its broker, who cannot."""

    def __init__(self, folder: Path, *, mode: str, seed: int) -> None:
        from ledger.gateway.sandbox.client import Sandbox

        self.folder, self.mode, self.seed = folder, mode, seed
        self.port = _free_ports()
        self.endpoint, control = (f"tcp://127.0.0.1:{self.port + further}" for further in (0, 2))
        self.commands = Sandbox(self.endpoint, control)
        self.orphans: list[int] = []  # terminal processes whose server process was killed
        self.process: subprocess.Popen[str] | None = None

    def launch(self) -> None:
        """Start the server process; do not wait until it answers."""
        command = [
            sys.executable, "-c", _SERVICE, "--fake", "--mode", self.mode, "--balance", "1000000", "--seed", str(self.seed),
            "--store", str(self.folder / "gateway.db"), "--json", "--port", str(self.port),
        ]  # fmt: skip
        with (self.folder / "service.log").open("ab") as log:
            self.process = subprocess.Popen(
                command, cwd=_ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True
            )

    def until_launched(self) -> None:
        """Wait until the server process answers."""
        assert self.process is not None
        assert self.process.stdout is not None
        if not self.process.stdout.readline():
            raise Broken(f"the server process did not start: {(self.folder / 'service.log').read_text()[-2000:]}")

    def kill_server(self) -> None:
        """Kill the server process."""
        assert self.process is not None
        pid = self.terminal().get("pid")
        self.process.kill()
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout):
            assert stream is not None
            stream.close()
        self.process = None
        if pid is not None:
            self.orphans.append(pid)

    def kill_terminal(self) -> bool:
        """Kill the terminal process; return whether there was one."""
        pid = self.terminal().get("pid")
        if pid is None:
            return False
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        return True

    def terminal(self) -> dict[str, Any]:
        """Return what PING states of the terminal process; nothing where nobody answers."""
        import zmq

        with zmq.Context() as context, context.socket(zmq.REQ) as asking:
            asking.linger = 0
            asking.connect(self.endpoint)
            asking.send(b'{"action": "PING", "req_id": "ping"}')
            if not asking.poll(1_000):
                return {}
            found: dict[str, Any] = json.loads(asking.recv())
            return dict(found.get("terminal_process") or {})

    def command(self, name: str, **fields: Any) -> dict[str, Any] | None:
        """Give a command; return None where it was refused, or nobody answered."""
        from ledger.errors import GatewayError

        with suppress(GatewayError):
            return self.commands.control(name, **fields)
        return None

    def calm(self) -> None:
        """Let all be well: no faults, no prices that move, no old process that is still inside a call."""
        until(lambda: not any(map(_runs, self.orphans)), "the end of old terminal processes")
        self.orphans.clear()
        until(lambda: self.command("heal"), "a terminal process")
        until(lambda: self.command("tick_every_ms", ms=0), "prices that do not move")
        until(self._is_well, "positions")

    def _is_well(self) -> bool:
        from ledger.errors import GatewayError
        from ledger.gateway.client import ZmqGateway

        gateway = ZmqGateway(self.endpoint, timeout_ms=1_000)
        try:
            gateway.positions()
        except GatewayError:
            return False
        finally:
            gateway.close()
        return True

    def broker(self) -> Any:
        """Return the broker: the truth."""
        return pickle.loads((self.folder / "gateway.db.fake").read_bytes())  # noqa: S301  # our own simulation's

    def end(self) -> None:
        """End everything."""
        if self.process is not None:
            self.kill_server()
        for pid in self.orphans:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.commands.stop()


def _free_ports() -> int:
    """Return the first of three ports that nobody has, and nobody gets who asks for any port."""
    while True:
        first = 20_000 + 3 * secrets.randbelow(4_000)
        with ExitStack() as stack, suppress(OSError):
            for port in range(first, first + 3):
                stack.enter_context(socket.socket()).bind(("127.0.0.1", port))
            return first


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return True


# -------------------------------------------------------------------------------------------------------------- the judge


def judge(account: Any, broker: Any, noted: dict[str, str]) -> Iterator[Harm]:
    """Compare what the ledger has with the broker's books, after a recovery.

    Args:
        account: The account.
        broker: The books.
        noted: Client ids whose intents were acknowledged, and the state of each that the engine saw last.
    """
    _, orders = account.current_orders()
    ours = {one.client_id: one for one in orders.orders(at_utc_msc=time.time_ns() // 1_000_000) if one.client_id is not None}
    by_token = {one.token: one for one in ours.values() if one.token is not None}
    for client_id in sorted(noted.keys() - ours.keys()):
        yield Harm(what="an intent that was acknowledged is not in the journal", client_id=client_id)
    yield from _judge_requests(by_token, broker)
    yield from _judge_executed(by_token, broker, noted)
    for one in ours.values():
        if one.state.value == "intended":
            yield Harm(what="is neither resolved nor reported as unknown", client_id=one.client_id)
    yield from _judge_blocking(account)
    yield from _judge_positions(account, broker)


def _judge_blocking(account: Any) -> Iterator[Harm]:
    """Judge whether anything was wanted of a symbol while nobody knew what had become of an order of that symbol before.

    The engine sends one order after the other, so what has no answer when the next one is intended is unknown.
    """
    if account.terms.opened.mode.nets:
        return  # there a market order may only reduce, which is allowed
    open_questions: dict[str, str] = {}  # client id -> symbol
    for one in account.events():
        event, kind = one.event, one.kind
        if kind == "OrderIntended" and event.symbol is not None and event.kind.value != "stops":
            unknown = [client_id for client_id, symbol in open_questions.items() if symbol == event.symbol]
            if unknown and event.kind.value in ("market", "pending"):
                yield Harm(what=f"was intended while {', '.join(unknown)} was unknown", client_id=event.client_id)
            open_questions[event.client_id] = event.symbol
        elif (
            kind == "OrderResolved"
            or (kind == "OrderAnswered" and event.verdict.value != "unknown")
            or (kind == "OrderSeen" and event.client_id is not None)
        ):
            open_questions.pop(event.client_id, None)


def _judge_requests(by_token: dict[str, Any], broker: Any) -> Iterator[Harm]:
    """Judge what ``order_send`` was called with."""
    never = {"fenced", "expired", "not_sent"}
    for token, times in Counter(_token(row.get("comment", "")) for row in broker.requests).items():
        one = None if token is None else by_token.get(token)
        if one is None:
            yield Harm(what=f"order_send was called with {token}, which the ledger does not know")
            continue
        if times > 1:
            yield Harm(what=f"order_send was called {times} times", client_id=one.client_id)
        if one.state.value == "denied" or (one.verdict is not None and one.verdict.value in never):
            yield Harm(what=f"order_send was called, and the ledger has {one.state.value} ({one.why})", client_id=one.client_id)


def _judge_executed(by_token: dict[str, Any], broker: Any, noted: dict[str, str]) -> Iterator[Harm]:
    """Judge the orders at the broker."""
    from ledger.orders.states import AT_BROKER

    expected = {2: {"cancelled"}, 4: {"filled"}, 5: {"rejected", "cancelled"}, 6: {"expired"}}
    at_broker = {one.value for one in AT_BROKER}
    filled: Counter[int] = Counter()
    for row in broker.terminal._deals:  # noqa: SLF001  # the judge sees everything
        filled[row["order"]] += Decimal(str(row["volume"]))  # type: ignore[assignment]
    made = {"market", "pending", "close"}
    seen: Counter[str] = Counter()
    for order in (*broker.book.active.values(), *broker.book.finished.values()):
        token = _token(order.comment)
        one = by_token.get(token or "")
        if one is None:
            yield Harm(what=f"order {order.ticket} at the broker ({order.comment}) is not in the ledger")
            continue
        if one.kind.value not in made:
            continue  # a change that was refused, with an order: the fake records one
        seen[one.client_id] += 1
        if noted.get(one.client_id) in ("rejected", "absent", "denied") and order.state != 5:  # not rejected
            yield Harm(what=f"the engine saw {noted[one.client_id]}: order {order.ticket}", client_id=one.client_id)
        wanted = expected.get(order.state, at_broker)
        if one.state.value not in wanted:
            yield Harm(
                what=f"is {one.state.value} ({one.why}), and the broker has order {order.ticket} in state {order.state}",
                client_id=one.client_id,
            )
        elif order.ticket not in one.tickets:
            yield Harm(what=f"has tickets {one.tickets}, at the broker it is {order.ticket}", client_id=one.client_id)
        elif one.filled != filled[order.ticket]:
            yield Harm(what=f"filled {one.filled}, at the broker {filled[order.ticket]}", client_id=one.client_id)
    for client_id, times in seen.items():
        if times > 1:
            yield Harm(what=f"was executed {times} times", client_id=client_id)
    known = {*at_broker, "filled", "cancelled"}
    for one in by_token.values():
        if one.kind.value in made and one.state.value in known and not seen[one.client_id]:
            yield Harm(what=f"is {one.state.value}, and the broker has no such order", client_id=one.client_id)


def _judge_positions(account: Any, broker: Any) -> Iterator[Harm]:
    books, portfolio = broker.terminal.books(), account.portfolio
    nets = broker.terminal.mode.nets
    theirs = {
        one["symbol"] if nets else one["position_id"]: (one["symbol"], one["side"], Decimal(one["volume"]))
        for one in books["positions"]
    }
    ours = {
        one.symbol if nets else one.position_id: (one.symbol, one.side.value, one.volume)
        for one in portfolio.positions.values()
    }
    for key in ours.keys() | theirs.keys():
        if ours.get(key) != theirs.get(key):
            yield Harm(what=f"position {key} is {ours.get(key)}, at the broker {theirs.get(key)}")
    if portfolio.balance != Decimal(books["balance"]):
        yield Harm(what=f"the balance is {portfolio.balance}, at the broker {books['balance']}")


def _token(comment: str) -> str | None:
    found = _TOKEN.match(comment)
    return None if found is None else found[0]


# ----------------------------------------------------------------------------------------------------- the one who kills

_ENGINE, _SERVER, _TERMINAL = "engine", "server process", "terminal process"
_STARTING, _WORKING, _BEFORE, _AFTER, _DOWN = (
    "while it starts", "at work", "order_send entered, not executed", "order_send executed, not answered", "without a server",
)  # fmt: skip
#: What is killed and when -> how often.
_KINDS: Final = {
    (_ENGINE, _STARTING): 3, (_ENGINE, _WORKING): 8, (_ENGINE, _BEFORE): 3, (_ENGINE, _AFTER): 3, (_ENGINE, _DOWN): 1,
    (_SERVER, _STARTING): 1, (_SERVER, _WORKING): 3, (_SERVER, _BEFORE): 2, (_SERVER, _AFTER): 2,
    (_TERMINAL, _STARTING): 1, (_TERMINAL, _WORKING): 3, (_TERMINAL, _BEFORE): 2, (_TERMINAL, _AFTER): 2,
}  # fmt: skip
_FAULTS: Final = (
    "unknown-executed", "unknown-executed", "unknown-not-executed", "lost-executed", "lost-executed", "lost-not-executed",
    "reject", "requote", "reject-with-order", "no-connection", "timeout",
)  # fmt: skip


@dataclass
class Tally:
    """What came of one kind of kill: the orders are those whose intent was the last thing before it, or at all before it."""

    kills: int = 0
    orders: int = 0
    resolved: int = 0
    harm: int = 0


@dataclass
class Found:
    """What came of all kills."""

    tallies: dict[tuple[str, str], Tally] = field(default_factory=dict)
    harms: list[str] = field(default_factory=list)
    states: Counter[str] = field(default_factory=Counter)
    executed: int = 0
    recovery_ms: list[float] = field(default_factory=list)

    @property
    def kills(self) -> int:
        """How many there were."""
        return sum(one.kills for one in self.tallies.values())


class World:
    """A journal, a service, an engine, and who kills them."""

    def __init__(self, url: str, folder: Path, *, mode: str, seed: int, found: Found) -> None:
        from ledger import Ledger

        self.url, self.folder, self.found, self.seed = url, folder, found, seed
        self.dice = random.Random(seed)  # noqa: S311  # a test is repeatable, not secret
        self.ledger = Ledger.create(url)
        self.account = self.ledger.account(*_ACCOUNT)
        self.service = Service(folder, mode=mode, seed=seed)
        command = [sys.executable, str(Path(__file__).resolve()), "--fork-server"]
        self.server = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.engine: int | None = None
        self.engines = 0
        self.notes = folder / "0.notes"
        self.noted: dict[str, str] = {}  # client id -> the state that the engine saw last
        self.wanted: str | None = None
        self.moments: list[tuple[int, tuple[str, str]]] = []  # of kills, UTC msc
        self.harmed: set[tuple[str | None, str]] = set()
        self.counted: set[str] = set()
        self.service.launch()
        self.service.until_launched()
        self.service.calm()
        self.check()

    def close(self) -> None:
        """End everything that was started."""
        if self.engine is not None:
            os.kill(self.engine, signal.SIGKILL)
        for stream in (self.server.stdin, self.server.stdout):
            assert stream is not None
            stream.close()
        self.server.wait(_PATIENCE_SEC)
        self.service.end()
        self.ledger.close()

    # ---- one kill

    def kill_one(self) -> None:
        """Let them work, kill one of them at some moment, and start it again."""
        victim, moment = self.dice.choices(list(_KINDS), list(_KINDS.values()))[0]
        if self.engine is None:
            self._start_engine(until_it_works=(victim, moment) != (_ENGINE, _STARTING))
        self._disturb()
        if moment in (_BEFORE, _AFTER) and not self._block(is_after=moment == _AFTER):
            moment = _WORKING
        if moment == _WORKING:
            self._let_work()
        if moment == _DOWN:
            self._kill(_SERVER, _WORKING)
            time.sleep(self.dice.uniform(0, 0.5))
        if moment == _STARTING and victim != _ENGINE:
            self._kill(victim, _WORKING)
            if victim == _SERVER:
                self.service.launch()
            time.sleep(self.dice.uniform(0, 0.8))
        time.sleep(self.dice.uniform(0, 0.02))  # anywhere within a step: that is the point
        self._kill(victim, moment)
        if self.service.process is None:
            self.service.launch()
            self.service.until_launched()

    def _kill(self, victim: str, moment: str) -> None:
        if victim == _ENGINE:
            self.kill_engine()
        elif victim == _SERVER:
            self.service.kill_server()
        elif not self.service.kill_terminal():
            return  # there is none at this moment
        self.moments.append((time.time_ns() // 1_000_000, (victim, moment)))
        self.found.tallies.setdefault((victim, moment), Tally()).kills += 1

    def kill_engine(self) -> None:
        """Kill the engine, and read its notes."""
        assert self.engine is not None
        with suppress(ProcessLookupError):
            os.kill(self.engine, signal.SIGKILL)
        gone, self.engine = self.engine, None
        until(lambda: not _runs(gone), "the end of the engine")
        for line in _lines(self.notes):
            mark, _, rest = line.partition(" ")
            if mark == "x":
                self._report(Harm(what=f"the engine ended by itself: {json.loads(rest)[-1500:]}"))
            elif mark == "i":
                self.noted[rest] = "intended"
            elif mark == "s":
                client_id, _, state = rest.partition(" ")
                self.noted[client_id] = state
            elif mark == "w":
                self.wanted = rest
        self.notes.unlink(missing_ok=True)

    def _start_engine(self, *, until_it_works: bool) -> None:
        self.engines += 1
        self.notes = self.folder / f"{self.engines}.notes"
        assert self.server.stdin is not None
        assert self.server.stdout is not None
        words = (self.url, self.service.endpoint, str(self.notes), self.wanted, self.seed * 100_000 + self.engines)
        self.server.stdin.write(json.dumps(words) + "\n")
        self.server.stdin.flush()
        self.engine = int(self.server.stdout.readline())
        until(lambda: self._marks("b") or not _runs(self.engine or 0), "an engine that begins")
        if until_it_works:
            self._until_more("s", 1)
        else:
            time.sleep(self.dice.uniform(0, 0.15))

    def _let_work(self) -> None:
        self._until_more("s", self.dice.choice((0, 1, 1, 2, 3, 5)))

    def _until_more(self, mark: str, more: int) -> None:
        wanted = self._marks(mark) + more
        with suppress(Broken):  # an engine that may not send is killed as well
            until(lambda: self._marks(mark) >= wanted or not _runs(self.engine or 0), "orders that are sent", 5)

    def _marks(self, mark: str) -> int:
        return sum(line.startswith(mark) for line in _lines(self.notes))

    def _block(self, *, is_after: bool) -> bool:
        """Let the next order block the terminal process, and wait until it does."""
        seconds = self.dice.uniform(0.2, _BLOCK_MAX_SEC)
        if self.service.command("block", call="order_send", seconds=seconds, after=is_after) is None:
            return False
        call = "order_send done" if is_after else "order_send"
        try:
            until(lambda: self.service.terminal().get("call") == call, "an order that is sent", 3)
        except Broken:
            return False
        time.sleep(self.dice.uniform(0, seconds * 0.9))
        return True

    def _disturb(self) -> None:
        """Let something go wrong with a call, or somebody else trade."""
        if self.dice.random() < 0.4:
            self.service.command("fail", fault=f"{self.dice.choice(_FAULTS)}:1")
        if self.dice.random() < 0.3:
            books = self.service.command("books") or {"books": {"positions": []}}
            held = [one["position_id"] for one in books["books"]["positions"]]
            if held and self.dice.random() < 0.8:
                self.service.command("close", position=self.dice.choice(held))
            else:
                self.service.command("trade", symbol=self.dice.choice(list(digits_of())), side="buy", volume="0.03")

    # ---- the judgement

    def check(self) -> None:
        """Kill the engine, let all be calm, recover once, and compare with the broker's books."""
        if self.engine is not None:
            self._kill(_ENGINE, _WORKING)
        self.service.calm()
        began = time.perf_counter()
        with self._recovered() as (manager, one, first):
            self.found.recovery_ms.append((time.perf_counter() - began) * 1000)
            if first.status.value != "SUCCESS":
                self._report(Harm(what=f"a restart did not converge: {first.status.value}, {first.reason}, held {first.held}"))
            for harm in judge(self.account, self.service.broker(), self.noted):
                self._report(harm)
            second = one.sync_positions()
            again = [event.kind for event in second.events if event.kind != "OrderResolved"]
            if again or second.status.value != "SUCCESS":
                self._report(
                    Harm(what=f"a second sync appended {again}: {second.status.value}, {second.reason}, {second.held}")
                )
            problems = self.ledger.verify().problems
            if problems:
                self._report(Harm(what=f"verify: {problems[:3]}"))
        self._count(manager)
        until(lambda: self.service.command("tick_every_ms", ms=_TICK_MS), "prices that move")

    def settle(self) -> None:
        """Wait until what is unknown is found, or presumed absent; judge again."""
        self.check()
        with self._recovered() as (manager, one, _), suppress(Broken):  # while prices move: a clock that rests proves nothing
            until(lambda: self._is_settled(one, manager), "answers", 4 * _ABSENT_SEC)
        self.check()
        for order in self.account.current_orders()[1].orders(at_utc_msc=time.time_ns() // 1_000_000):
            self.found.states[f"{order.kind.value} {order.state.value}"] += order.client_id is not None
        broker = self.service.broker()
        self.found.executed += sum(
            _token(row.comment) is not None for row in (*broker.book.active.values(), *broker.book.finished.values())
        )

    @staticmethod
    def _is_settled(one: Any, manager: Any) -> bool:
        time.sleep(0.3)
        one.sync_positions()
        return not any(order.is_unknown for order in manager.orders(open_only=True))

    @contextmanager
    def _recovered(self) -> Iterator[tuple[Any, Any, Any]]:
        """Start as an engine does: a manager, and one start-up recovery."""
        if not self.account.is_open:
            self.account.open(currency="USD", mode=self.service.mode, clock="ny-close")
        manager = start_manager(self.account, self.service.endpoint, _JUDGE_MS)
        one = reconciler(self.account, self.service.endpoint, manager, _JUDGE_MS)
        try:
            yield manager, one, one.startup_recovery()
        finally:
            one.gateway.close()
            manager.gateway.close()

    def _count(self, manager: Any) -> None:
        """Attribute each order to the kill that came after its intent."""
        for order in manager.orders():
            kind = self._kill_after(order)
            if kind is None or order.client_id in self.counted:
                continue
            self.counted.add(order.client_id)
            tally = self.found.tallies[kind]
            tally.orders += 1
            tally.resolved += bool(order.resolutions) or (
                order.verdict is not None and order.verdict.value in ("fenced", "unknown")
            )

    def _kill_after(self, order: Any) -> tuple[str, str] | None:
        if order is None or order.client_id is None or order.intended_utc_msc is None:
            return None
        return next((kind for at_msc, kind in self.moments if at_msc >= order.intended_utc_msc), None)

    def _report(self, harm: Harm) -> None:
        if (harm.client_id, harm.what) in self.harmed:
            return
        self.harmed.add((harm.client_id, harm.what))
        order = None if harm.client_id is None else self.account.current_orders()[1].order(harm.client_id)
        kind = self._kill_after(order) or (self.moments[-1][1] if self.moments else (_ENGINE, _STARTING))
        self.found.tallies.setdefault(kind, Tally()).harm += 1
        self.found.harms.append(
            f"seed {self.seed}, kill {len(self.moments)} ({', '.join(kind)}): {harm.client_id or ''} {harm.what}"
        )


def _lines(notes: Path) -> list[str]:
    """Return the whole lines: a process that was killed may have left half of one."""
    return notes.read_text(encoding="utf-8").split("\n")[:-1] if notes.exists() else []


def run(
    new_url: Callable[[Path], str],
    folder: Path,
    *,
    kills: int,
    mode: str,
    seed: int,
    progress: Callable[[Found], object] = lambda _: None,
) -> Found:
    """Kill so many times, in one world after the other; return what came of it."""
    found = Found()
    number = 0
    while found.kills < kills:
        number += 1
        place = folder / str(number)
        place.mkdir()
        end, checked = min(kills, found.kills + _WORLD_KILLS), found.kills
        world = World(new_url(place), place, mode=mode, seed=seed + number - 1, found=found)
        try:
            while found.kills < end:
                world.kill_one()
                if found.kills - checked >= _CHECK_EVERY:
                    world.check()
                    checked = found.kills
                progress(found)
            world.settle()
        finally:
            world.close()
    return found


def report_of(found: Found) -> str:
    """Return what came of it as text: a line for each kind of kill."""
    lines = [f"{'killed':<18} {'when':<36} {'kills':>6} {'orders':>7} {'resolved later':>15} {'harm':>5}"]
    lines += [
        f"{victim:<18} {moment:<36} {one.kills:>6} {one.orders:>7} {one.resolved:>15} {one.harm:>5}"
        for (victim, moment), one in sorted(found.tallies.items())
    ]
    states = ", ".join(f"{count} {state}" for state, count in sorted(found.states.items()))
    recovery = sorted(found.recovery_ms)[len(found.recovery_ms) // 2]
    return "\n".join([*lines, states, f"{found.executed} orders executed, recovery {recovery:.0f} ms (median)", *found.harms])


def main() -> int:
    """Run and report."""
    if "--fork-server" in sys.argv:
        fork_server()
        return 0
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=2000, metavar="N")
    parser.add_argument("--seed", type=int, default=1, metavar="N")
    parser.add_argument("--mode", choices=("hedging", "netting"), default="hedging")
    parser.add_argument("--postgres", action="store_true", help="journals on a PostgreSQL server that is started for it")
    arguments = parser.parse_args()
    bootstrap.enter(bootstrap.DEV_LOCK)
    folder = Path(tempfile.mkdtemp(prefix="ledger-kill-orders-"))
    began = time.monotonic()

    def progress(found: Found) -> None:
        if sys.stderr.isatty():
            print(f"\r{found.kills} kills, {len(found.harms)} harms", end="", file=sys.stderr)

    with ExitStack() as stack:
        if arguments.postgres:
            from tools.testkit.postgres import start_postgres

            server = stack.enter_context(start_postgres())

            def new_url(folder: Path) -> str:  # noqa: ARG001  # on a server it needs none
                return server.create_database()

        else:
            new_url = _sqlite_url
        found = run(new_url, folder, kills=arguments.kills, mode=arguments.mode, seed=arguments.seed, progress=progress)
    journal = "PostgreSQL" if arguments.postgres else "SQLite"
    print(f"{found.kills} kills in {time.monotonic() - began:.0f} s, {journal}, {arguments.mode}, seed {arguments.seed}")
    print(report_of(found))
    return 1 if found.harms else 0


def _sqlite_url(folder: Path) -> str:
    return f"sqlite:///{folder}/journal.db"


if __name__ == "__main__":
    sys.exit(main())
