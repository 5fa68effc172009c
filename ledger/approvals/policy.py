"""The policy: how many persons a correction needs, and which policy is lower than another. Pure."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Final

from attrs import frozen

from ledger.events import PolicySet
from ledger.events.approvals import SUBJECTS

#: As many persons as a correction needs where the policy asks for a second one.
TWO: Final = 2


@frozen(kw_only=True)
class Policy:
    """How many persons a correction needs, for which corrections, and whether decisions are signed.

    ``version`` is that of the event that set it; None for the one that is in force as long as none was set: one person.
    """

    approvals: int = 1
    corrections: tuple[str, ...] = SUBJECTS
    signed: bool = False
    version: int | None = None
    operator: str | None = None
    reason: str | None = None
    time_msc: int | None = None

    @classmethod
    def of(cls, event: PolicySet, version: int | None = None) -> Policy:
        """Return the policy that an event sets."""
        return cls(
            approvals=event.approvals,
            corrections=event.corrections,
            signed=event.signed,
            version=version,
            operator=event.operator,
            reason=event.reason,
            time_msc=event.time_msc,
        )

    @property
    def rule(self) -> dict[str, Any]:
        """What it asks for, as JSON values."""
        return {"approvals": self.approvals, "corrections": list(self.corrections), "signed": self.signed}

    def persons(self, subjects: Collection[str]) -> int:
        """Return how many persons a correction needs that is about these subjects."""
        return TWO if self.approvals == TWO and any(one in self.corrections for one in subjects) else 1

    def is_lowered_by(self, other: Policy) -> bool:
        """Return whether another policy asks for less than this one, in any regard: then a second person has to agree."""
        if self.approvals < TWO:
            return False
        return (
            other.approvals < TWO or not set(self.corrections) <= set(other.corrections) or (self.signed and not other.signed)
        )


#: In force before any is set.
ONE_PERSON: Final = Policy()
