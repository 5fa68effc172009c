"""The demonstration of orders, as a person runs it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tools.testkit.crash_points import POINTS

ROOT = Path(__file__).resolve().parents[2]
WIDTH = 80


def test_the_demonstration_of_orders_holds_and_fits_a_terminal():
    run = subprocess.run(
        [sys.executable, "tools/demo_orders.py"], cwd=ROOT, capture_output=True, text=True, encoding="utf-8", check=False
    )
    assert (run.returncode, run.stderr) == (0, "")
    lines = run.stdout.splitlines()
    assert [line for line in lines if len(line) > WIDTH] == []
    begun = [line.split()[0] for line in lines if line and not line.startswith(" ")]
    assert [point for point in (*POINTS, "C2") if point not in begun] == []
    assert lines.count(f"{'':<14}positions of it: 1") == len(POINTS) + 2
    assert lines[-1] == "All of it holds."
