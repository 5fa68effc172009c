#!/usr/bin/env python3
"""This script sends hostile requests to a running gateway service, beside a client that goes on reading from it.

    python3 tools/faults/fuzz_service.py                     # 100,000 requests, some minutes
    python3 tools/faults/fuzz_service.py --requests 1000000 --seed 7

Requests are valid ones that were cut, bent and blown up, orders of every form, plain noise, messages of many frames, and
bytes that are no ZeroMQ; some readers of the push stream never read. The same seed gives the same requests. The exit code is
1 if the service ended or lost its terminal process, if the other client was refused or shown something else than the broker
has, if anything but an order of the protocol was traded, or if an order was sent twice; what did it is printed.
"""

import argparse
import json
import random
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # Python looks in the folder of a script, not in the project

from tools.dev import bootstrap
from tools.faults.fuzz_gateway import NOISE, bend, damage

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_SEC = 60.0
CHECK_EVERY = 500
CLIENT_IDS = 60
ORDER = {
    "action": "ORDER_SEND", "req_id": "r10", "client_id": "01JDN5", "token": "LK3V", "login": 70113, "server": "Sandbox-Demo",
    "store": "9b1c", "valid_until_msc": 1764172805000, "kind": "market", "symbol": "EURUSD", "side": "buy", "volume": "0.10",
    "price": "1.05432", "deviation": 10, "sl": "1.05000", "tp": None, "filling": "auto", "lifetime": "gtc", "magic": 770115,
    "position": None, "position_by": None, "order": None, "comment": "LK3V",
}  # fmt: skip
VALID: tuple[dict[str, Any], ...] = (
    {"action": "PING", "req_id": "r1"},
    {"action": "GET_POSITIONS", "symbol": "*", "req_id": "r2"},
    {"action": "GET_POSITIONS", "symbol": "EURUSD"},
    {"action": "GET_DEALS", "from_msc": 0, "to_msc": 1764266400000, "req_id": "r3", "deadline_msc": 5000},
    {"action": "GET_DEALS", "position": 50000000012, "req_id": "r3"},
    {"action": "GET_ACCOUNT", "req_id": "r4"},
    {"action": "GET_SYMBOLS", "req_id": "r5"},
    {"action": "GET_EVENTS", "after_seq": 0, "limit": 500, "req_id": "r12"},
    ORDER,
    {"action": "ORDER_STATUS", "req_id": "r11", "client_id": "01JDN5", "store": "9b1c", "fence": True, "lookup": True},
    {"action": "ORDER_CHECK", "req_id": "r9", "kind": "market", "symbol": "EURUSD", "side": "buy", "volume": "0.10"},
    {"action": "SEND_ORDER", "symbol": "EURUSD", "side": "buy", "volume": "0.10"},
    {"order_id": "7", "symbol": "EURUSD", "action": "BUY", "volume": 0.1, "price": 1.1, "confidence": 0.9},
    {"command": "trade", "symbol": "EURUSD", "side": "buy", "volume": "0.10"},
    {"action": "CONNECT", "call": "command", "text": '{"command":"trade_manually"}'},
)


class Endpoints(NamedTuple):
    """Where a service is."""

    requests: str
    push: str
    control: str


def order_messages(store: str) -> tuple[dict[str, Any], ...]:
    """Return order messages that a service takes, of a few client ids again and again; each needs until when it is valid."""
    from ledger.orders.ids import token_of
    from ledger.values import AccountId

    found: list[dict[str, Any]] = []
    for number in range(CLIENT_IDS):
        client_id = f"fuzz-{number}"
        token = token_of(AccountId("Sandbox-Demo", 70113), client_id)
        identity = {"client_id": client_id, "token": token, "store": store, "comment": token}
        price = {"price": None, "sl": None}
        found.append(ORDER | identity | price)
        pending = {"kind": "pending", "type": "limit", "price": "1.00000", "sl": None}
        found.append(ORDER | identity | (pending if number % 3 == 0 else price | {"side": "sell"}))
        found.append({"action": "ORDER_STATUS", "req_id": "s", "client_id": client_id, "store": store, "fence": True,
                      "lookup": number % 2 == 0})  # fmt: skip
    return (*found, {"action": "GET_ORDERS", "req_id": "o"}, {"action": "GET_TICK", "symbol": "EURUSD", "req_id": "t"},
            {"action": "GET_ORDER_HISTORY", "from_msc": 0, "req_id": "h"})  # fmt: skip


