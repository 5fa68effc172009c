"""This module starts what an order passes through, in processes of their own: an engine, a way that loses messages, a gateway.

All of them know the same crash points (see ``crash_points``); whoever dies is started again where it was.
"""

from __future__ import annotations

import json
import secrets
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, Final, Self

import zmq

from ledger.errors import GatewayError
from ledger.gateway.sandbox.client import Sandbox
from ledger.orders.ids import token_of
from ledger.values import AccountId
from tools.testkit.crash_points import CrashPoints

Json = dict[str, Any]

#: The account of a simulated terminal.
ACCOUNT: Final = AccountId("Sandbox-Demo", 70113)
GIVE_UP_SEC: Final = 60.0  # for what has to happen; nothing waits this long when all is well
TIMEOUT_MS: Final = 5_000
_ROOT: Final = Path(__file__).resolve().parents[2]
_LOOK_SEC: Final = 0.01
_GATEWAY: Final = "from tools.testkit.crash_points import serve; serve()"
_TOKEN_LENGTH: Final = 20


def until(holds: Callable[[], Any], what: str) -> Any:
    """Look again and again until something holds, and return it."""
    give_up = time.monotonic() + GIVE_UP_SEC
    while not (found := holds()):
        if time.monotonic() > give_up:
            raise TimeoutError(f"waited {GIVE_UP_SEC:.0f} s for {what}")
        time.sleep(_LOOK_SEC)
    return found


class OrderGatewayProcess:
    """``ledger gateway serve`` over a simulated terminal: a server process and its terminal process.

    Args:
        folder: Where its store and the terminal's books are.
        points: The crash points.
        options: Further options of the command.
    """

    def __init__(self, folder: Path, points: CrashPoints, *options: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.store = folder / "gateway.db"
        self._log = folder / "gateway.log"
        self._options = options
        self._points = points
        self._port = str(_free_ports())
        self._process: subprocess.Popen[bytes] | None = None
        self._terminal: Sandbox | None = None
        self.endpoint = self.store_id = ""
        self.start()

    def start(self) -> None:
        """Start it, and wait until it answers for its terminal."""
        command = [
            sys.executable, "-c", _GATEWAY, "--fake", "--seed", "7", "--store", str(self.store), "--json", "--port", self._port,
            *self._options,
        ]  # fmt: skip
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                command, cwd=_ROOT, env=self._points.environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log
            )
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the gateway did not start: {self.log()}")
        ready = json.loads(line)
        self.endpoint, self.store_id = ready["endpoint"], ready["store"]
        self._terminal = self._terminal or Sandbox(self.endpoint, ready["control"])
        self.until_ready()

    def log(self) -> str:
        """Return what it printed on its standard error."""
        return self._log.read_text(encoding="utf-8")

    def until_ready(self) -> None:
        """Wait until it answers for its terminal."""
        until(self._is_ready, f"the terminal behind the gateway: {self.log()}")

    def _is_ready(self) -> bool:
        return self.ask("GET_POSITIONS").get("status") == "SUCCESS"

    def ask(self, action: str) -> Json:
        """Return the answer to a request, whatever it is."""
        with zmq.Context() as context, context.socket(zmq.REQ) as asking:
            asking.linger = 0
            asking.connect(self.endpoint)
            asking.send(json.dumps({"action": action, "req_id": "asked"}).encode())
            if not asking.poll(round(GIVE_UP_SEC * 1000)):
                raise TimeoutError(f"no answer to {action}: {self.log()}")
            found: Json = json.loads(asking.recv())
            return found

    def control(self, command: str, **fields: Any) -> Json:
        """Give the simulated terminal a command, as soon as there is one."""
        assert self._terminal is not None
        terminal = self._terminal

        def done() -> Json | None:
            with suppress(GatewayError):  # it went to a terminal process that was killed
                return terminal.control(command, **fields)
            return None

        found: Json = until(done, f"the command {command}")
        return found

    # ---- the truth

    def executions(self) -> Counter[str]:
        """Return how often the broker executed what carries each token, by its own book of requests."""
        comments = self.control("sent")["comments"]
        return Counter(str(comment)[:_TOKEN_LENGTH] for comment in comments if comment)

    def executed(self, client_id: str) -> int:
        """Return how often the broker executed an order."""
        return self.executions()[token_of(ACCOUNT, client_id)]

    def positions(self) -> list[list[Any]]:
        """Return the positions of the terminal's books."""
        rows = self.control("books")["books"]["positions"]
        return sorted([one["position_id"], one["symbol"], one["side"], one["volume"]] for one in rows)

    # ---- what happens to it

    @property
    def is_running(self) -> bool:
        """Whether there is a server process."""
        return self._process is not None and self._process.poll() is None

    def wait_dead(self) -> None:
        """Wait until the server process has killed itself."""
        assert self._process is not None
        self._process.wait(GIVE_UP_SEC)
        for stream in (self._process.stdin, self._process.stdout):
            assert stream is not None
            stream.close()
        self._process = None

    def kill(self) -> None:
        """Kill the server process. Its terminal process ends by itself."""
        assert self._process is not None
        self._process.kill()
        self.wait_dead()

    def terminal_process(self) -> int | None:
        """Return the terminal process's id; None where there is none now."""
        found: int | None = self.ask("PING")["terminal_process"].get("pid")
        return found

    def close(self) -> None:
        """End it."""
        if self._process is not None:
            self.kill()
        if self._terminal is not None:
            self._terminal.stop()


