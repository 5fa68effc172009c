"""The drawing of the error tree and the classes agree."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from typing import NamedTuple

import pytest

from ledger import errors


class Drawn(NamedTuple):
    """One error: its name, the error above it, and whether the same call may succeed later."""

    name: str
    above: str
    is_retryable: bool


def test_the_drawing_shows_the_classes():
    assert sorted(read_drawing(errors.__doc__ or "")) == sorted(read_classes())


def test_every_error_has_a_docstring():
    assert [name for name, error in inspect.getmembers(errors, inspect.isclass) if not error.__doc__] == []


@pytest.mark.parametrize(
    ("drawing", "errors_drawn"),
    [
        (
            "Root  .retryable = False\n    Group  A, B (retryable),\n           C\n    Other  D\n\nText, and more.",
            "GABCOD",
        ),
        ("Words first.\n\n    Root  .retryable = False\n        Group  A\n        Other (retryable)  B", "GAOB"),
    ],
)
def test_a_drawing_is_read_whole(drawing, errors_drawn):
    drawn = list(read_drawing(drawing))
    assert "".join(error.name[0] for error in drawn[1:]) == errors_drawn
    assert [error.name for error in drawn if error.is_retryable] in (["B"], ["Other"])


def read_classes() -> Iterator[Drawn]:
    """Yield every error class of the module, the base class with ``Exception`` above it."""
    for name, error in inspect.getmembers(errors, inspect.isclass):
        if issubclass(error, errors.LedgerError):
            yield Drawn(name, error.__bases__[0].__name__, error.retryable)


def read_drawing(text: str) -> Iterator[Drawn]:
    """Yield every error of a drawing: the base, then groups by indentation, each with its errors to its right."""
    root, *lines = _drawn_lines(text)
    base = root.split()[0]
    yield Drawn(base, "Exception", is_retryable=False)
    group_column = min(_column(line) for line in lines)
    group = ""
    for line in lines:
        members = line.strip()
        if _column(line) == group_column:
            drawn, _, members = members.partition("  ")
            error = _read_error(drawn, base)
            group = error.name
            yield error
        yield from (_read_error(member, group) for member in members.split(",") if member.strip())


def _drawn_lines(text: str) -> list[str]:
    """Return the lines of the drawing: from the one that has ``.retryable = False`` to the next blank one."""
    lines = inspect.cleandoc(text).splitlines()
    first = next(number for number, line in enumerate(lines) if line.endswith(".retryable = False"))
    ends = [number for number, line in enumerate(lines) if not line.strip() and number > first]
    return lines[first : ends[0] if ends else None]


def _column(line: str) -> int:
    return len(line) - len(line.lstrip())


def _read_error(drawn: str, above: str) -> Drawn:
    found = re.fullmatch(r"\s*(\w+)( \(retryable\))?\s*", drawn)
    assert found, f"not an error's name: {drawn!r}"
    return Drawn(found[1], above, is_retryable=found[2] is not None)
