"""This module is orders as an engine records them, with their deals."""

from __future__ import annotations

from typing import Any, Final

from ledger import Event, OrderAnswered, OrderIntended, OrderResolved, OrderSeen
from tools.testkit.facts import START_MSC, fill, opened, revised, specified

TOKEN: Final = "L" + "A" * 19


def intended(number: int, second: int, **fields: Any) -> OrderIntended:
    """Return the intent to buy 2 lots."""
    terms: dict[str, Any] = {"symbol": "EURUSD", "side": "buy", "volume": 2, "kind": "market", "token": TOKEN}
    return OrderIntended(client_id=f"c-{number}", time_msc=START_MSC + second * 1000, **(terms | fields))


def answered(number: int, second: int, verdict: str = "accepted", **fields: Any) -> OrderAnswered:
    """Return its answer; the ticket is its number."""
    order = number if verdict == "accepted" else 0
    return OrderAnswered(
        client_id=f"c-{number}", verdict=verdict, order=order, time_msc=START_MSC + second * 1000,
        **({"retcode": 10009} | fields),
    )  # fmt: skip


def history(count: int = 12) -> list[Event]:
    """Return orders one after the other: filled in two deals, cancelled in the middle, unknown and found, absent."""
    events: list[Event] = [opened(), specified(), fill(5000, 1)]
    for number in range(1, count + 1):
        second = 10 * number
        events.append(intended(number, second))
        match number % 4:
            case 0:
                events += [answered(number, second + 1, "unknown", retcode=10012), seen(number, second + 2, 4)]
                events += [fill(2 * number, second + 1, order=number, volume=2)]
            case 1:
                events += [answered(number, second + 1), fill(2 * number, second + 1, order=number)]
                events += [fill(2 * number + 1, second + 2, order=number)]
            case 2:
                events += [answered(number, second + 1), fill(2 * number, second + 1, order=number)]
                events += [seen(number, second + 3, 2), revised(fill(2 * number, second + 1, order=number, volume="0.5"))]
            case _:
                events += [answered(number, second + 1, "unknown", retcode=10012), absent(number, second + 4)]
    return events


def seen(number: int, second: int, state: int, **fields: Any) -> OrderSeen:
    """Return what the broker shows of it."""
    shown: dict[str, Any] = {"client_id": f"c-{number}", "symbol": "EURUSD", "volume_initial": 2, "volume_current": 0}
    return OrderSeen(ticket=number, type=0, state=state, time_msc=START_MSC + second * 1000, **(shown | fields))


def absent(number: int, second: int) -> OrderResolved:
    """Return that it is presumed never executed."""
    return OrderResolved(
        client_id=f"c-{number}", number=1, outcome="absent", basis="absence", time_msc=START_MSC + second * 1000
    )
