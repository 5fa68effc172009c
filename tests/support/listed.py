"""Tests by name, for lists of scenarios that state which tests cover each row."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path
from typing import Final

_TESTS: Final = Path(__file__).parent.parent


@cache
def claims(name: str) -> frozenset[str]:
    """Return the names of a file's tests."""
    tree = ast.parse((_TESTS / name).read_text(encoding="utf-8"))
    return frozenset(one.name for one in ast.walk(tree) if isinstance(one, ast.FunctionDef) and one.name.startswith("test_"))


def require_tests(names: tuple[str, ...]) -> None:
    """Fail unless there are such tests, one at least; each is written ``folder/file.py::name``."""
    assert names
    for one in names:
        name, _, claim = one.partition("::")
        assert claim in claims(name), one
