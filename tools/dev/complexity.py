"""This script counts the lines and the branches of every function of the program.

    python3 tools/dev/complexity.py    # the figures, and the functions with the most branches

Lines are those of the body, without the docstring and with the functions within it. A branch is an ``if`` as a statement or in
an expression, a loop, a handler or a case: what ``and`` and ``or`` join is one condition.
"""

import ast
from collections.abc import Iterator
from pathlib import Path
from statistics import median, quantiles
from typing import Final, NamedTuple

ROOT: Final = Path(__file__).resolve().parents[2]

_BRANCHES: Final = (ast.If, ast.IfExp, ast.For, ast.AsyncFor, ast.While, ast.ExceptHandler, ast.match_case)


class Measured(NamedTuple):
    """A function: where it is, and how large."""

    branches: int
    lines: int
    where: str


def measured(folder: Path = ROOT / "ledger") -> list[Measured]:
    """Return the functions below a folder, those with the most branches first."""
    return sorted((one for path in folder.rglob("*.py") for one in _functions(path)), reverse=True)


def _functions(path: Path) -> Iterator[Measured]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            branches = sum(isinstance(one, _BRANCHES) for one in ast.walk(node))
            yield Measured(branches, _lines(node), f"{path.relative_to(ROOT)}:{node.lineno} {node.name}")


def _lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    body = function.body if ast.get_docstring(function) is None else function.body[1:]
    return (body[-1].end_lineno or 0) - body[0].lineno + 1 if body else 0


def main() -> None:
    """Print the figures."""
    every = measured()
    lines = [one.lines for one in every]
    print(f"{len(every)} functions: median {median(lines):g} lines, p95 {quantiles(lines, n=20)[-1]:g}")
    for one in every[:10]:
        print(f"{one.branches:4} branches {one.lines:4} lines  {one.where}")


if __name__ == "__main__":
    main()
