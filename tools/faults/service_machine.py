#!/usr/bin/env python3
"""This script runs the state machine of the gateway service for long: trades, faults, and deaths of all its processes.

    python3 tools/faults/service_machine.py                       # 50 examples of 30 steps on each journal and mode: an hour
    python3 tools/faults/service_machine.py --examples 5 --seed 7 --only netting-postgres

The engine, the reconciler, the server process and the terminal process of ``ledger gateway serve --fake`` are killed (SIGKILL),
also while a call blocks the terminal process; after each restart the ledger must agree with the terminal's books. It is the
test ``tests/crash/test_served_machine.py`` with more examples, which are not the same every time; the seed is printed. The exit
code is that of the tests.
"""

import argparse
import os
import secrets
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # Python looks in the folder of a script, not in the project

from tools.dev import bootstrap

ROOT = Path(__file__).resolve().parents[2]
_TEST = "tests/crash/test_served_machine.py"
_MACHINE = "test_a_startup_over_a_service_brings_the_ledger_to_the_books"


def main() -> int:
    """Run the tests with so many examples."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--examples", type=int, default=50, help="examples of each journal and mode (default: %(default)s)")
    parser.add_argument("--steps", type=int, default=30, help="steps of each (default: %(default)s)")
    parser.add_argument("--seed", type=int, help="the same seed gives the same examples (default: a new one)")
    parser.add_argument("--only", metavar="NAME", default="", help="one of hedging-sqlite, hedging-postgres, netting-...")
    arguments = parser.parse_args()
    bootstrap.enter(bootstrap.DEV_LOCK)
    seed = secrets.randbelow(2**31) if arguments.seed is None else arguments.seed
    print(f"seed {seed}", flush=True)
    environment = {name: value for name, value in os.environ.items() if name not in ("CI", "HYPOTHESIS_PROFILE")}
    environment |= {"LEDGER_SERVICE_EXAMPLES": str(arguments.examples), "LEDGER_SERVICE_STEPS": str(arguments.steps)}
    chosen = f"{_TEST}::{_MACHINE}" + (f"[{arguments.only}]" if arguments.only else "")
    command = [sys.executable, "-m", "pytest", "-q", chosen, f"--hypothesis-seed={seed}"]
    return subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
