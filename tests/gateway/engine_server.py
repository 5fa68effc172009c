"""A server as trading engines bring one along: one REP socket, answers of its own form, and no idea of the ledger.

It filters by ``symbol`` as MetaTrader 5 does, by the exact name; where it was written with care, ``*`` means all.
"""

from __future__ import annotations

import json
import threading
import uuid
from typing import Any, Self

import zmq

_WAIT_MS = 5


def position(ticket: int, symbol: str = "EURUSD", side: str = "BUY", volume: float = 0.1, price: float = 1.1) -> dict[str, Any]:
    """Return a row as such servers write it."""
    return {
        "ticket": ticket, "symbol": symbol, "type": side, "volume": volume, "open_price": price, "current_price": price,
        "profit": 0.0,
    }  # fmt: skip


class EngineServer:
    """Answers until it is left.

    Attributes:
        rows: The open positions of its terminal.
        knows_wildcard: Whether ``*`` means all; otherwise it is the name of a symbol that does not exist.
        error: What every request is answered with instead: code and text.
        is_dead: Whether its terminal is, which it reports as an empty list.
        further: What it states beside, as count and login; ``by_name`` only where it is asked for one symbol.
        asked: The symbols that it was asked for.
    """

    def __init__(self, *rows: dict[str, Any], knows_wildcard: bool = False) -> None:
        self.rows = list(rows)
        self.knows_wildcard = knows_wildcard
        self.error: tuple[str, str] | None = None
        self.is_dead = False
        self.further: dict[str, Any] = {}
        self.by_name: dict[str, Any] = {}
        self.asked: list[str] = []
        self._stopping = threading.Event()
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._socket = self._context.socket(zmq.REP)
        self._socket.linger = 0
        self.endpoint = f"tcp://127.0.0.1:{self._socket.bind_to_random_port('tcp://127.0.0.1')}"
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join()

    def _serve(self) -> None:
        while not self._stopping.is_set():
            if self._socket.poll(_WAIT_MS):
                self._socket.send_json(self._answer(json.loads(self._socket.recv())))
        self._socket.close()
        self._context.term()

    def _answer(self, request: dict[str, Any]) -> dict[str, Any]:
        own: dict[str, Any] = {"uuid": str(uuid.uuid4()), "timestamp": "2026-01-02T03:04:05"}
        if request["action"] != "GET_POSITIONS":
            return own | {"status": "REJECTED", "error_code": "UNKNOWN_ACTION", "error_msg": "unknown action"}
        self.asked.append(request["symbol"])
        if self.error is not None:
            return own | {"status": "REJECTED", "error_code": self.error[0], "error_msg": self.error[1]}
        further = self.further if request["symbol"] == "*" else self.further | self.by_name
        return own | {"status": "ok", "positions": self._found(request["symbol"])} | further

    def _found(self, symbol: str) -> list[dict[str, Any]]:
        if self.is_dead:
            return []
        return [row for row in self.rows if row["symbol"] == symbol or (symbol == "*" and self.knows_wildcard)]
