"""Where an account is: whether this journal accepts its events, and in which journals it was before.

An account is in one journal at a time. Its epoch counts where it is: 1 where it was opened, and one more with every move. While
it is moved neither journal accepts events; afterwards the one that it left refuses them for ever, unless it comes back.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from attrs import frozen

from ledger.errors import AccountMoved, AccountMoving
from ledger.values import AccountId

#: What is stored of an account that is not here: on its way from here, on its way to here, gone. None of an account that is.
MOVING: Final = "moving"
ARRIVING: Final = "arriving"
MOVED: Final = "moved"


@frozen(kw_only=True)
class Location:
    """Whether an account is in a journal.

    Attributes:
        epoch: Of the account, as far as this journal knows it.
        state: ``moving``, ``arriving`` or ``moved``; None where the account is here, and events are accepted.
        other: The journal that it moves to or from, with its URL, for people.
        other_id: The id of that journal.
    """

    epoch: int = 1
    state: str | None = None
    other: str | None = None
    other_id: str | None = None

    @property
    def is_here(self) -> bool:
        """Whether events of the account are accepted."""
        return self.state is None


class FormerJournal(NamedTuple):
    """A journal that an account was in before: its id, and the last version that was recorded there."""

    journal_id: str
    version: int


#: The columns of a location, and those of an origin.
LOCATION_COLUMNS: Final = ("epoch", "state", "other", "other_id")
ORIGIN_COLUMNS: Final = FormerJournal._fields


def refusal(account: AccountId, location: Location) -> AccountMoved | AccountMoving:
    """Return the error for an append to an account that is not here."""
    other = location.other or "another journal"
    if location.state == MOVED:
        return AccountMoved(
            f"account {account} has moved to {other}, epoch {location.epoch}: nothing was recorded here. Open it there, or "
            "by the directory (ledger account where)",
            journal=location.other,
            epoch=location.epoch,
        )
    way = "here from" if location.state == ARRIVING else "to"
    return AccountMoving(
        f"account {account} is being moved {way} {other}: nothing is recorded meanwhile. Try again; if the move was cut short, "
        "run the same ledger account move again",
        journal=location.other,
    )
