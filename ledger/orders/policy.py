"""Policy of orders: what is concluded from an order that nobody can find, and how long an order request is valid."""

from __future__ import annotations

from enum import Enum

from attrs import field, frozen

from ledger.errors import BadValue
from ledger.events.orders import Carrier
from ledger.values import INT64_MAX, to_amount, to_whole, to_word

#: The number that a magic of ours carries is below this: ``magic = base * 2**24 + n``.
MAGIC_SPAN = 2**24
_VALID_SEC_MAX = 60.0


class Absence(Enum):
    """What to do about an order that the terminal does not find."""

    #: It stays unknown until a person decides.
    ASK = "ask"
    #: Presume that it was never executed, by the rule of absence.
    PRESUME = "presume"


def _absence(value: Absence | str) -> Absence:
    return to_word(value, Absence)


def _carrier(value: Carrier | str) -> Carrier:
    return to_word(value, Carrier)


@frozen(kw_only=True)
class OrderPolicy:
    """How orders are sent and resolved.

    Attributes:
        absence: What to do about an order that is not found. ``ask`` for accounts with real money.
        absent_after_sec: How long after the send it must not be found before it is presumed absent. A terminal may wait 180 s
            for its broker.
        missing_lookups: How many lookups have to agree, at least.
        valid_for_sec: How long a new order may reach the gateway; at most 60.
        carrier: The field of the broker's order record that carries the client id.
        magic_base: With carrier ``magic``: every order gets the magic ``magic_base * 2**24 + n``, n counted from the journal.

    Raises:
        BadValue: A value that cannot be, or carrier ``magic`` without its base, or a base without it.
    """

    absence: Absence = field(converter=_absence, default=Absence.ASK)
    absent_after_sec: float = 240.0
    missing_lookups: int = 3
    valid_for_sec: float = 5.0
    carrier: Carrier = field(converter=_carrier, default=Carrier.COMMENT)
    magic_base: int | None = None

    def __attrs_post_init__(self) -> None:
        to_amount(self.absent_after_sec, 0, "absent_after_sec")
        to_whole(self.missing_lookups, 2, 1000, "missing_lookups")
        if to_amount(self.valid_for_sec, 0.1, "valid_for_sec") > _VALID_SEC_MAX:
            raise BadValue(f"valid_for_sec: expected at most {_VALID_SEC_MAX:.0f} s, found {self.valid_for_sec}")
        if (self.carrier is Carrier.MAGIC) != (self.magic_base is not None):
            raise BadValue("carrier magic and magic_base belong together: give both, or neither")
        if self.magic_base is not None:
            to_whole(self.magic_base, 1, INT64_MAX // MAGIC_SPAN, "magic_base")
