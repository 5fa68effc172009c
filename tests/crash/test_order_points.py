"""Every crash point of an order with real processes: engine, server process or terminal process is killed exactly there.

Each row of the contract's table is checked by the broker's own books: how often it executed each client id, what the ledger has
of it after one start-up recovery, that its positions are the terminal's, and whether the engine may order again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any, Final, NamedTuple

import pytest

from ledger import Ledger
from tests.support.journals import new_url
from tools.testkit.crash_points import POINTS, CrashPoints, Point
from tools.testkit.order_processes import (
    TIMEOUT_MS,
    OrderEngineProcess,
    OrderGatewayProcess,
    until,
)

Json = dict[str, Any]
FIRST: Final = "first"  # the order that proves that the broker's records carry client ids
#: What is not found is presumed absent soon; not before a start has ended, which looks a few times.
PRESUME: Final[Json] = {"absence": "presume", "absent_after_sec": 0.2, "missing_lookups": 6}
LOT: Final = Decimal("0.10")


class After(NamedTuple):
    """What the ledger has of an order after the restart: its state, and the ways in which that may be known."""

    state: str | None
    ways: tuple[tuple[str, Json], ...] = ()


_ANSWERED: Final = {"OrderIntended": 1, "OrderAnswered": 1}
_RESOLVED: Final = {**_ANSWERED, "OrderResolved": 1}
NEVER: Final = After(None)
FENCED: Final = After("rejected", (("fenced", _ANSWERED),))
UNKNOWN: Final = After("unknown", (("unknown", _ANSWERED),))
STORED: Final = After("filled", (("accepted", _ANSWERED),))
#: By the gateway itself when it was asked first, or by the ledger after an unknown answer.
FOUND: Final = After("filled", (("accepted", _ANSWERED), ("unknown", _RESOLVED)))

#: Point -> what is after the restart.
AFTER: Final = {
    "C0": NEVER, "C1": FENCED, "C3": FENCED, "C4": UNKNOWN, "C4-terminal": UNKNOWN, "C5": UNKNOWN, "C5-delivered": FOUND,
    "C6": FOUND, "C7": FOUND, "C8": STORED, "C9": STORED, "C10": STORED,
}  # fmt: skip


class Desk:
    """An engine with its journal, and the gateway that it orders through."""

    def __init__(self, folder: Path, url: str, *, mode: str = "hedging") -> None:
        self.url = url
        self.points = CrashPoints(folder / "points")
        self.gateway = OrderGatewayProcess(folder / "gateway", self.points, "--mode", mode)
        self.endpoint = self.gateway.endpoint
        self.engines: list[OrderEngineProcess] = []
        self.engine = self.new_engine()

    def new_engine(self, *, endpoint: str | None = None, timeout_ms: int = TIMEOUT_MS, **policy: Any) -> OrderEngineProcess:
        engine = OrderEngineProcess(
            self.url, endpoint or self.endpoint, self.points, timeout_ms=timeout_ms, **(PRESUME | policy)
        )
        self.engines.append(engine)
        return engine

    def begin(self) -> None:
        """Start, and prove the carrier of client ids by a first order."""
        assert self.engine.do("start")["refused"] is None
        assert self.engine.do("order", client_id=FIRST)["order"]["state"] == "filled"
        assert self.engine.do("sync")["sync"] == "SUCCESS"

    def restart_engine(self, **policy: Any) -> Json:
        """Kill the engine, if it is not dead; start it again and let it recover."""
        self.engine.close()
        self.engine = self.new_engine(**policy)
        return self.engine.do("start")

    def die(self, point: Point, client_id: str) -> Json | None:
        """Order, and let a process die at a point; return what the engine knows then, None where it died."""
        self.points.arm(point.name)
        self.engine.tell("order", client_id=client_id)
        heard = self.engine.hear()
        assert not self.points.is_armed(point.name), "somebody came to the point"
        assert self.engine.is_dead() == (point.victim == "engine")
        if point.victim == "server process":
            self.gateway.wait_dead()
            self.gateway.start()
        else:
            self.gateway.until_ready()
        return heard

    def sees(self, client_id: str, state: str) -> Json | None:
        """Sync; return what is there if an order has come to a state."""
        look = self.engine.do("sync")
        return look if look["orders"][client_id]["state"] == state else None

    def is_agreed(self, look: Json) -> None:
        """Check that the ledger's positions are the terminal's, that each order was executed once at most, and nothing else."""
        executions = self.gateway.executions()
        positions = self.gateway.positions()
        assert set(executions.values()) <= {1}, executions
        assert look["positions"] == positions
        assert sum(Decimal(volume) for *_, volume in positions) == LOT * executions.total()
        deals = [deal for one in look["orders"].values() for deal in one["deals"]]
        assert len(deals) == len(set(deals)) == executions.total()
        assert (look["sync"], look["breaks"]) == ("SUCCESS", [])

    def is_whole(self) -> None:
        with Ledger.open(self.url) as ledger:
            assert ledger.verify().problems == ()

    def close(self) -> None:
        for engine in self.engines:
            engine.close()
        self.gateway.close()


@pytest.fixture
def desk(tmp_path) -> Iterator[Callable[..., Desk]]:
    desks: list[Desk] = []

    def made(kind: str = "sqlite", mode: str = "hedging") -> Desk:
        desks.append(Desk(tmp_path, new_url(kind, tmp_path), mode=mode))
        desks[-1].begin()
        return desks[-1]

    yield made
    for one in desks:
        one.close()


@pytest.fixture(scope="module")
def shared_desk(tmp_path_factory) -> Iterator[Desk]:
    """A desk that hedges over SQLite, for points that leave it as it was."""
    folder = tmp_path_factory.mktemp("desk")
    one = Desk(folder, new_url("sqlite", folder))
    try:
        one.begin()
        yield one
    finally:
        one.close()


def play(desk: Desk, point: Point) -> None:
    """Let a process die at a point, start again, and check the row of the table."""
    client_id, expected, executed = point.name, AFTER[point.name], int(point.is_executed)
    heard = desk.die(point, client_id)
    if heard is not None:
        assert heard["order"]["state"] == "unknown", heard
        assert desk.engine.do("check")["denied_by"] == "unknown_orders"
        until(lambda: desk.gateway.executed(client_id) == executed, "what was under way at the broker")

    look = desk.restart_engine()
    assert desk.gateway.executed(client_id) == executed
    desk.is_agreed(look)
    found = look["orders"].get(client_id)
    if found is None:
        assert expected is NEVER
    else:
        assert found["state"] == expected.state, found
        assert (found["verdict"], found["events"]) in expected.ways, found
        assert (found["filled"], found["origins"]) == (("0.1", ["recovery"]) if executed else ("0", []))

    if expected is UNKNOWN:
        assert client_id in look["refused"]
        assert desk.engine.do("check")["denied_by"] == "unknown_orders"
        assert desk.engine.do("order", client_id=f"{client_id}-blocked")["order"]["state"] == "denied"
        look = until(lambda: desk.sees(client_id, "absent"), "its absence")
        found = look["orders"][client_id]
        assert (found["outcome"], found["basis"], found["events"]) == ("absent", "absence", _RESOLVED)
    else:
        assert look["refused"] is None
    if found is not None:
        known = desk.engine.do("order", client_id=client_id)["order"]
        assert (known["state"], desk.gateway.executed(client_id)) == (found["state"], executed)
    if not executed:
        again = client_id if found is None else f"{client_id}-again"
        assert desk.engine.do("order", client_id=again)["order"]["state"] == "filled"
        assert desk.gateway.executed(again) == 1
    desk.is_agreed(desk.engine.do("sync"))


@pytest.mark.parametrize("name", POINTS)
def test_whoever_dies_an_order_is_executed_at_most_once_and_nothing_is_lost(name, shared_desk):
    play(shared_desk, POINTS[name])
    shared_desk.is_whole()


@pytest.mark.parametrize(("kind", "mode"), [("sqlite", "netting"), ("postgres", "hedging")])
def test_one_engine_goes_through_all_points(kind, mode, desk):
    one = desk(kind, mode)
    for point in POINTS.values():
        play(one, point)
    assert one.gateway.executions().total() == 1 + len(POINTS)
    one.is_whole()
