"""This module is what a file leaves undetermined, in sentences: one for each cause, or one for each place."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from attrs import frozen

#: Places that the sentence of a cause names.
_NAMED: Final = 3


@frozen
class Note:
    """Something undetermined: ``things`` names its kind in the plural, ``place`` the one thing, ``cause`` why."""

    things: str
    place: str
    cause: str

    def __str__(self) -> str:
        """Return the sentence for this place alone."""
        return f"{self.place}: {self.cause}"


def one_line_each(notes: Iterable[Note]) -> tuple[str, ...]:
    """Return a sentence for each cause, with the number of places and the first of them, in the order of the first."""
    by_cause: dict[tuple[str, str], list[Note]] = {}
    for note in notes:
        by_cause.setdefault((note.things, note.cause), []).append(note)
    return tuple(map(_line, by_cause.values()))


def _line(notes: list[Note]) -> str:
    if len(notes) == 1:
        return str(notes[0])
    named = ", ".join(note.place for note in notes[:_NAMED])
    more = f" and {len(notes) - _NAMED} more" if len(notes) > _NAMED else ""
    return f"{len(notes)} {notes[0].things}: {notes[0].cause}: {named}{more}"
