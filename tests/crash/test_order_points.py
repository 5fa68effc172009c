"""Every crash point of an order with real processes: engine, server process or terminal process is killed exactly there.

Each row of the contract's table is checked by the broker's own books: how often it executed each client id, what the ledger has
of it after one start-up recovery, that its positions are the terminal's, and whether the engine may order again.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any, Final, NamedTuple

import pytest

from ledger import Ledger
from tests.crash.conftest import ROOT
from tests.support.journals import new_url
from tools.testkit.crash_points import POINTS, CrashPoints, Point
from tools.testkit.order_processes import (
    TIMEOUT_MS,
    OrderEngineProcess,
    OrderGatewayProcess,
    Way,
    until,
)

Json = dict[str, Any]
FIRST: Final = "first"  # the order that proves that the broker's records carry client ids
#: What is not found is presumed absent soon; not before a start has ended, which looks a few times.
PRESUME: Final[Json] = {"absence": "presume", "absent_after_sec": 0.2, "missing_lookups": 6}
LOST_MS: Final = 1_500  # how long an answer is waited for that does not come
LOOKS: Final = 25  # far more than are needed to presume absence
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
        self.engine.command("order", client_id=client_id)
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


def command(*words: str) -> None:
    subprocess.run([sys.executable, "-m", "ledger", *words], cwd=ROOT, check=True, capture_output=True)


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


# ---------------------------------------------------------------------------------------------------- C2: on the way


@pytest.fixture
def way(desk) -> Iterator[tuple[Desk, Way]]:
    """A desk whose engine orders over a way that a test disturbs."""
    one = desk()
    between = Way(one.gateway.endpoint)
    try:
        one.engine.close()
        one.endpoint = between.endpoint
        one.engine = one.new_engine()
        assert one.engine.do("start")["refused"] is None
        yield one, between
    finally:
        between.close()


def decided(one, order):
    """Return an order that is not unknown any more: on a busy machine the first question may come back too late as well."""
    if order["state"] == "unknown":
        order = one.engine.do("resolve")["orders"][order["client_id"]]
    return None if order["state"] == "unknown" else order


def test_a_message_that_is_lost_late_or_doubled_is_executed_once_at_most(way):
    """C2: lost or late, it is fenced when the engine asks; later it is refused, by the fence and by its own time."""
    one, between = way
    for what in ("lose", "delay", "lose answer", "duplicate"):
        between.then(what)
        sent = one.engine.do("order", client_id=what.replace(" ", "-"), timeout_ms=LOST_MS)["order"]
        order = until(partial(decided, one, sent), "an answer to the question what became of it")
        executed = what in ("lose answer", "duplicate")
        assert one.gateway.executed(order["client_id"]) == executed
        assert (order["state"], order["verdict"]) == (("filled", "accepted") if executed else ("rejected", "fenced"))
        if what == "delay":
            assert between.deliver()["error_code"] == "FENCED"
    one.is_agreed(one.engine.do("sync"))


def test_a_message_that_is_30_seconds_late_is_refused_by_its_own_time(way):
    """C2, O21: the engine died, nobody asked, and nothing fences the message but that it expired."""
    one, between = way
    between.then("delay")
    one.engine.command("order", client_id="late")
    until(lambda: between.waiting, "the message")
    one.engine.close()
    one.points.set_gateway_clock(30_000)
    assert between.deliver()["error_code"] == "EXPIRED"
    one.points.set_gateway_clock(0)
    look = one.restart_engine()
    assert (look["orders"]["late"]["state"], one.gateway.executed("late")) == ("rejected", 0)
    assert one.engine.do("order", client_id="next")["order"]["state"] == "filled"
    one.is_agreed(one.engine.do("sync"))


# ------------------------------------------------------------------------------------- C5, C11: found late, or not at all


def test_what_reaches_the_broker_after_its_absence_was_presumed_is_found_and_reported(desk):
    """C5, O15: a presumption is no proof. Its fill counts, and the break names it."""
    one = desk()
    one.points.hold("C5-delivered")
    heard = one.die(POINTS["C5-delivered"], "late")
    assert heard is not None
    assert heard["order"]["state"] == "unknown"
    until(lambda: one.sees("late", "absent"), "its absence")
    one.points.release("C5-delivered")
    until(lambda: one.gateway.executed("late"), "what was under way at the broker")
    look = until(lambda: one.sees("late", "filled"), "the late fill")
    assert ["order", "late_fill", "late"] in look["breaks"]
    assert look["positions"] == one.gateway.positions()


@pytest.mark.parametrize("fault", ["not-connected", "wrong-login"])
def test_a_terminal_that_is_logging_in_again_proves_nothing(fault, desk):
    """C11: without its server, or in another account, what is not found is not absent, however often it is looked for."""
    one = desk()
    one.die(POINTS["C4"], "lost")
    one.gateway.control("fail", fault=f"{fault}:-1")
    for _ in range(LOOKS):
        assert one.sees("lost", "absent") is None
    assert one.engine.do("look")["orders"]["lost"]["state"] == "unknown"
    one.gateway.control("heal")
    one.gateway.until_ready()
    until(lambda: one.sees("lost", "absent"), "its absence")
    assert one.gateway.executed("lost") == 0


# ------------------------------------------------------------------------------------------------- C12, C14: the store


@pytest.mark.parametrize("name", ["C4", "C7"])
def test_a_replaced_store_answers_for_no_order_of_the_old_one(name, desk):
    """C12, O26: what was executed is found by its token, what was not stays unknown until a person decides."""
    one, executed = desk(), int(POINTS[name].is_executed)
    one.die(POINTS[name], "open")
    one.engine.close()
    one.gateway.kill()
    one.gateway.store.unlink()
    one.gateway.start()
    look = one.restart_engine()
    if executed:
        assert (look["orders"]["open"]["state"], look["orders"]["open"]["basis"]) == ("filled", "token")
    else:
        until(lambda: one.engine.do("look")["orders"]["open"]["state"] == "unknown", "the end of its validity")
    assert ("pinned" in look["refused"], look["started"]) == (True, False)
    if not executed:
        command("order", "resolve", "open", "--outcome", "absent", "--reason", "seen", "--yes", "--journal", one.url)
    command("gateway", "pin", "--gateway", one.gateway.endpoint, "--reason", "new disk", "--yes", "--journal", one.url)
    look = one.restart_engine()
    assert (look["refused"], look["started"]) == (None, True)
    assert one.engine.do("order", client_id="next")["order"]["state"] == "filled"
    assert one.gateway.executed("open") == executed
    one.is_agreed(one.engine.do("sync"))


def test_of_two_gateways_of_one_terminal_one_sends(tmp_path):
    """C14: the other is read-only as long as the first has the terminal, and it is not the pinned one."""
    points = CrashPoints(tmp_path / "points")
    points.share_a_terminal()
    url = new_url("sqlite", tmp_path)
    first = OrderGatewayProcess(tmp_path / "first", points)
    second = OrderGatewayProcess(tmp_path / "second", points)
    other_url = f"sqlite:///{tmp_path}/other.db"
    try:
        with OrderEngineProcess(url, first.endpoint, points) as engine:
            engine.do("start")
            assert engine.do("order", client_id=FIRST)["order"]["state"] == "filled"
        with OrderEngineProcess(url, second.endpoint, points) as engine:
            assert "pinned" in engine.do("start")["refused"]
        with OrderEngineProcess(other_url, second.endpoint, points) as engine:
            engine.do("start")
            assert engine.do("order", client_id="second")["order"]["state"] in ("denied", "unknown", "rejected")
        assert (first.executed(FIRST), first.executed("second")) == (1, 0)
    finally:
        first.close()
        second.close()


# ------------------------------------------------------------------------------------ C13, C15, C16: engines and clocks


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_two_engines_with_one_client_id_send_once(kind, desk):
    """C13: both are about to record the intent; the one whose append was no duplicate sends."""
    one = desk(kind)
    other = one.new_engine()
    assert other.do("start")["refused"] is None
    one.points.hold("intent")
    for engine in (one.engine, other):
        engine.command("order", client_id="both")
    until(lambda: one.points.held("intent") == 2, "both engines")
    one.points.release("intent")
    found = [engine.hear() for engine in (one.engine, other)]
    assert all(answer is not None and answer["order"]["client_id"] == "both" for answer in found), found
    assert one.gateway.executed("both") == 1
    assert one.engine.do("look")["orders"]["both"]["events"] == _ANSWERED
    other.command("order", client_id="both", volume="0.20")
    answer = other.hear()
    assert answer is not None
    assert answer["error"] == "OrderConflict"
    one.is_agreed(one.engine.do("sync"))


def test_a_ledger_that_was_restored_from_an_old_backup_has_its_orders_again(desk, tmp_path):
    """C15, O43: what was sent since comes back by its token, and an id that was used is not executed again."""
    one = desk()
    copy, restored = tmp_path / "copy.db", f"sqlite:///{tmp_path}/restored.db"
    command("backup", str(copy), "--journal", one.url)
    assert one.engine.do("order", client_id="since")["order"]["state"] == "filled"
    assert one.engine.do("pending", client_id="resting", price="1.00000")["order"]["state"] == "working"
    one.engine.close()
    command("restore", str(copy), "--journal", restored)
    one.url = restored
    look = one.restart_engine()
    assert {name: found["state"] for name, found in look["orders"].items()} == {
        FIRST: "filled", "since": "filled", "resting": "working",
    }  # fmt: skip
    one.engine.command("order", client_id="since")
    one.engine.hear()
    assert one.gateway.executed("since") == 1
    assert one.engine.do("order")["order"]["state"] == "filled"
    assert set(one.gateway.executions().values()) == {1}


def test_a_clock_that_jumps_sends_nothing(desk):
    """C16: the engine's clock, or the gateway's after the order was checked: refused, and proven not sent."""
    one = desk()
    for ahead_msc in (-40_000, 40_000):
        one.engine.do("clock", ahead_msc=ahead_msc)
        order = one.engine.do("order", client_id=f"engine{ahead_msc}")["order"]
        assert (order["state"], order["why"].split(":")[0]) == ("denied", "clock")
    one.engine.do("clock", ahead_msc=0)
    for ahead_msc, verdict in ((-100_000, "fenced"), (100_000, "expired")):
        assert one.engine.do("check")["denied_by"] is None
        one.points.set_gateway_clock(ahead_msc)
        order = one.engine.do("order", client_id=f"gateway{ahead_msc}")["order"]
        assert (order["state"], order["verdict"]) == ("rejected", verdict)
        one.points.set_gateway_clock(0)
    assert one.gateway.executions().total() == 1
    assert one.engine.do("order", client_id="next")["order"]["state"] == "filled"
    one.is_agreed(one.engine.do("sync"))
