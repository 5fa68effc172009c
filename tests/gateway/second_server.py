"""A gateway written from docs/reference/gateway-protocol.md alone: pyzmq and the standard library, nothing of the ledger.

It answers for a small terminal in memory. Run as a program it prints its endpoint; each line on its standard input is a JSON
object that changes the terminal, and each is answered by a line ``done``. It ends with its input.

    {"do": "open", "symbol": "EURUSD", "side": "buy", "volume": "0.1", "price": "1.1"}
    {"do": "close", "position": 5001, "price": "1.2"}
    {"do": "fail", "action": "GET_DEALS", "code": "-1", "text": "history is not synchronised"}
    {"do": "work", "action": "GET_DEALS"}
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterable
from decimal import Decimal
from pathlib import Path
from typing import Any

import zmq
import zmq.auth
from zmq.auth.thread import ThreadAuthenticator

Row = dict[str, Any]
Answer = dict[str, Any]

MESSAGE_BYTES_MAX = 16 * 1024 * 1024
SERVER_AHEAD_MSC = 2 * 60 * 60 * 1000  # the server's wall clock is two hours ahead of UTC
HISTORY_MSC = 5 * 60 * 1000  # how long ago the first deal was made; the others follow a second apart
BASE_FIELDS = ("ticket", "symbol", "type", "volume", "price_open", "profit", "time")
CONTRACT_SIZE = Decimal(100_000)
KEY_DOMAIN = "second"
ORDER_MESSAGES = ("ORDER_SEND", "ORDER_STATUS", "ORDER_CHECK")


class BadRequest(Exception):
    """A request that is answered with an error: its code and its text."""


def server_now_msc() -> int:
    """Return the server's wall clock in milliseconds."""
    return time.time_ns() // 1_000_000 + SERVER_AHEAD_MSC


class Terminal:
    """The books of one hedging account: open positions, deals, money."""

    def __init__(self) -> None:
        self.login, self.server, self.currency = 90210, "Second-Live", "USD"
        self.positions: dict[int, Row] = {}
        self.deals: list[Row] = []
        self.balance = Decimal(0)
        self._next_msc = server_now_msc() - HISTORY_MSC
        self._book({"type": "balance", "profit": Decimal(10_000), "comment": "deposit"})

    def open(self, symbol: str, side: str, volume: str, price: str) -> None:
        position_id = 5001 + len(self.deals)
        deal = self._book({
            "type": side, "entry": "in", "order": position_id, "position_id": position_id, "symbol": symbol,
            "volume": Decimal(volume), "price": Decimal(price), "profit": Decimal(0), "commission": Decimal("-0.3"),
        })  # fmt: skip
        self.positions[position_id] = {
            "ticket": position_id, "identifier": position_id, "symbol": symbol, "type": side, "volume": Decimal(volume),
            "price_open": Decimal(price), "profit": Decimal(0), "swap": Decimal(0), "magic": 7, "comment": "second",
            "time": deal["time_msc"] // 1000, "time_msc": deal["time_msc"], "time_update_msc": deal["time_msc"],
        }  # fmt: skip

    def close(self, position: int, price: str) -> None:
        held = self.positions.pop(position)
        sign = 1 if held["type"] == "buy" else -1
        self._book({
            "type": "sell" if held["type"] == "buy" else "buy", "entry": "out", "order": position + 1000,
            "position_id": position, "symbol": held["symbol"], "volume": held["volume"], "price": Decimal(price),
            "profit": sign * (Decimal(price) - held["price_open"]) * held["volume"] * CONTRACT_SIZE,
            "commission": Decimal("-0.3"),
        })  # fmt: skip

    def _book(self, deal: Row) -> Row:
        unused = {"order": 0, "position_id": 0, "commission": Decimal(0), "fee": Decimal(0), "swap": Decimal(0), "magic": 7}
        deal = {"ticket": 4001 + len(self.deals), "time_msc": self._next_msc, **unused, "reason": 3, **deal}
        self._next_msc += 1000
        self.deals.append(deal)
        self.balance += sum((deal[name] for name in ("profit", "commission", "fee", "swap")), Decimal(0))
        return deal

    def account(self) -> Row:
        return {
            "login": self.login, "server": self.server, "currency": self.currency, "currency_digits": 2,
            "margin_mode": "hedging", "balance": self.balance, "credit": Decimal(0), "equity": self.balance,
        }  # fmt: skip

    def symbols(self) -> list[Row]:
        names = sorted({row["symbol"] for row in self.positions.values()})
        return [
            {
                "symbol": name, "digits": 5, "volume_step": Decimal("0.01"), "contract_size": CONTRACT_SIZE,
                "currency_profit": "USD",
            }
            for name in names
        ]  # fmt: skip


