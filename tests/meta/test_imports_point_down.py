"""The house has floors, and imports point down only: each module may use what is below it, and nothing beside it.

A room is a module or a package directly under ``ledger``; what happens inside a package is its own business. A new room
gets its place in ``FLOORS``, a new library its place in ``LIBRARIES``: until then these tests fail.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).resolve().parents[2]

FLOORS: Final = (  # low to high; rooms on one floor do not know one another
    {"errors"},
    {"values", "keyfiles", "text", "output_files", "processes"},
    {"clock", "mt5"},
    {"events"},
    {"terms"},
    {"positions", "postings", "snapshot"},
    {"fold_order", "views"},
    {"portfolio"},
    {"folds"},
    {"codec", "protocol"},
    {"journal"},
    {"reconcile"},
    {"gateway", "imports", "seals"},
    {"proof", "safety", "testing"},
    {"service"},
    {"reconciler", "corrections", "config"},
    {"json_views", "event_lines", "importing", "exporting", "daemon"},
    {"ledger"},  # ledger/__init__.py: the names that users import
    {"cli"},
    {"__main__"},
)
PURE: Final = {
    "errors",
    "values",
    "clock",
    "mt5",
    "text",
    "events",
    "positions",
    "postings",
    "snapshot",
    "terms",
    "fold_order",
    "views",
    "portfolio",
    "folds",
    "codec",
    "protocol",
    "reconcile",
}
IMPURE_MODULES: Final = {
    *("asyncio", "io", "os", "pathlib", "random", "secrets", "shutil", "socket", "sqlite3", "subprocess", "tempfile"),
    *("threading", "time", "urllib", "uuid"),
}
LIBRARIES: Final = {  # library -> the rooms that may use it
    "alembic": {"journal"},
    "attrs": {room for floor in FLOORS for room in floor},
    "click": {"cli", "gateway"},
    "cryptography": {"seals"},
    "msgspec": {"config", "journal"},
    "psycopg": {"journal"},
    "pyarrow": {"exporting"},
    "python_calamine": {"imports"},
    "rich": {"cli"},
    "sqlalchemy": {"journal"},
    "zmq": {"gateway"},
}
_FLOOR_OF: Final = {room: number for number, floor in enumerate(FLOORS) for room in floor}

SOURCES: Final = sorted((ROOT / "ledger").rglob("*.py"))


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_module_uses_only_what_is_below_it(path):
    assert list(violations(room_of(path), path.read_text(encoding="utf-8"))) == []


def test_every_room_stands_on_one_floor():
    assert sum(len(floor) for floor in FLOORS) == len(_FLOOR_OF)
    assert _FLOOR_OF.keys() >= PURE


@pytest.mark.parametrize(
    ("room", "source", "complaint"),
    [
        ("codec", "import ledger.journal.sql.journal", "codec uses journal, which is not below it"),
        ("events", "def f():\n    from ledger import portfolio", "events uses portfolio, which is not below it"),
        ("gateway", "from ledger.imports import html", "gateway uses imports, which is not below it"),
        ("service", "from ledger import Ledger", "service uses ledger, which is not below it"),
        ("service", "from . import events", "service uses a relative import; write it out"),
        ("attic", "import ast", "attic stands on no floor; give it one in FLOORS"),
        ("cli", "import ledger.attic", "attic stands on no floor; give it one in FLOORS"),
        ("codec", "from sqlalchemy import text", "codec uses sqlalchemy, which belongs to journal"),
        ("cli", "import pandas as pd", "cli uses pandas, a library without a place in LIBRARIES"),
        ("portfolio", "from time import monotonic", "portfolio is pure and uses time"),
    ],
)
def test_an_import_that_points_elsewhere_is_named(room, source, complaint):
    assert list(violations(room, source)) == [complaint]


@pytest.mark.parametrize(
    ("room", "source"),
    [
        (
            "journal",
            "import time, sqlalchemy.orm\nfrom ledger import codec, errors\nfrom ledger.journal.sql.schema import x",
        ),
        ("cli", "from ledger import Ledger\nimport rich.table"),
    ],
)
def test_an_import_that_points_down_is_fine(room, source):
    assert list(violations(room, source)) == []


def room_of(path: Path) -> str:
    """Return the room of a file of the package: its first part under ``ledger``, or the package itself."""
    first = path.relative_to(ROOT / "ledger").parts[0].removesuffix(".py")
    return "ledger" if first == "__init__" else first


def violations(room: str, source: str) -> Iterator[str]:
    """Yield what is wrong with the imports of a module, a sentence each."""
    if room not in _FLOOR_OF:
        yield f"{room} stands on no floor; give it one in FLOORS"
        return
    for module in imported(source):
        top, _, rest = module.partition(".")
        if top == "ledger":
            yield from _inner_violation(room, rest.partition(".")[0])
        else:
            yield from _outer_violation(room, top)


def imported(source: str) -> Iterator[str]:
    """Yield the full name of all that a module imports, wherever in it; ``from ledger import x`` is ``ledger.x``."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = "." * node.level + (node.module or "")
            yield from (f"{module}.{alias.name}" for alias in node.names) if module == "ledger" else (module,)


def _inner_violation(room: str, target: str) -> Iterator[str]:
    target = "ledger" if not target or target[0].isupper() or target.startswith("_") else target
    if target not in _FLOOR_OF:
        yield f"{target} stands on no floor; give it one in FLOORS"
    elif target != room and _FLOOR_OF[target] >= _FLOOR_OF[room]:
        yield f"{room} uses {target}, which is not below it"


def _outer_violation(room: str, library: str) -> Iterator[str]:
    if not library:
        yield f"{room} uses a relative import; write it out"
    elif library in sys.stdlib_module_names:
        if room in PURE and library in IMPURE_MODULES:
            yield f"{room} is pure and uses {library}"
    elif library not in LIBRARIES:
        yield f"{room} uses {library}, a library without a place in LIBRARIES"
    elif room not in LIBRARIES[library]:
        yield f"{room} uses {library}, which belongs to {', '.join(sorted(LIBRARIES[library]))}"