def hostile_requests(count: int, seed: int, further: Sequence[dict[str, Any]] = ()) -> Iterator[list[bytes]]:
    """Yield requests as lists of frames, the same for the same seed but for the present in orders.

    Args:
        count: How many.
        seed: Which.
        further: Valid ones that are bent too, beside those of this module.
    """
    dice = random.Random(seed)  # noqa: S311  # repeatable, not secret
    for number in range(count):
        if number < len(NOISE):
            yield [b"", NOISE[number]]
            continue
        valid = dice.choice(further if further and dice.random() < 0.5 else VALID)
        if valid is not ORDER and valid.get("action") == "ORDER_SEND":
            valid = valid | {"valid_until_msc": time.time_ns() // 1_000_000 + 30_000}
        raw = damage(bend(valid, dice) if dice.random() < 0.7 else json.dumps(valid).encode(), dice)
        frames = [b"", raw]
        if dice.random() < 0.05:
            frames = [dice.randbytes(dice.randrange(5)) for _ in range(dice.randrange(1, 20))]
        yield frames


class Campaign:
    """Hostile requests to one service, and what became of them.

    Args:
        endpoints: Where it is.
        process: Its process, if it has one of its own.
    """

    def __init__(self, endpoints: Endpoints, process: "subprocess.Popen[str] | None" = None) -> None:
        import zmq

        from ledger.gateway.client import ZmqGateway
        from ledger.gateway.sandbox.client import Sandbox

        self.counts: Counter[str] = Counter()
        self.harm: list[str] = []
        self.sent = 0
        self._endpoints = endpoints
        self._process = process
        self._context = zmq.Context()
        self._deaf: list[Any] = []
        self._gateway = ZmqGateway(endpoints.requests, timeout_ms=round(PATIENCE_SEC * 1000))
        self._terminal = Sandbox(endpoints.requests, endpoints.control)
        service = self._gateway.ping()
        assert service is not None, "it speaks version 2"
        self._seq, self._filled = service.seq, 0
        self._sent_before = self._terminal.control("sent")["sent"]
        self._answered: Counter[str] = Counter()
        self._deals = len(self._gateway.deals(from_msc=0).deals)
        self._before = self._state()
        self._orders = order_messages(self._before[0])

    def close(self) -> None:
        """Close its connections."""
        for one in self._deaf:
            one.close(linger=0)
        self._gateway.close()
        self._terminal.stop()
        self._context.term()

    def run(self, count: int, seed: int) -> None:
        """Send so many requests, looking now and then whether they did harm."""
        import zmq

        attacker = self._attacker()
        for number, frames in enumerate(hostile_requests(count, seed, self._orders), 1):
            try:
                attacker.send_multipart(frames, zmq.NOBLOCK)
            except zmq.Again:  # it does not read us as fast as we write
                attacker.poll(1000, zmq.POLLOUT)
            while attacker.poll(0):
                self._count(attacker.recv_multipart()[-1])
            if number % CHECK_EVERY == 0:
                attacker = self._between(attacker, number)
                self._check(f"after {number:,} requests of seed {seed}")
        self._finish(attacker)
        attacker.close(linger=0)
        self._check(f"after all {count:,} requests of seed {seed}")

    def _attacker(self) -> Any:
        import zmq

        attacker = self._context.socket(zmq.DEALER)
        attacker.connect(self._endpoints.requests)
        return attacker

    def _between(self, attacker: Any, number: int) -> Any:
        """Come as another client, subscribe without ever reading, and write to both ports what is no ZeroMQ."""
        import zmq

        self._finish(attacker)
        attacker.close(linger=0)
        if len(self._deaf) < 20:
            deaf = self._context.socket(zmq.SUB)
            deaf.rcvhwm = 1
            deaf.setsockopt(zmq.SUBSCRIBE, b"")
            deaf.setsockopt(zmq.SUBSCRIBE, b"x" * 10_000)
            deaf.connect(self._endpoints.push)
            self._deaf.append(deaf)
        for endpoint in self._endpoints[:2]:
            host, _, port = endpoint.removeprefix("tcp://").rpartition(":")
            with socket.create_connection((host, int(port)), PATIENCE_SEC) as raw:
                raw.sendall(random.Random(number).randbytes(200))  # noqa: S311
        return self._attacker()

    def _finish(self, attacker: Any) -> None:
        """Wait until the service has read all that one client sent."""
        attacker.send_multipart([b"", b'{"action":"PING","req_id":"the last one"}'])
        while attacker.poll(round(PATIENCE_SEC * 1000)):
            raw = attacker.recv_multipart()[-1]
            if json.loads(raw).get("req_id") == "the last one":
                return
            self._count(raw)
        self.harm.append("the service does not answer PING to the client that sent hostile requests")

    def _count(self, raw: bytes) -> None:
        answer = json.loads(raw)
        self.counts[answer["status"] if answer["status"] == "SUCCESS" else answer["error_code"]] += 1

    def _state(self) -> tuple[Any, ...]:
        """Return what hostile requests must not change: the store, its starts, and deals that no order of the protocol made."""
        service = self._gateway.ping()
        assert service is not None, "it speaks version 2"
        deals = len(self._gateway.deals(from_msc=0).deals)  # before the answers: an order may be carried out meanwhile
        self._read_answers()
        return service.store, service.epoch, max(0, deals - self._deals - self._filled)

    def _read_answers(self) -> None:
        while True:
            events = self._gateway.events(after_seq=self._seq)
            if not events:
                return
            self._seq = events[-1].seq
            answers = [event.data for event in events if event.kind == "answer"]
            self._answered.update(answer["client_id"] for answer in answers)
            self._filled += sum(bool(answer.get("deal")) for answer in answers)

    def _doubled(self) -> str:
        """Return what is wrong with the calls of ``order_send``: one for each client id that was answered, and no more."""
        self.sent = self._terminal.control("sent")["sent"] - self._sent_before
        self._read_answers()  # behind the count, as an order may be sent meanwhile
        twice = [client_id for client_id, times in self._answered.items() if times > 1]
        if twice or self.sent > len(self._answered):
            return f"{self.sent} orders were sent, {len(self._answered)} client ids answered, twice: {twice}"
        return ""

    def _differs(self) -> str:
        """Return how what the service shows differs from what the broker has; nothing where it does not."""
        shown = sorted(row.position_id for row in self._gateway.positions().positions)
        has = sorted(row["ticket"] for row in self._terminal.books()["positions"])
        return "" if shown == has else f"the broker has positions {has}, the service shows {shown}"

    def _check(self, when: str) -> None:
        from ledger.errors import GatewayError

        if self._process is not None and self._process.poll() is not None:
            self.harm.append(f"{when}: the service ended with exit code {self._process.returncode}")
            return
        try:
            state = self._state()
            differs, doubled = self._differs(), self._doubled()
        except GatewayError as error:
            self.harm.append(f"{when}: the other client got: {error}")
            return
        if differs or doubled:
            self.harm.append(f"{when}: {differs} {doubled}")
        if state != self._before:
            self.harm.append(f"{when}: expected {self._before}, found {state}")


def main() -> int:
    """Send as many requests as asked for; return 1 if they did harm."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=100_000, metavar="N", help="how many requests")
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="which requests")
    arguments = parser.parse_args()
    bootstrap.enter(bootstrap.RUNTIME_LOCK)
    with tempfile.TemporaryDirectory() as folder:
        options = ("--fake", "--positions", "3", "--port", "0", "--json", "--store", f"{folder}/gateway.db")
        process = subprocess.Popen(
            [sys.executable, "-m", "ledger.gateway.serve", *options],
            cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        try:
            assert process.stdout is not None
            ready = json.loads(process.stdout.readline())
            endpoints = Endpoints(ready["endpoint"], ready["push"], ready["control"])
            from tools.testkit.services import wait_ready

            wait_ready(endpoints.requests, PATIENCE_SEC)
            begun = time.monotonic()
            campaign = Campaign(endpoints, process)
            campaign.run(arguments.requests, arguments.seed)
            campaign.close()
        finally:
            process.kill()
            process.communicate()
    took = time.monotonic() - begun
    print(
        f"seed {arguments.seed}, {arguments.requests:,} requests in {took:.0f} s, harm {len(campaign.harm)}, "
        f"{campaign.sent} orders sent, answers: ",
        end="",
    )
    print(", ".join(f"{count:,} {name}" for name, count in campaign.counts.most_common()))
    print("\n".join(campaign.harm[:10]))
    return 1 if campaign.harm else 0


if __name__ == "__main__":
    sys.exit(main())
