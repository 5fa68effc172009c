"""The package has layers, and imports point down only: a module imports what is below it, and nothing beside it.

A module here is a module or a package directly under ``ledger``; what happens inside a package is its own business. A new
module gets its place in ``LAYERS``, a new library its place in ``LIBRARIES``: until then these tests fail.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).resolve().parents[2]

LAYERS: Final = (  # low to high; modules of one layer do not import one another
    {"deprecation"},
    {"errors"},
    {"values", "text", "output_files", "processes", "access_lists"},
    {"clock", "mt5", "keyfiles"},
    {"systemd"},
    {"events"},
    {"terms"},
    {"positions", "postings", "snapshot", "order_messages", "marks", "results"},
    {"fold_order", "views", "holdings"},
    {"filters"},
    {"portfolio"},
    {"orders", "bookings", "approvals"},
    {"performance"},
    {"folds"},
    {"codec", "protocol"},
    {"segments"},
    {"journal"},
    {"reconcile", "causes", "signing_keys"},
    {"gateway", "imports", "seals", "signatures"},
    {"archive"},
    {"results_check"},
    {"proof", "safety", "testing", "incidents", "alert_settings", "page_settings"},
    {"damage"},
    {"service", "upkeep"},
    {"derived", "directory"},
    {"order_manager", "frames"},
    {"reconciler", "adjustments", "order_decisions", "config"},
    {"equity", "proposals"},
    {"monitors"},
    {"engines", "gateway_forms", "gateway_settings", "order_checks"},
    {"fleet"},
    {"subjects"},
    {"json_views", "event_lines", "importer", "exporter", "daemon", "metrics", "alerts"},
    {"account_status", "event_filter", "health_checks", "incident_lines", "reports"},
    {"trace"},
    {"explain"},
    {"compare"},
    {"forensics"},
    {"page"},
    {"importing", "exporting", "corrections"},  # old names, for one minor version
    {"ledger"},  # ledger/__init__.py: the names that users import
    {"cli"},
    {"__main__"},
)
#: Methods of ``Ledger`` and ``Account`` that answer a question by a module above them, which they load when they are called.
ASKED: Final = {
    "service": {"compare", "derived", "equity", "explain", "frames", "incidents", "monitors", "reports"},
}
PURE: Final = {
    "errors",
    "values",
    "clock",
    "mt5",
    "text",
    "events",
    "positions",
    "postings",
    "marks",
    "snapshot",
    "terms",
    "fold_order",
    "views",
    "filters",
    "holdings",
    "bookings",
    "performance",
    "results",
    "portfolio",
    "approvals",
    "order_messages",
    "orders",
    "folds",
    "codec",
    "protocol",
    "reconcile",
    "causes",
}
IMPURE_MODULES: Final = {
    *("asyncio", "io", "os", "pathlib", "random", "secrets", "shutil", "socket", "sqlite3", "subprocess", "tempfile"),
    *("threading", "time", "urllib", "uuid"),
}
LIBRARIES: Final = {  # library -> the modules that may use it
    "alembic": {"journal"},
    "apprise": {"alerts"},
    "attrs": {module for layer in LAYERS for module in layer},
    "click": {"cli", "gateway"},
    "cryptography": {"archive", "page", "seals", "signatures", "signing_keys"},
    "msgspec": {"alert_settings", "config", "gateway", "journal", "page_settings", "protocol"},
    "prometheus_client": {"metrics"},
    "anyio": {"page"},
    "starlette": {"page"},
    "uvicorn": {"page"},
    "psycopg": {"journal"},
    "pandas": {"frames"},
    "polars": {"frames"},
    "pyarrow": {"archive", "exporter", "frames"},
    "distributed": {"forensics"},
    "py4j": {"forensics"},  # comes with pyspark
    "pyspark": {"forensics"},
    "ray": {"forensics"},
    "duckdb": {"forensics"},
    "python_calamine": {"imports"},
    "rich": {"cli"},
    "sqlalchemy": {"journal"},
    "zmq": {"gateway"},
}
_LAYER_OF: Final = {module: number for number, layer in enumerate(LAYERS) for module in layer}

SOURCES: Final = sorted((ROOT / "ledger").rglob("*.py"))


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_module_uses_only_what_is_below_it(path):
    assert list(violations(module_of(path), path.read_text(encoding="utf-8"))) == []


def test_every_module_is_in_one_layer():
    assert sum(len(layer) for layer in LAYERS) == len(_LAYER_OF)
    assert _LAYER_OF.keys() >= PURE


@pytest.mark.parametrize(
    ("module", "source", "complaint"),
    [
        ("codec", "import ledger.journal.sql.journal", "codec uses journal, which is not below it"),
        ("events", "def f():\n    from ledger import portfolio", "events uses portfolio, which is not below it"),
        ("gateway", "from ledger.imports import html", "gateway uses imports, which is not below it"),
        ("service", "from ledger import Ledger", "service uses ledger, which is not below it"),
        ("service", "from . import events", "service uses a relative import; write it out"),
        ("attic", "import ast", "attic is in no layer: add it to LAYERS"),
        ("cli", "import ledger.attic", "attic is in no layer: add it to LAYERS"),
        ("codec", "from sqlalchemy import text", "codec uses sqlalchemy, which belongs to journal"),
        ("cli", "import numpy as np", "cli uses numpy, a library that is not in LIBRARIES"),
        ("portfolio", "from time import monotonic", "portfolio is pure and uses time"),
    ],
)
def test_an_import_that_points_elsewhere_is_named(module, source, complaint):
    assert list(violations(module, source)) == [complaint]


@pytest.mark.parametrize(
    ("module", "source"),
    [
        (
            "journal",
            "import time, sqlalchemy.orm\nfrom ledger import codec, errors\nfrom ledger.journal.sql.schema import x",
        ),
        ("cli", "from ledger import Ledger\nimport rich.table"),
    ],
)
def test_an_import_that_points_down_is_fine(module, source):
    assert list(violations(module, source)) == []


def module_of(path: Path) -> str:
    """Return the module of a file of the package: its first part under ``ledger``, or the package itself."""
    first = path.relative_to(ROOT / "ledger").parts[0].removesuffix(".py")
    return "ledger" if first == "__init__" else first


def violations(module: str, source: str) -> Iterator[str]:
    """Yield what is wrong with the imports of a module, a sentence each."""
    if module not in _LAYER_OF:
        yield f"{module} is in no layer: add it to LAYERS"
        return
    for name in imported(source):
        top, _, rest = name.partition(".")
        if top == "ledger":
            yield from _inner_violation(module, rest.partition(".")[0])
        else:
            yield from _outer_violation(module, top)


def imported(source: str) -> Iterator[str]:
    """Yield the full name of all that a module imports, wherever in it; ``from ledger import x`` is ``ledger.x``."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = "." * node.level + (node.module or "")
            yield from (f"{module}.{alias.name}" for alias in node.names) if module == "ledger" else (module,)


def _inner_violation(module: str, target: str) -> Iterator[str]:
    target = "ledger" if not target or target[0].isupper() or target.startswith("_") else target
    if target not in _LAYER_OF:
        yield f"{target} is in no layer: add it to LAYERS"
    elif target != module and target not in ASKED.get(module, ()) and _LAYER_OF[target] >= _LAYER_OF[module]:
        yield f"{module} uses {target}, which is not below it"


def _outer_violation(module: str, library: str) -> Iterator[str]:
    if not library:
        yield f"{module} uses a relative import; write it out"
    elif library in sys.stdlib_module_names:
        if module in PURE and library in IMPURE_MODULES:
            yield f"{module} is pure and uses {library}"
    elif library not in LIBRARIES:
        yield f"{module} uses {library}, a library that is not in LIBRARIES"
    elif module not in LIBRARIES[library]:
        yield f"{module} uses {library}, which belongs to {', '.join(sorted(LIBRARIES[library]))}"
