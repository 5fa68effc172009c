"""This module is which position each deal of a report belongs to, since a report's deals do not name it.

What the file proves is answered, everything else is left open (None) with a note: a close booked on the wrong position
is worse than one whose position becomes known later. Dumps state it themselves and are passed through.
"""

from __future__ import annotations

from attrs import frozen

from ledger.imports.hedging import attribute_hedging
from ledger.imports.netting import attribute_netting
from ledger.imports.notes import Note
from ledger.imports.statement import Statement
from ledger.values import MarginMode


@frozen
class Attribution:
    """Position ids, one for each deal of the statement in its order, and what the file does not determine."""

    position_ids: tuple[int | None, ...]
    notes: tuple[Note, ...] = ()


def attribute(statement: Statement, mode: MarginMode) -> Attribution:
    """Determine the position of every deal from the file alone, so that it makes no difference which file is read first.

    Args:
        statement: A file, read.
        mode: The account's margin mode; the file may not state it.
    """
    if statement.kind == "dump":
        return Attribution(tuple(deal.position_id for deal in statement.deals))
    rule = attribute_netting if mode.nets else attribute_hedging
    position_ids, notes = rule(statement)
    return Attribution(tuple(position_ids), tuple(notes))
