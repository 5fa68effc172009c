#!/usr/bin/env python3
"""This script kills an engine, its gateway or its terminal process at every point of an order, and counts what was executed.

    python3 tools/demo_orders.py

It makes ``.venv`` (see ``bootstrap``; that needs the network once) and starts a gateway service over a simulated terminal, and
an engine. At each of the crash points C0 to C10 of the contract the engine orders once, and whoever is at that point is
killed (SIGKILL), or the message is lost. Everything is started again; the engine orders once more where it is known, or
presumed, that nothing was executed, and only there. Each order must be at the broker exactly once in the end. Everything it
makes but ``.venv`` is in a temporary folder. The exit code is 0 only if all of it holds.
"""

import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # Python looks in the folder of a script, not in the project

from tools.dev import bootstrap

_LOT = "0.10"
_POLICY: Any = {"absence": "presume", "absent_after_sec": 0.2, "missing_lookups": 6}
_LOST_MS = 700


class Row(NamedTuple):
    """What a point came to."""

    point: str
    killed: str
    known: str
    how: str
    executed: int


def main() -> int:
    """Run the demonstration; return 1 if something of it does not hold."""
    bootstrap.enter(bootstrap.RUNTIME_LOCK)
    with tempfile.TemporaryDirectory(prefix="ledger-demo-") as name:
        story = _Story(Path(name))
        try:
            story.play()
        finally:
            story.close()
        return story.verdict()


class _Story:
    """The desk of the demonstration; what does not hold is collected."""

    def __init__(self, folder: Path) -> None:
        from tools.testkit.crash_points import CrashPoints
        from tools.testkit.order_processes import OrderGatewayProcess, Way

        self.url = f"sqlite:///{folder}/desk.db"
        self.points = CrashPoints(folder / "points")
        self.gateway = OrderGatewayProcess(folder / "gateway", self.points)
        self.way = Way(self.gateway.endpoint)
        self.engine: Any = None
        self.rows: list[Row] = []
        self.failures: list[str] = []

    def play(self) -> None:
        """Run all points."""
        from tools.testkit.crash_points import POINTS

        print("An engine, a gateway and a terminal process; every order is BUY 0.10 EURUSD.")
        print("A first order shows that the broker's records carry client ids.\n")
        self.start()
        self.engine.do("order", client_id="first")
        self.engine.do("sync")
        print(f"{'point':<14}{'killed':<18}when", flush=True)
        for number, point in enumerate(POINTS.values(), 1):
            self.tell(point.name, point.victim, point.when)
            self.points.arm(point.name)
            self.at(point.name, point.victim, executed=int(point.is_executed))
            if number == 2:  # between C1 and C3
                for what, when in (("lose", "the message is lost"), ("delay", "the message comes too late")):
                    self.tell("C2", "nobody", when)
                    self.way.then(what)
                    self.at("C2", "nobody", executed=0, name=f"C2-{what}")
                self.holds(self.way.deliver()["error_code"] == "FENCED", "the late message is refused")

    # ---- one point

    def at(self, point: str, victim: str, *, executed: int, name: str = "") -> None:
        """Order, lose whoever is at the point, start again, and look."""
        from tools.testkit.order_processes import until

        client_id = name or point
        self.engine.tell("order", client_id=client_id, **({"timeout_ms": _LOST_MS} if victim == "nobody" else {}))
        self.engine.hear()
        if victim == "server process":
            self.gateway.wait_dead()
            self.gateway.start()
        self.gateway.until_ready()
        until(lambda: self.gateway.executed(client_id) == executed, "what was under way at the broker")
        look = self.start()
        known = look["orders"].get(client_id)
        state, how = _words(known)
        if known is not None and known["state"] == "unknown":
            self.holds(self.engine.do("check")["denied_by"] == "unknown_orders", "an unknown order blocks the next one")
            until(lambda: self.engine.do("sync")["orders"][client_id]["state"] == "absent", "its absence")
            how += ", blocks; then presumed absent"
        print(f"{'':<14}known: {state} ({how})")
        count = self.gateway.executed(client_id)
        if not executed:
            again = client_id if known is None else f"{client_id}-again"
            self.engine.do("order", client_id=again)
            count += self.gateway.executed(again) if again != client_id else self.gateway.executed(client_id)
            print(f"{'':<14}the engine orders again")
        self.look_at_positions(client_id, count)
        self.rows.append(Row(point, victim, state, how, count))

    def look_at_positions(self, client_id: str, count: int) -> None:
        """Compare what the ledger has with the terminal's own books."""
        look, positions = self.engine.do("sync"), self.gateway.positions()
        executions = self.gateway.executions()
        print(f"{'':<14}positions of it: {count}", flush=True)
        self.holds(count == 1, f"{client_id} is at the broker once, found {count}", quiet=True)
        self.holds(set(executions.values()) == {1}, "no client id is executed twice", quiet=True)
        self.holds(look["positions"] == positions, "the ledger's positions are the terminal's", quiet=True)
        self.holds(len(positions) == executions.total() == len(self.rows) + 2, "there is no other position", quiet=True)
        self.holds(look["breaks"] == [] and look["sync"] == "SUCCESS", "nothing is left unexplained", quiet=True)

    # ---- what it is made of

    def start(self) -> Any:
        """Start the engine again, and let it recover once."""
        from tools.testkit.order_processes import OrderEngineProcess

        if self.engine is not None:
            self.engine.close()
        self.engine = OrderEngineProcess(self.url, self.way.endpoint, self.points, **_POLICY)
        return self.engine.do("start")

    def tell(self, point: str, victim: str, when: str) -> None:
        """Show what happens at a point."""
        print(f"{point:<14}{victim:<18}{when}", flush=True)

    def holds(self, is_so: bool, claim: str, *, quiet: bool = False) -> None:  # noqa: FBT001
        """Note whether a claim holds."""
        if not is_so:
            self.failures.append(claim)
        if not quiet or not is_so:
            print(f"{'':<14}{'holds' if is_so else 'DOES NOT HOLD'}: {claim}", flush=True)

    def close(self) -> None:
        """End what still runs."""
        if self.engine is not None:
            self.engine.close()
        self.way.close()
        self.gateway.close()

    def verdict(self) -> int:
        """Print how it went; return the exit code."""
        for failure in self.failures:
            print(f"DOES NOT HOLD: {failure}", file=sys.stderr)
        if self.failures or not self.rows:
            return 1
        print(f"\n{len(self.rows)} times somebody died or a message was lost; {len(self.rows)} positions, none twice.")
        print("All of it holds.")
        return 0


def _words(known: Any) -> tuple[str, str]:
    """Return what the ledger has of an order after the restart, and how it knows that."""
    if known is None:
        return "nothing", "no intent: nothing was sent"
    state = known["state"]
    if state == "unknown":
        return "UNKNOWN", "neither answered nor found"
    if known["basis"] is not None:
        return state.upper(), f"found at the broker by its {known['basis']}"
    ways = {"fenced": "proven not sent: fenced by the gateway's store", "accepted": "the gateway's stored answer"}
    return state.upper(), ways.get(known["verdict"], known["why"])


if __name__ == "__main__":
    sys.exit(main())
