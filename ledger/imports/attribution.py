"""This module is which position each deal of a report belongs to, since a report's deals do not say.

What the file proves is answered, everything else is left open (None) with a note: a close booked on the wrong position
is worse than one whose position is told later. Dumps say it themselves and are passed through.
"""

from __future__ import annotations

from attrs import frozen

from ledger.imports.hedging import attribute_hedging
from ledger.imports.netting import attribute_netting
from ledger.imports.statement import Known, Statement
from ledger.values import MarginMode


@frozen
class Attribution:
    """Position ids, one for each deal of the statement in its order, and what could not be told, in sentences."""

    position_ids: tuple[int | None, ...]
    notes: tuple[str, ...] = ()


def attribute(statement: Statement, mode: MarginMode, *, known: Known | None = None) -> Attribution:
    """Tell the position of every deal.

    Args:
        statement: A file, read.
        mode: The account's margin mode; the file may not say it.
        known: position_id -> (symbol, side, volume in lots) of **every** position that was open before the first deal
            of the file; None where that is not known. A file from the account's birth needs none.
    """
    if statement.kind == "dump":
        return Attribution(tuple(deal.position_id for deal in statement.deals))
    rule = attribute_netting if mode.nets else attribute_hedging
    position_ids, notes = rule(statement, known)
    return Attribution(tuple(position_ids), tuple(notes))
