"""A naive reconciler: one net position, tickets compared one by one, a list in memory. With every defect there is.

It is here to be beaten: each story in ``tests/unit/test_naive_defects.py`` fails with it, so that the stories are known to
be able to fail. The numbers in brackets are those of the list of defects that they are about.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

import zmq

Answer = dict[str, Any]


class NaiveClient:
    """A client that holds on to its REQ socket whatever happens [14]."""

    def __init__(self, endpoint: str, timeout_ms: int) -> None:
        self.context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self.socket = self.context.socket(zmq.REQ)
        self.socket.setsockopt(zmq.LINGER, 0)
        self.socket.setsockopt(zmq.RCVTIMEO, timeout_ms)
        self.socket.connect(endpoint)

    def ask(self) -> Answer | None:
        try:
            self.socket.send_json({"action": "GET_POSITIONS", "symbol": "*"})
            answer: Answer = self.socket.recv_json()  # type: ignore[assignment]
        except zmq.ZMQError:
            return None
        return answer

    def close(self) -> None:
        self.socket.close()
        self.context.term()


class NaiveReconciler:
    """One slot for a position, floats for money, and the best of intentions.

    Args:
        ask: Returns the gateway's answer, None where there was none.
        monotonic: Seconds that only rise.
    """

    def __init__(self, ask: Callable[[], Answer | None], monotonic: Callable[[], float]) -> None:
        self.ask = ask
        self.monotonic = monotonic
        self.ticket: int | None = None  # one slot [2]
        self.symbol = ""
        self.net = 0.0
        self.price = 0.0
        self.realized = 0.0
        self.opened_at: datetime | None = None
        self.orders: list[int] = []
        self.audit: list[str] = []  # gone with the process, and never more than a thousand [17]
        self.synced_at = -1e9

    # ---- the engine

    def fill(self, ticket: int, symbol: str, side: str, volume: float, price: float, profit: float = 0.0) -> None:
        """Count a fill, each time that it is reported [9]."""
        signed = volume if side == "buy" else -volume
        self.symbol = self.symbol or symbol  # another symbol is added to the first [5]
        self.realized += profit
        if ticket != self.ticket:
            self.ticket, self.net, self.price = ticket, signed, price
            return
        closes = self.net * signed < 0
        total = self.net + signed
        if closes:
            self.price = price  # a partial close moves the average [8]
        elif total:
            self.price = (self.price * self.net + price * signed) / total
        self.net = total  # what floats leave behind stays [10]

    # ---- the reconciler

    def positions(self) -> list[Answer]:
        """Return what the broker has; nothing, where anything is wrong [3]."""
        try:
            answer = self.ask()
            if answer is None or answer["status"] != "SUCCESS":  # another spelling is no success [4]
                return []
            return [
                {
                    "ticket": row["ticket"],
                    "symbol": row["symbol"],
                    "type": row.get("type", "buy"),  # a missing type is a buy [13]
                    "volume": float(row["volume"]),
                    "price_open": float(row["price_open"]),
                    "opened_at": datetime.fromtimestamp(row["time"]),  # noqa: DTZ006  # our zone on the server's clock [15]
                }
                for row in answer["positions"]
                if row["ticket"]  # no ticket, no position [13]
            ]
        except (KeyError, TypeError, ValueError):
            return []  # one bad row, and no report names which [13]

    def startup_recovery(self) -> None:
        for row in self.positions():
            self.orders.append(row["ticket"])  # again at every start [11]
            self._recover(row)

    def sync(self) -> None:
        """Compare by ticket."""
        rows = self.positions()
        tickets = [row["ticket"] for row in rows]
        if self.ticket is not None and self.ticket not in tickets:
            self._close_ghost()
            return
        for row in rows:
            if row["ticket"] != self.ticket:
                self._recover(row)
            elif abs(self.net - row["volume"]) > 1e-9:  # a short is never its volume [1]
                self.net = row["volume"] if row["type"] == "buy" else -row["volume"]
                self._note(f"drift of {row['ticket']}")
            elif abs(self.price - row["price_open"]) > 0.001:  # one threshold for every symbol [6]
                self._note(f"price of {row['ticket']} corrected")  # which it is not [6]

    def sync_continuous(self) -> None:
        if self.monotonic() - self.synced_at < 15:
            return
        answer = self.ask()
        if answer is None:
            return  # the time of the attempt is not noted [12]
        self.sync()
        self.synced_at = self.monotonic()

    def _recover(self, row: Answer) -> None:
        self.ticket, self.price, self.opened_at = row["ticket"], row["price_open"], row["opened_at"]
        self.symbol = self.symbol or row["symbol"]
        self.net = row["volume"] if row["type"] == "buy" else -row["volume"]
        self._note(f"recovered {row['ticket']}")

    def _close_ghost(self) -> None:
        self._note(f"ghost {self.ticket} closed")  # its result is never looked up [16]
        self.ticket, self.net, self.price = None, 0.0, 0.0  # and everything else goes with it [7]

    def _note(self, what: str) -> None:
        self.audit = [*self.audit, what][-1000:]