class Gateway:
    """Answers requests for a terminal, in one form."""

    def __init__(self, terminal: Terminal, *, is_extended: bool) -> None:
        self._terminal = terminal
        self._is_extended = is_extended
        self._failures: dict[str, tuple[str, str]] = {}
        self._extended: dict[str, Callable[[Row], Answer]] = {
            "GET_DEALS": self._deals,
            "GET_ACCOUNT": lambda _: {"account": self._terminal.account()},
            "GET_SYMBOLS": lambda _: {"symbols": self._terminal.symbols()},
            "PING": lambda _: {},
        }

    def answer(self, raw: bytes) -> bytes:
        """Return the answer to a message, whatever it is."""
        request: Row = {}
        try:
            request = read_request(raw)
            answer = {"status": "SUCCESS", **self._answer(request)}
        except BadRequest as error:
            code, text = error.args
            answer = {"status": "ERROR", "error_code": code, "error_msg": text}
            if request.get("action") in ORDER_MESSAGES:
                answer["executed"] = "never"
        if self._is_extended and "req_id" in request:
            answer["req_id"] = request["req_id"]
        return json.dumps(answer, default=float).encode()

    def _answer(self, request: Row) -> Answer:
        action = request["action"]
        if action in self._failures:
            raise BadRequest(*self._failures[action])
        if action == "GET_POSITIONS":
            return self._positions(request)
        if not self._is_extended or action not in self._extended:
            raise BadRequest("UNKNOWN_ACTION", f"unknown action {action}")
        return self._head() | self._extended[action](request)

    def _head(self) -> Answer:
        terminal = self._terminal
        return {
            "login": terminal.login, "server": terminal.server, "margin_mode": "hedging",
            "server_time_msc": server_now_msc(), "connected": True,
        }  # fmt: skip

    def _positions(self, request: Row) -> Answer:
        symbol = request.get("symbol")
        rows = [row for row in self._terminal.positions.values() if symbol in (None, "*", row["symbol"])]
        if not self._is_extended:
            return {"positions": [{name: row[name] for name in BASE_FIELDS} for row in rows]}
        return {**self._head(), "count": len(rows), "positions": rows}

    def _deals(self, request: Row) -> Answer:
        begin, end, position = (whole(request, name) for name in ("from_msc", "to_msc", "position"))
        rows = [
            deal
            for deal in self._terminal.deals
            if (begin is None or deal["time_msc"] >= begin)
            and (end is None or deal["time_msc"] <= end)
            and (position is None or deal["position_id"] == position)
        ]
        return {"count": len(rows), "deals": rows}

    def command(self, line: bytes) -> None:
        """Change the terminal, or what is answered."""
        options = json.loads(line)
        match options.pop("do"):
            case "open":
                self._terminal.open(**options)
            case "close":
                self._terminal.close(**options)
            case "fail":
                self._failures[options["action"]] = options["code"], options["text"]
            case "work":
                del self._failures[options["action"]]


def read_request(raw: bytes) -> Row:
    """Read a message: a JSON object with an action."""
    try:
        found = json.loads(raw)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict) or not isinstance(found.get("action"), str):
        raise BadRequest("MALFORMED_REQUEST", "expected a JSON object with an action")
    return found


def whole(request: Row, name: str) -> int | None:
    """Read a field that is a whole number, missing or null."""
    value = request.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise BadRequest("INVALID_REQUEST", f"{name} is a whole number, found {value!r:.100}")
    return value


def secure(socket: zmq.Socket[bytes], context: zmq.Context[zmq.Socket[bytes]], keys: Path) -> ThreadAuthenticator:
    """Let the socket accept only the clients whose keys are in ``authorised``; the server's own are ``server.key_secret``."""
    public, secret = zmq.auth.load_certificate(keys / "server.key_secret")
    if secret is None:
        raise SystemExit("the server's key file holds no secret key")
    socket.curve_publickey, socket.curve_secretkey, socket.curve_server = public, secret, True
    socket.zap_domain = KEY_DOMAIN.encode()
    socket.setsockopt(zmq.ZAP_ENFORCE_DOMAIN, 1)
    authenticator = ThreadAuthenticator(context)
    authenticator.start()
    authenticator.configure_curve(domain=KEY_DOMAIN, location=keys / "authorised")
    return authenticator


def serve(gateway: Gateway, *, is_rep: bool, keys: Path | None) -> None:
    """Answer requests and commands until the standard input ends."""
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    socket = context.socket(zmq.REP if is_rep else zmq.ROUTER)
    socket.linger = 0
    socket.setsockopt(zmq.MAXMSGSIZE, MESSAGE_BYTES_MAX)
    authenticator = None if keys is None else secure(socket, context, keys)
    port = socket.bind_to_random_port("tcp://127.0.0.1")
    print_line(f"tcp://127.0.0.1:{port}")
    commands = sys.stdin.fileno()
    poller = zmq.Poller()
    poller.register(socket, zmq.POLLIN)
    poller.register(commands, zmq.POLLIN)
    while True:
        ready = dict(poller.poll())
        if commands in ready:
            line = sys.stdin.buffer.readline()  # one line at a time is sent, and waited for
            if not line:
                break
            gateway.command(line)
            print_line("done")
        if socket in ready:
            *route, raw = socket.recv_multipart()
            socket.send_multipart([*route, gateway.answer(raw)])
    socket.close()
    if authenticator is not None:
        authenticator.stop()
    context.term()


def print_line(line: str) -> None:
    """Write a line to whoever started the program."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main(words: Iterable[str]) -> None:
    parser = argparse.ArgumentParser(description="A gateway for a small terminal in memory.")
    parser.add_argument("--base", action="store_true", help="Speak the base form.")
    parser.add_argument("--rep", action="store_true", help="Bind a REP socket rather than a ROUTER.")
    parser.add_argument("--keys", type=Path, help="CURVE: folder with server.key_secret and authorised/.")
    options = parser.parse_args(list(words))
    serve(Gateway(Terminal(), is_extended=not options.base), is_rep=options.rep, keys=options.keys)


if __name__ == "__main__":
    main(sys.argv[1:])
