"""The sandbox's commands: trade manually, let time pass, break things, show the exact books."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any, Final

from ledger.gateway.sandbox.arguments import COUNT_MAX, SLOW_MAX_MS, TIME_MAX_MSC, to_amount, to_text
from ledger.gateway.sandbox.faults import FOR_EVER, Fault
from ledger.gateway.sandbox.responder import SandboxResponder
from ledger.gateway.server import words_of
from ledger.protocol.messages import Answer, Extension, Refusal
from ledger.protocol.read import read_object, whole_argument
from ledger.protocol.write import write_answer


class Control:
    """Carries out commands, each a JSON object.

    Args:
        responder: What is commanded.
        stop: Ends the server.
    """

    def __init__(self, responder: SandboxResponder, stop: Callable[[], object]) -> None:
        self._responder = responder
        self._terminal = responder.terminal
        self._faults = responder.faults
        self._stop_serving = stop

    def carry_out(self, raw: bytes) -> bytes:
        """Carry out a command and return the answer, whatever it is."""
        try:
            return write_answer(self._answer(read_object(raw)))
        except Exception as error:  # noqa: BLE001  # a command of somebody's must not end everybody's terminal
            return write_answer(Refusal("BAD_COMMAND", words_of(error)))

    def _answer(self, asked: dict[str, Any]) -> Answer:
        name = to_text(asked.pop("command", ""), "command")
        command = _COMMANDS.get(_DEPRECATED.get(name, name))
        if command is None:
            return Refusal("UNKNOWN_COMMAND", f"expected one of {', '.join(_COMMANDS)}")
        return command(self, **asked) or Extension()

    def _fault(
        self,
        kind: str,
        times: int = 1,
        slow_ms: int | None = None,
        late_deals: int | None = None,
        slow_msc: int | None = None,  # deprecated: slow_ms
    ) -> None:
        slow_ms = slow_msc if slow_ms is None else slow_ms
        fault = Fault(kind)
        times = whole_argument(times, "times", low=FOR_EVER)
        slow_ms = self._faults.slow_ms if slow_ms is None else whole_argument(slow_ms, "slow_ms", high=SLOW_MAX_MS)
        late_deals = self._faults.late_deals if late_deals is None else whole_argument(late_deals, "late_deals", high=COUNT_MAX)
        self._responder.remember_positions()
        self._faults.slow_ms, self._faults.late_deals = slow_ms, late_deals
        self._faults.add(fault, times)

    def _clear(self) -> None:
        self._faults.clear()

    def _advance(self, msc: int) -> None:
        self._terminal.advance(whole_argument(msc, "msc", high=max(0, TIME_MAX_MSC - self._terminal.now_msc)))

    def _trade_manually(self, count: int = 1) -> Answer:
        return Extension(fields={"done": self._terminal.trade_manually(whole_argument(count, "count", high=COUNT_MAX))})

    def _trade(self, **asked: Any) -> Answer:
        return self._responder.order(asked)

    def _close(self, position: int, volume: str | None = None) -> Answer:
        lots = None if volume is None else to_amount(volume, "volume")
        return self._responder.result(self._terminal.close(whole_argument(position, "position"), lots))

    def _withdraw(self, deal: int) -> None:
        self._terminal.withdraw(deal)

    def _close_by(self, position: int, other: int) -> Answer:
        return self._responder.result(
            self._terminal.close_by(whole_argument(position, "position"), whole_argument(other, "other"))
        )

    def _fill_more(self, order: int, volume: str) -> Answer:
        return self._responder.result(
            self._terminal.fill_more(whole_argument(order, "order"), to_amount(volume, "volume", low=Decimal("0.01")))
        )

    def _cash(self, type: int, amount: str, comment: str = "") -> Answer:  # noqa: A002  # the field's name on the wire
        code = whole_argument(type, "type", low=2, high=2**31 - 1)  # 0 and 1 trade
        return Extension(
            fields={"deal": self._terminal.cash(code, to_amount(amount, "amount"), to_text(comment, "comment"))["ticket"]}
        )

    def _rollover(self, position: int) -> Answer:
        return Extension(fields={"ticket": self._terminal.rollover(whole_argument(position, "position"))})

    def _rename(self, symbol: str, name: str) -> None:
        self._terminal.rename_symbol(to_text(symbol, "symbol"), to_text(name, "name"))

    def _swap(self) -> None:
        self._terminal.charge_swap()

    def _stop_out(self, position: int) -> Answer:
        return self._responder.result(self._terminal.stop_out(whole_argument(position, "position")))

    def _play(self, count: int = 1) -> Answer:
        played = self._terminal.play_next(whole_argument(count, "count", high=COUNT_MAX))
        tickets = [row["ticket"] for row in played]
        return Extension(fields={"played": tickets, "left": self._terminal.remaining, "lived": tickets})

    def _books(self) -> Answer:
        return Extension(fields={"books": self._terminal.books()})

    def _stats(self) -> Answer:
        return Extension(fields={"received": dict(self._responder.received)})

    def _stop(self) -> None:
        self._stop_serving()


_COMMANDS: Final[Mapping[str, Callable[..., Answer | None]]] = {
    name.lstrip("_"): getattr(Control, name)
    for name in (
        "_fault", "_clear", "_advance", "_trade_manually", "_trade", "_close", "_close_by", "_fill_more", "_cash", "_rollover",
        "_rename", "_swap", "_stop_out", "_withdraw", "_play", "_books", "_stats", "_stop",
    )
}  # fmt: skip
_DEPRECATED: Final = {"hand": "trade_manually", "live": "play"}  # old names of commands
