#!/usr/bin/env python3
"""Compares the package ``MetaTrader5`` with what the fake assumes of it: constants, fields of rows, rules of arguments.

    python tools/dev/mt5_arguments.py           # on Windows or under Wine, with the package installed
    python tools/dev/mt5_arguments.py --fake    # the fake against the same table

No terminal is needed and none is started: the module is not initialised, so that no order can leave it. Prints every
difference and exits with 1 where there is one. Needs ``attrs``, no database.
"""

import argparse
import importlib
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # Python looks in the folder of a script, not in the project

from ledger.testing.mt5 import FakeMetaTrader5
from ledger.testing.mt5.argument_table import CASES, difference, observe
from ledger.testing.mt5.module import constants
from ledger.testing.mt5.structs import STRUCTS

_NO_CONNECTION = -10004


def differences(module: Any) -> Iterator[str]:
    """Yield in what a module differs, a line each.

    Args:
        module: The package or a fake of it, not initialised.
    """
    for name, value in constants().items():
        found = getattr(module, name, None)
        if found != value:
            yield f"constant {name}: expected: {value}; found: {found}"
    for kind in STRUCTS:
        found = getattr(module, kind.__name__, None)
        fields = getattr(found, "__match_args__", kind.__match_args__)  # where it is not exported, there is nothing to compare
        if tuple(fields) != kind.__match_args__:
            yield f"fields of {kind.__name__}: expected: {' '.join(kind.__match_args__)}; found: {' '.join(fields)}"
    for case in CASES:
        line = difference(case, observe(module, case))
        if line is not None:
            yield line


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the differences; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fake", action="store_true", help="Check the fake instead of the package.")
    asked = parser.parse_args(arguments)
    module: Any = FakeMetaTrader5() if asked.fake else importlib.import_module("MetaTrader5")
    return report(module)


def report(module: Any) -> int:
    """Print in what a module differs; return 1 where it does, 2 where it is initialised."""
    if module.terminal_info() is not None or module.last_error()[0] != _NO_CONNECTION:
        print("the module is connected to a terminal: run this where none is, as orders would be sent")
        return 2
    found = list(differences(module))
    for line in found:
        print(line)
    print(f"MetaTrader5 {module.__version__}: {len(CASES)} calls, {len(constants())} constants, {len(found)} differences")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
