#!/usr/bin/env python3
"""This script measures how often the cause that the ledger names is the true one: random scenarios whose cause is known.

    python3 tools/faults/causes.py                            # 100 scenarios of each cause: some minutes
    python3 tools/faults/causes.py --scenarios 10 --seed 7 --only "stop loss"

A simulated terminal trades, one thing happens that the engine does not record or the gateway does not show as it is, real
syncs reconcile, and what is named for the incidents that come of it is compared with what happened. A scenario is made by its
seed: the same seed gives the same. The exit code is 1 if a cause that was called certain is wrong, or if fewer are right than
``tools/testkit/cause_scenarios.py`` states.
"""

import argparse
import sys
from collections import Counter
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # Python looks in the folder of a script, not in the project

from tools.dev import bootstrap


def table(found: list[Any]) -> list[str]:
    """Return what was named, as a table in Markdown: one row for each cause, form and name."""
    counted: dict[tuple[str, str], Counter[str]] = {}
    for one in found:
        named = "unknown" if one.certainty.value == "unknown" else f"{one.certainty.value}: {one.cause.value}"
        mark = "" if one.is_right or named == "unknown" else " (wrong)"
        counted.setdefault((one.truth, one.form), Counter())[f"{named}{mark}"] += 1
    lines = ["| what happened | form | incidents | named |", "|---|---|---|---|"]
    for (truth, form), names in counted.items():
        words = ", ".join(f"{name} {count}" for name, count in names.most_common())
        lines.append(f"| {truth} | {form} | {names.total()} | {words} |")
    return lines


def main() -> int:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenarios", type=int, default=100, help="scenarios of each cause (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="seed of the first scenario (default: %(default)s)")
    parser.add_argument("--only", metavar="CAUSE", help="only scenarios of this cause")
    arguments = parser.parse_args()
    bootstrap.enter(bootstrap.RUNTIME_LOCK)
    from tools.testkit.cause_scenarios import TRUTHS, measure, shortfalls

    truths = [one for one in TRUTHS if arguments.only in (None, one.name)]
    if not truths:
        parser.error(f"expected one of {', '.join(one.name for one in TRUTHS)}, found {arguments.only!r}")
    found = measure(arguments.scenarios, arguments.seed, truths)
    print(f"seeds {arguments.seed} to {arguments.seed + arguments.scenarios - 1}")
    print("\n".join(table(found)))
    wrong = list(shortfalls(found))
    print("\n".join(wrong))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
