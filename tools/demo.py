#!/usr/bin/env python3
"""This script is the ledger at work, in a minute, on a sample history of the project's own making.

    python3 tools/demo.py

It makes ``.venv`` (see ``bootstrap``; that needs the network once), writes a history as a terminal exports it, imports
it, proves it against the figures in it, shows positions, replays three moments and verifies the journal. Everything it
makes but ``.venv`` lies in a temporary folder. The exit code is 0 only if all of it holds.
"""

import json
import os
import shlex
import subprocess
import sys
import tempfile
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING

import bootstrap

if TYPE_CHECKING:
    from sample_history import History

_CLOCK = "ny-close"
_WINTER_OFFSET = "+02:00"  # what that clock shows in January, when the sample was lived


def main() -> int:
    """Run the demo; return 1 if something of it does not hold."""
    python = bootstrap.ready(bootstrap.RUNTIME_LOCK)
    from sample_history import make_history, render_html

    with tempfile.TemporaryDirectory(prefix="ledger-demo-") as name:
        folder = Path(name)
        history = make_history(seed=7, mode="hedging", deals=60)
        (folder / "history.html").write_bytes(render_html(history))
        ledger = _Ledger(python, folder)
        _title("A history as an MT5 terminal exports it: UTF-16 HTML, 60 deals, some positions still open.")
        ledger.run("import", "history.html", "--server-tz", _CLOCK)
        _title("Importing it again appends nothing: told twice is told once.")
        ledger.run("import", "history.html")
        _title("What is open now, and the money.")
        ledger.run("positions")
        ledger.run("balance")
        for deals in (10, 30, 60):
            _replay(ledger, history, deals)
        _title("What the ledger believed before the import: nothing. --known-at asks for that.")
        ledger.run("replay", "--known-at", "2000-01-01")
        _title("Proof that nothing in the journal was changed.")
        ledger.run("verify")
        return ledger.verdict()


class _Ledger:
    """The command ``ledger`` on the demo's journal, as a person would type it."""

    def __init__(self, python: Path, folder: Path) -> None:
        self._python = python
        self._folder = folder
        self.failures: list[str] = []

    def run(self, *words: str, quiet: bool = False) -> str:
        """Run a command and show it with what it prints; return what it printed."""
        if not quiet:
            print(f"$ ledger {shlex.join(words)}", flush=True)
        environment = {**os.environ, "LEDGER_JOURNAL": "sqlite:///desk.db", "PYTHONUTF8": "1"}
        done = subprocess.run(
            [str(self._python), "-m", "ledger", *words],
            cwd=self._folder,
            env=environment,
            stdout=subprocess.PIPE if quiet else None,
            text=True,
            check=False,
        )
        if done.returncode:
            self.failures.append(f"ledger {shlex.join(words)} ended with exit code {done.returncode}")
        return done.stdout or ""

    def verdict(self) -> int:
        """Say how it went; return the exit code."""
        for failure in self.failures:
            print(f"DOES NOT HOLD: {failure}", file=sys.stderr)
        if not self.failures:
            print("\nAll of it holds. To try it on your own export:  .venv/bin/ledger import FILE --journal sqlite:///desk.db")
        return 1 if self.failures else 0


def _title(text: str) -> None:
    print(f"\n--- {text}", flush=True)


def _replay(ledger: _Ledger, history: "History", row: int) -> None:
    """Replay up to a deal of the history and hold the balance against the one that the history shows there.

    Times name whole seconds, so it is the last deal of that second.
    """
    second = history.deals[row - 1].time_msc // 1000
    last = next(deal for deal in reversed(history.deals) if deal.time_msc // 1000 == second)
    server = datetime(1970, 1, 1) + timedelta(seconds=second)  # noqa: DTZ001  # a wall clock has no zone
    moment = f"{server.isoformat()}{_WINTER_OFFSET}"
    _title(f"The account right after deal {last.ticket}, where the report's Balance column says {last.balance}.")
    ledger.run("replay", "--until", moment)
    replayed = json.loads(ledger.run("replay", "--until", moment, "--json", quiet=True))
    if Decimal(replayed["balance"]) + Decimal(replayed["credit"]) != last.balance:
        ledger.failures.append(f"after deal {last.ticket} replay says {replayed['balance']}, the report {last.balance}")


if __name__ == "__main__":
    sys.exit(main())