class OrderEngineProcess:
    """A small engine in a process of its own (``order_engine``).

    Args:
        url: Its journal.
        endpoint: Its gateway, or what is between.
        points: The crash points.
        policy: Arguments of its ``OrderPolicy``.
        timeout_ms: How long it waits for an answer.
    """

    def __init__(self, url: str, endpoint: str, points: CrashPoints, *, timeout_ms: int = TIMEOUT_MS, **policy: Any) -> None:
        settings = {
            "url": url, "endpoint": endpoint, "server": ACCOUNT.server, "login": ACCOUNT.login, "timeout_ms": timeout_ms,
            "policy": policy,
        }  # fmt: skip
        self._log = points.folder / f"engine-{secrets.token_hex(4)}.log"
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tools.testkit.order_engine", json.dumps(settings)],
                cwd=_ROOT, env=points.environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True,
                encoding="utf-8",
            )  # fmt: skip
        if self.hear() is None:
            raise RuntimeError(f"the engine did not start: {self.log()}")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def log(self) -> str:
        """Return what it logged."""
        return self._log.read_text(encoding="utf-8")

    def tell(self, do: str, **arguments: Any) -> None:
        """Give it a command."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"do": do, **arguments}) + "\n")
        self._process.stdin.flush()

    def hear(self) -> Json | None:
        """Return its next answer; None where it died instead."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            self._process.wait(GIVE_UP_SEC)
            return None
        found: Json = json.loads(line)
        return found

    def do(self, command: str, **arguments: Any) -> Json:
        """Give it a command and return its answer."""
        self.tell(command, **arguments)
        found = self.hear()
        if found is None or "error" in found:
            raise RuntimeError(f"the engine was to {command}, found {found}: {self.log()}")
        return found

    def is_dead(self) -> bool:
        """Return whether it ended."""
        return self._process.poll() is not None

    def close(self) -> None:
        """End it at once."""
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                with suppress(OSError):
                    stream.close()


class Way:
    """What is between engine and gateway: it loses, delays or duplicates the next order message.

    Args:
        endpoint: The gateway.
    """

    def __init__(self, endpoint: str) -> None:
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._front = self._context.socket(zmq.ROUTER)
        self._back = self._context.socket(zmq.DEALER)
        self._orders = self._context.socket(zmq.PAIR)
        for one in (self._front, self._back, self._orders):
            one.linger = 0
        port = self._front.bind_to_random_port("tcp://127.0.0.1")
        self.endpoint = f"tcp://127.0.0.1:{port}"
        self._back.connect(endpoint)
        self._orders.bind("inproc://orders")
        self._given = self._context.socket(zmq.PAIR)
        self._given.linger = 0
        self._given.connect("inproc://orders")
        self._next = "pass"
        self._late: list[list[bytes]] = []
        self._asked: dict[Any, str] = {}  # id of an order message -> what became of it
        #: The answers to order messages, as they came.
        self.answers: list[Json] = []
        self._thread = threading.Thread(target=self._carry, daemon=True)
        self._thread.start()

    def then(self, what: str) -> None:
        """Decide about the next order message: ``lose``, ``delay`` (``deliver`` ends it), ``duplicate``, ``lose answer``."""
        self._next = what

    @property
    def waiting(self) -> int:
        """How many messages are delayed."""
        return len(self._late)

    def deliver(self) -> Json:
        """Deliver what was delayed, and return its answer."""
        known = len(self.answers)
        self._given.send(b"deliver")
        until(lambda: len(self.answers) > known, "the answer to the late message")
        return self.answers[-1]

    def close(self) -> None:
        """Carry nothing any more."""
        self._given.send(b"stop")
        self._thread.join()
        for one in (self._front, self._back, self._orders, self._given):
            one.close()
        self._context.term()

    def _carry(self) -> None:
        poller = zmq.Poller()
        for one in (self._front, self._back, self._orders):
            poller.register(one, zmq.POLLIN)
        while True:
            ready = dict(poller.poll())
            if self._orders in ready:
                if self._orders.recv() == b"stop":
                    return
                self._back.send_multipart(self._late.pop(0))
            if self._front in ready:
                self._carry_there(self._front.recv_multipart())
            if self._back in ready:
                self._carry_back(self._back.recv_multipart())

    def _carry_there(self, frames: list[bytes]) -> None:
        asked: Json = json.loads(frames[-1])
        if asked.get("action") != "ORDER_SEND":
            self._back.send_multipart(frames)
            return
        what, self._next = self._next, "pass"
        self._asked[asked["req_id"]] = what
        if what == "delay":
            self._late.append(frames)
        elif what != "lose":
            for _ in range(2 if what == "duplicate" else 1):
                self._back.send_multipart(frames)

    def _carry_back(self, frames: list[bytes]) -> None:
        answer: Json = json.loads(frames[-1])
        what = self._asked.get(answer.get("req_id"))
        if what != "lose answer":
            self._front.send_multipart(frames)
        if what is not None:
            self.answers.append(answer)


def _free_ports() -> int:
    """Return the first of three ports that nobody has, of those that systems give to nobody who asks for any."""
    while True:
        first = 20_000 + 3 * secrets.randbelow(4_000)
        with ExitStack() as stack, suppress(OSError):
            for port in range(first, first + 3):
                stack.enter_context(socket.socket()).bind(("127.0.0.1", port))
            return first
