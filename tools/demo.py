#!/usr/bin/env python3
"""This script is the ledger at work, in a minute: an engine dies in the middle of an order and comes back with the truth.

    python3 tools/demo.py

It makes ``.venv`` (see ``bootstrap``; that needs the network once), starts a simulated terminal and an engine that trades
there, kills the engine (SIGKILL) between an order and its record, trades behind its back, starts it again, and looks at
what was true and what the ledger showed. Everything it makes but ``.venv`` is in a temporary folder. The exit code is 0 only if
all of it holds.
"""

import json
import os
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # Python looks in the folder of a script, not in the project

from tools.dev import bootstrap

_SERVER, _LOGIN = "Sandbox-Demo", 70113
_CLOCK = "ny-close"


def main() -> int:
    """Run the demonstration; return 1 if something of it does not hold."""
    bootstrap.enter(bootstrap.RUNTIME_LOCK)
    from ledger.gateway.sandbox.client import Sandbox

    with tempfile.TemporaryDirectory(prefix="ledger-demo-") as name:
        with Sandbox.start("--seed", "7") as sandbox:
            story = _Story(Path(name), sandbox)
            try:
                story.play()
            finally:
                story.close()
        return story.verdict()


class _Story:
    """The story with its journal, its sandbox and its engine; what does not hold is collected."""

    def __init__(self, folder: Path, sandbox: Any) -> None:
        self.folder, self.sandbox = folder, sandbox
        self.engine: subprocess.Popen[str] | None = None
        self.failures: list[str] = []
        self.chapter = 0
        self.environment = {
            **os.environ, "LEDGER_JOURNAL": f"sqlite:///{folder}/desk.db", "PYTHONUTF8": "1", "COLUMNS": "80",
            "GTW_HOST": "127.0.0.1", "GTW_PORT": sandbox.endpoint.rpartition(":")[2],
        }  # fmt: skip

    def play(self) -> None:
        """Run all scenes."""
        self.title("A simulated MT5 terminal runs in a process of its own. An empty journal.")
        self.ledger("init")
        self.ledger("account", "open", f"{_SERVER}/{_LOGIN}", "--currency", "USD", "--mode", "hedging", "--server-tz", _CLOCK)

        self.title("An engine starts, recovers what there is, trades and records.")
        self.start_engine()
        self.obey("start")
        self.obey("trade EURUSD buy 0.10")
        self.obey("trade XAUUSD sell 0.20")

        self.title("It sends one more order. The broker executes it; SIGKILL before the engine can record it.")
        self.obey("order GBPUSD buy 0.30")
        crashed_at = _now()
        self.kill_engine()

        self.title("While it is down, manual trades close one of its positions and open another.")
        self.behind_its_back()
        self.ledger("positions")
        self.books("What the terminal has:")
        self.ledger("drift", expect=1)

        self.title("An answer that must be refused: the terminal lists nothing. Unknown is not flat.")
        self.sandbox.fault("none", times=-1)
        before = self.json_row("positions")
        self.ledger("sync", expect=3)
        self.holds(self.json_row("positions") == before, "a refused snapshot changes no position")
        self.sandbox.clear()

        self.title("The engine is started again. One startup_recovery, then it wants its GBPUSD position.")
        orders = self.received("SEND_ORDER")
        self.start_engine()
        self.obey("start")
        self.obey("want GBPUSD buy 0.30")
        self.holds(self.received("SEND_ORDER") == orders, "the order is not sent a second time")
        self.compare()

        self.title(f"What was true when it crashed ({crashed_at}), and what the ledger showed then.")
        self.shown_then(crashed_at)

        self.title("Deals are not reported for a while: what nothing explains is corrected, with its evidence; money waits.")
        self.corrected_and_explained()

        self.title("Nothing of it was changed behind the ledger's back.")
        self.ledger("verify")

    # ---- scenes

    def behind_its_back(self) -> None:
        euro = next(one for one in self.sandbox.books()["positions"] if one["symbol"] == "EURUSD")
        self.sandbox.control("close", position=euro["position_id"])
        self.sandbox.control("trade", symbol="USDJPY", side="sell", volume="0.40")
        print("(manual trades: EURUSD closed, USDJPY sell 0.40 opened)\n")

    def compare(self) -> None:
        theirs = {(one["position_id"], one["side"], one["volume"]) for one in self.books("What the terminal has:")}
        ours = {(one["position_id"], one["side"], one["volume"]) for one in self.json_row("positions")}
        self.ledger("positions")
        self.holds(ours == theirs, "the ledger's positions are the terminal's")
        balance = self.json_row("balance")
        self.holds(balance["balance"] == self.sandbox.books()["balance"], "the ledger's balance is the terminal's")

    def shown_then(self, crashed_at: str) -> None:
        true = self.json_row("replay", "--until", crashed_at)
        known = self.json_row("replay", "--known-at", crashed_at)
        for words, item in (("true", true), ("shown", known)):
            shown = ", ".join(f"{one['side']} {one['volume']} {one['symbol']}" for one in item["positions"])
            option = "--until" if words == "true" else "--known-at"
            print(f"$ ledger replay {option} {crashed_at}\n  {words + ':':<10}{shown}")
        both = [{one["symbol"] for one in item["positions"]} for item in (true, known)]
        self.holds(both == [{"EURUSD", "XAUUSD", "GBPUSD"}, {"EURUSD", "XAUUSD"}], "the crash hid GBPUSD, replay shows it")

    def corrected_and_explained(self) -> None:
        self.sandbox.fault("no-deals", times=-1)
        self.sandbox.control("trade", symbol="AUDUSD", side="buy", volume="0.50")
        self.ledger("sync", "--startup", expect=1)
        log = [json.loads(line) for line in self.output("log", "--json").splitlines()]
        recovered = next((one for one in log if one["kind"] == "PositionRecovered"), None)
        self.holds(recovered is not None, "what no deal explains is recovered")
        if recovered is None:
            return
        answer = json.loads(self.output("log", "--evidence", recovered["evidence"]))
        row = next(row for row in answer["positions"] if row["symbol"] == "AUDUSD")
        print(f"$ ledger log --evidence {recovered['evidence'][:16]}...")
        print(f"  the broker's own answer, stored as it came: AUDUSD {row['type']} {row['volume']}, ticket {row['ticket']}")
        self.sandbox.clear()
        print("\n(the terminal reports deals again: the deal explains the correction, its volume is not counted twice)")
        self.ledger("sync")
        self.compare()

    # ---- what it is made of

    def ledger(self, *words: str, expect: int = 0) -> None:
        """Run a command and show it with what it prints."""
        print(f"$ ledger {shlex.join(words)}", flush=True)
        done = self.run(*words, capture=False)
        if expect:
            print(f"(exit code {done.returncode})")
        self.holds(
            done.returncode == expect, f"ledger {shlex.join(words)} ends with {expect}, found {done.returncode}", quiet=True
        )

    def output(self, *words: str) -> str:
        """Return what a command prints."""
        done = self.run(*words, capture=True)
        self.holds(done.returncode == 0, f"ledger {shlex.join(words)} ends with 0, found {done.returncode}", quiet=True)
        return done.stdout or ""

    def json_row(self, *words: str) -> Any:
        """Return the JSON that a command prints; the object where it is a list of one account."""
        printed = json.loads(self.output(*words, "--json"))
        return printed[0] if isinstance(printed, list) and words[0] == "balance" else printed

    def run(self, *words: str, capture: bool) -> "subprocess.CompletedProcess[str]":
        """Run a command."""
        from ledger.processes import own_command

        return subprocess.run(
            own_command("ledger", *words) or [], cwd=self.folder, env=self.environment,
            stdout=subprocess.PIPE if capture else None, text=True, check=False,
        )  # fmt: skip

    def start_engine(self) -> None:
        """Start the engine's process."""
        script = Path(__file__).resolve().parent / "demo_engine.py"
        command = [sys.executable, str(script), self.environment["LEDGER_JOURNAL"], _SERVER, str(_LOGIN), self.sandbox.endpoint]
        self.engine = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        print(f"(the engine runs, process {self.engine.pid})")

    def obey(self, command: str) -> None:
        """Give the engine a command and show what it prints."""
        assert self.engine is not None
        assert self.engine.stdin is not None
        assert self.engine.stdout is not None
        self.engine.stdin.write(command + "\n")
        self.engine.stdin.flush()
        printed = self.engine.stdout.readline().strip()
        print(f"  engine> {printed}")
        self.holds(bool(printed), f"the engine answers {command!r}", quiet=True)

    def kill_engine(self) -> None:
        """Kill it at once."""
        assert self.engine is not None
        self.engine.send_signal(signal.SIGKILL)
        print(f"(killed: exit code {self.engine.wait()})")
        self.forget_engine()

    def forget_engine(self) -> None:
        """Give back what belongs to the engine's process."""
        assert self.engine is not None
        for stream in (self.engine.stdin, self.engine.stdout):
            if stream is not None:
                stream.close()
        self.engine.wait()
        self.engine = None

    def books(self, words: str) -> list[dict[str, Any]]:
        """Show the terminal's own books; return its positions."""
        positions: list[dict[str, Any]] = self.sandbox.books()["positions"]
        print(words)
        for one in positions:
            print(f"{one['position_id']:>11}  {one['symbol']}  {one['side']:<4} {one['volume']:>6}")
        print()
        return positions

    def received(self, action: str) -> int:
        """Return how often the terminal was asked for something."""
        return int(self.sandbox.control("stats")["received"].get(action, 0))

    def title(self, text: str) -> None:
        """Begin a chapter."""
        self.chapter += 1
        print(f"\n--- {self.chapter}. {text}", flush=True)

    def holds(self, is_so: bool, claim: str, *, quiet: bool = False) -> None:  # noqa: FBT001
        """Note whether a claim of the story holds."""
        if not is_so:
            self.failures.append(claim)
        if not quiet or not is_so:
            print(f"  {'holds' if is_so else 'DOES NOT HOLD'}: {claim}", flush=True)

    def close(self) -> None:
        """End what still runs."""
        if self.engine is not None:
            self.forget_engine()

    def verdict(self) -> int:
        """Print how it went; return the exit code."""
        for failure in self.failures:
            print(f"DOES NOT HOLD: {failure}", file=sys.stderr)
        if not self.failures:
            print("\nAll of it holds. On your own terminal's export:  .venv/bin/ledger import FILE --journal sqlite:///desk.db")
        return 1 if self.failures else 0


def _now() -> str:
    """Return the present to the millisecond, after letting it pass."""
    moment = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    time.sleep(0.002)
    return moment


if __name__ == "__main__":
    sys.exit(main())
