"""The sandbox's commands: trade by hand, let time pass, break things, show the exact books."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any, Final

from ledger.gateway.sandbox.arguments import COUNT_MAX, SLOW_MAX_MSC, TIME_MAX_MSC, to_amount, to_text
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
        command = _COMMANDS.get(to_text(asked.pop("command", ""), "command"))
        if command is None:
            return Refusal("UNKNOWN_COMMAND", f"expected one of {', '.join(_COMMANDS)}")
        return command(self, **asked) or Extension()

    def _fault(self, kind: str, times: int = 1, slow_msc: int | None = None, late_deals: int | None = None) -> None:
        fault = Fault(kind)
        times = whole_argument(times, "times", low=FOR_EVER)
        slow_msc = self._faults.slow_msc if slow_msc is None else whole_argument(slow_msc, "slow_msc", high=SLOW_MAX_MSC)
        late_deals = self._faults.late_deals if late_deals is None else whole_argument(late_deals, "late_deals", high=COUNT_MAX)
        self._responder.remember_positions()
        self._faults.slow_msc, self._faults.late_deals = slow_msc, late_deals
        self._faults.add(fault, times)

    def _clear(self) -> None:
        self._faults.clear()

    def _advance(self, msc: int) -> None:
        self._terminal.advance(whole_argument(msc, "msc", high=max(0, TIME_MAX_MSC - self._terminal.now_msc)))

    def _hand(self, count: int = 1) -> Answer:
        return Extension(fields={"done": self._terminal.hand(whole_argument(count, "count", high=COUNT_MAX))})

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

    def _swap(self) -> None:
        self._terminal.charge_swap()

    def _stop_out(self, position: int) -> Answer:
        return self._responder.result(self._terminal.stop_out(whole_argument(position, "position")))

    def _live(self, count: int = 1) -> Answer:
        lived = self._terminal.live_next(whole_argument(count, "count", high=COUNT_MAX))
        return Extension(fields={"lived": [row["ticket"] for row in lived], "left": self._terminal.left_to_live})

    def _books(self) -> Answer:
        return Extension(fields={"books": self._terminal.books()})

    def _stats(self) -> Answer:
        return Extension(fields={"received": dict(self._responder.received)})

    def _stop(self) -> None:
        self._stop_serving()


_COMMANDS: Final[Mapping[str, Callable[..., Answer | None]]] = {
    name.lstrip("_"): getattr(Control, name)
    for name in (
        "_fault", "_clear", "_advance", "_hand", "_trade", "_close", "_close_by", "_fill_more", "_cash", "_rollover", "_swap",
        "_stop_out", "_withdraw", "_live", "_books", "_stats", "_stop",
    )
}  # fmt: skip
