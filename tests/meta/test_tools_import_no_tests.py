"""Tools and tests share the testkit: tools import no tests, and the testkit imports neither."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TOOLS = sorted((ROOT / "tools").rglob("*.py"))


def imported(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("path", TOOLS, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_tool_imports_no_tests(path):
    assert [name for name in imported(path) if name.split(".")[0] == "tests"] == []


@pytest.mark.parametrize("path", sorted((ROOT / "tools" / "testkit").glob("*.py")), ids=lambda path: path.name)
def test_the_testkit_imports_no_tools(path):
    assert [name for name in imported(path) if name.startswith("tools") and not name.startswith("tools.testkit.")] == []
