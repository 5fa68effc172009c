"""Causes: why our record and the broker's came to differ, by rules that are data. Pure.

What is decided about is a ``Case``: a break, with what the journal holds about it. ``RULES`` lists every rule once, the first
that applies names the cause. Nothing is concluded from what is missing alone, but where a rule's sentence describes it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from decimal import Decimal
from enum import Enum, IntEnum
from typing import Any, Final, NamedTuple

import attrs
from attrs import frozen

from ledger.events import BreakEnd, BreakKind, Origin
from ledger.values import EXACT, Entry, exact_sum


class Cause(Enum):
    """What a disagreement, or a result that nobody explains, comes from."""

    CLOSED_MANUALLY = "closed manually"
    OPENED_MANUALLY = "opened manually"
    PARTIAL_CLOSE = "partial close"
    STOP_OUT = "stop-out"
    STOP_LOSS = "stop loss"
    TAKE_PROFIT = "take profit"
    MISSED_FILL = "missed fill"
    LATE_FILL = "late fill"
    OTHER_PROGRAM = "another program"
    ROLLOVER = "rollover"
    RETICKETED = "re-ticketing"
    VARIATION_MARGIN = "variation margin"
    SPLIT = "split"
    BROKER = "broker"
    RENAMED = "symbol renamed"
    GATEWAY = "gateway fault"
    CLOCK = "clock fault"
    FLAPPING = "flapping"
    LATE_DEAL = "deal reported late"
    WITHDRAWN = "deal withdrawn"
    ORDER_DOUBLED = "order doubled"
    OVERFILL = "overfill"
    FOREIGN_ORDER = "foreign order"
    STOP_DROPPED = "stop dropped"
    BEFORE_HISTORY = "opened before the history"
    UNKNOWN = "unknown"


class Certainty(Enum):
    """How sure a named cause is."""

    #: The broker's own record, or a person's recorded decision, states it.
    CERTAIN = "certain"
    #: Nothing states it, but what is recorded fits this cause and no other that is usual.
    LIKELY = "likely"
    #: What is recorded fits this cause, and others as well.
    POSSIBLE = "possible"
    #: Nothing that is recorded supports any cause.
    UNKNOWN = "unknown"


class Reason(IntEnum):
    """MT5's reasons of a deal (``ENUM_DEAL_REASON``), as the client's API numbers them."""

    CLIENT = 0
    MOBILE = 1
    WEB = 2
    EXPERT = 3
    SL = 4
    TP = 5
    SO = 6
    ROLLOVER = 7
    VMARGIN = 8
    SPLIT = 9


_REASON_NAMES: Final = {int(one): one.name.lower() for one in Reason}
_PERSONS: Final = frozenset((Reason.CLIENT, Reason.MOBILE, Reason.WEB))
_CLOSES: Final = frozenset((int(Entry.OUT), int(Entry.IN_OUT), int(Entry.OUT_BY)))
_OPENS: Final = frozenset((int(Entry.IN), int(Entry.IN_OUT)))
#: A position as a break quotes it (``reconcile.decide``).
SHOWN: Final = re.compile(r"(?P<side>buy|sell) (?P<volume>\S+) (?P<symbol>.+) @ (?P<price_open>[^@]+)", re.DOTALL)


class Support(NamedTuple):
    """One recorded event that supports a cause: its version, its kind, the deal that it is about, what of it counts."""

    version: int
    kind: str
    deal: int | None
    what: str


class DealFact(NamedTuple):
    """What counts of a deal that was recorded after a break was opened. ``money`` is None where it is not known yet."""

    version: int
    kind: str
    deal: int
    position_id: int | None
    entry: int | None
    volume: Decimal
    reason: int | None
    magic: int | None
    comment: str | None
    origin: str | None
    order: int | None
    money: Decimal | None
    credit: Decimal | None

    @property
    def closes(self) -> bool:
        """Whether it takes volume from a position."""
        return self.entry in _CLOSES

    @property
    def opens(self) -> bool:
        """Whether it adds volume to a position."""
        return self.entry in _OPENS


@frozen
class Twin:
    """Another break of the same sync, about the opposite: what one side misses the other has under another id or name."""

    version: int
    position_id: int
    symbol: str
    price: str


@frozen(kw_only=True)
class Case:
    """A break, or what else came to differ, and what the journal holds about it.

    Attributes:
        about: ``break``; or ``close`` (one without an opening), ``ticket`` (a new one of a position), ``degraded``.
        kind: Of the break, None for all else.
        version: The event that opened it.
        field: What differs, several with commas.
        ours: What we had,
        theirs: and what the broker showed, as breaks quote them.
        end: How it ended, None while it is open.
        flaps: How often the same disagreed, where that is too often.
        confirmations: Snapshots that showed it.
        sightings: Versions of its events.
        deal: The deal that it is about.
        magic: The position's magic number as far as it is known.
        deals: Deals about it that were recorded after it was opened.
        degraded: SyncDegraded shortly before it or during it: version -> reason.
        reticketed: Versions that gave its position another ticket, shortly before it or during it.
        withdrawn: Breaks about deals that the broker does not list, open together with it: version -> deal.
        undone: Versions that took its correction back without a deal, or that it takes back itself.
        twin: Its opposite of the same sync.
        our_orders: Order tickets of the broker that are ours.
        doubled: Order tickets of one intent that was executed more than once -> the version that states it.
        clock_changed: The version by which a person corrected the clock rule, and so ended it.
        digits: Decimals of the account's money.
        is_first_known: Whether its position is older, by its id, than every order of which a deal is recorded.
        is_night: Whether the server's clock was within half an hour of midnight.
    """

    about: str = "break"
    kind: BreakKind | None = None
    version: int
    field: str | None = None
    ours: str | None = None
    theirs: str | None = None
    end: BreakEnd | None = None
    flaps: int | None = None
    confirmations: int = 1
    sightings: Sequence[int] = ()
    deal: int | None = None
    magic: int | None = None
    deals: Sequence[DealFact] = ()
    degraded: Mapping[int, str] = attrs.field(factory=dict)
    reticketed: Sequence[int] = ()
    withdrawn: Mapping[int, int | None] = attrs.field(factory=dict)
    undone: Sequence[int] = ()
    twin: Twin | None = None
    our_orders: frozenset[int] = frozenset()
    doubled: Mapping[int, int] = attrs.field(factory=dict)
    clock_changed: int | None = None
    digits: int = 2
    is_first_known: bool = False
    is_night: bool = False

    @property
    def is_of_position(self) -> bool:
        """Whether it is about a position, and not about money, an order or a clock."""
        return self.kind in (BreakKind.ZOMBIE, BreakKind.GHOST, BreakKind.DRIFT)

    @property
    def volume_gap(self) -> Decimal:
        """By how many lots the broker showed more than we had; 0 where either side is not known."""
        ours, theirs = lots_of(self.ours), lots_of(self.theirs)
        if self.kind is BreakKind.ZOMBIE:
            ours = Decimal(0)
        if self.kind is BreakKind.GHOST:
            theirs = Decimal(0)
        return Decimal(0) if ours is None or theirs is None else EXACT.subtract(theirs, ours)

    @property
    def causing(self) -> list[DealFact]:
        """The deals that can have made the difference: those that close what is gone, and open what came."""
        gap = self.volume_gap
        return [one for one in self.deals if not gap or (one.closes if gap < 0 else one.opens)]


@frozen(kw_only=True)
class Finding:
    """The likely cause of a case, how sure it is, what supports it, and by which rule."""

    cause: Cause
    certainty: Certainty
    because: tuple[Support, ...] = ()
    rule: str | None = None

    @property
    def words(self) -> str:
        """The cause for people: as it is where it is certain, else with how sure it is."""
        return {
            Certainty.CERTAIN: self.cause.value,
            Certainty.LIKELY: f"likely {self.cause.value}",
            Certainty.POSSIBLE: f"possibly {self.cause.value}",
            Certainty.UNKNOWN: "cause unknown",
        }[self.certainty]


NOTHING: Final = Finding(cause=Cause.UNKNOWN, certainty=Certainty.UNKNOWN)


@frozen(kw_only=True)
class Rule:
    """One way to a cause.

    Attributes:
        name: What it is known by.
        cause: What it names.
        certainty: How sure that is.
        when: The rule in one sentence; the manual quotes it.
        supports: Returns what supports it in a case; nothing where it does not apply.
    """

    name: str
    cause: Cause
    certainty: Certainty
    when: str
    supports: Callable[[Case], Iterable[Support]]


def find(case: Case) -> Finding:
    """Return the cause that the first rule names which applies to a case; unknown where none does."""
    for rule in RULES:
        because = tuple(rule.supports(case))
        if because:
            return Finding(cause=rule.cause, certainty=rule.certainty, because=because, rule=rule.name)
    return NOTHING


def lots_of(shown: str | None) -> Decimal | None:
    """Return the volume of a position as a break quotes it; None where it quotes none."""
    found = SHOWN.fullmatch(shown or "")
    return None if found is None else Decimal(found["volume"])


# ------------------------------------------------------------------------------------------------------- what supports


_Supports = Callable[[Case], Iterable[Support]]


def _seen(case: Case, what: str) -> list[Support]:
    return [Support(version, "BreakOpened", case.deal, what) for version in case.sightings or (case.version,)]


def _of_deal(deal: DealFact, what: str) -> Support:
    return Support(deal.version, deal.kind, deal.deal, what)


def _deals(is_meant: Callable[[Case, DealFact], bool], *, all_of: bool = False) -> _Supports:
    """Return what finds the deals of a position that made a difference and meet a condition."""

    def find_deals(case: Case) -> list[Support]:
        if not case.is_of_position or (case.flaps is not None and case.end is not BreakEnd.EXPLAINED):
            return []
        candidates = list(case.deals) if all_of else case.causing
        return [_of_deal(one, _origin_words(one)) for one in candidates if is_meant(case, one)]

    return find_deals


def _origin_words(deal: DealFact) -> str:
    """Return what of a deal states where it comes from."""
    reason = "reason not reported" if deal.reason is None else f"reason {_reason_name(deal.reason)}"
    rest = [f"magic {deal.magic}" if deal.magic else "", f'comment "{deal.comment}"' if deal.comment else ""]
    return ", ".join(filter(None, [reason, *rest]))


def _reason_name(reason: int) -> str:
    return _REASON_NAMES.get(reason, str(reason))


def _reason(*reasons: int) -> _Supports:
    return _deals(lambda _, deal: deal.reason in reasons)


def _comment(begin: str) -> _Supports:
    return _deals(lambda _, deal: deal.reason is None and (deal.comment or "").lower().startswith(begin))


def _is_ours(case: Case, deal: DealFact) -> bool:
    return deal.order is not None and deal.order in case.our_orders and deal.origin != Origin.ENGINE.value


def _has_other_magic(case: Case, deal: DealFact) -> bool:
    return bool(deal.magic and case.magic) and deal.magic != case.magic


def _is_partial(case: Case, deal: DealFact) -> bool:
    return case.kind is BreakKind.DRIFT and case.volume_gap < 0 and deal.closes


def _without_deals(case: Case) -> bool:
    return case.is_of_position and not case.causing and case.flaps is None


def _flapping(case: Case) -> list[Support]:
    if case.flaps is None or case.end is BreakEnd.EXPLAINED:
        return []
    return _seen(case, f"came to disagree {case.flaps} times without a deal")


def _doubled(case: Case) -> list[Support]:
    found = [one for one in case.causing if one.order in case.doubled]
    return [
        *(Support(case.doubled[one.order or 0], "OrderResolved", None, "executed more than once") for one in found),
        *(_of_deal(one, f"order {one.order}") for one in found),
    ]


def _renamed(case: Case, *, alone: bool) -> list[Support]:
    fields = (case.field or "").split(",")
    if case.kind is not BreakKind.DRIFT or "symbol" not in fields or (len(fields) == 1) is not alone:
        return []
    return _seen(case, "the same position has another symbol")


def _twin(case: Case, *, renamed: bool, priced: bool | None = None) -> list[Support]:
    shown = SHOWN.fullmatch(case.ours or case.theirs or "")
    if not _without_deals(case) or case.twin is None or shown is None or (shown["symbol"] != case.twin.symbol) is not renamed:
        return []
    if priced is not None and ((shown["price_open"] == case.twin.price) or case.is_night) is not priced:
        return []
    other = f"the same side and volume of {case.twin.symbol} as position {case.twin.position_id} in the same snapshot"
    return [*_seen(case, other)[:1], Support(case.twin.version, "BreakOpened", None, "its counterpart")]


def _vanished(case: Case) -> list[Support]:
    if not _without_deals(case) or case.end is not BreakEnd.VANISHED:
        return []
    return [*_seen(case, "agreed again by itself, and no deal was reported"), *_degradations(case)]


def _degradations(case: Case) -> list[Support]:
    return [Support(version, "SyncDegraded", None, reason) for version, reason in case.degraded.items()]


def _part_gone(case: Case) -> list[Support]:
    if not _without_deals(case) or case.kind is not BreakKind.DRIFT or case.volume_gap >= 0:
        return []
    return _seen(case, f"{-case.volume_gap} lots less, and the position is still open")


def _adopted(case: Case, *, by_program: bool) -> list[Support]:
    if (
        not _without_deals(case)
        or case.kind is not BreakKind.ZOMBIE
        or case.magic is None
        or bool(case.magic) is not by_program
    ):
        return []
    return _seen(case, f"magic number {case.magic}")


def _money_deals(case: Case, *, exact: bool) -> list[Support]:
    if case.kind is not BreakKind.BALANCE or case.flaps is not None or case.end in (None, BreakEnd.ACCEPTED):
        return []
    amounts = [one.credit if case.field == "credit" else one.money for one in case.deals]
    moved = [one for one, amount in zip(case.deals, amounts, strict=True) if amount]
    gap = _gap(case)
    total = exact_sum(amount for amount in amounts if amount)
    if exact and (gap is None or EXACT.subtract(total, gap).copy_abs() * 2 >= Decimal(1).scaleb(-case.digits)):
        return []  # figures of a gateway may have dirt in their last bits
    return [_of_deal(one, "recorded after the figures differed") for one in moved]


def _money_withdrawn(case: Case) -> list[Support]:
    if case.kind is not BreakKind.BALANCE or case.flaps is not None:
        return []
    return [Support(version, "BreakOpened", deal, "a deal that is not listed") for version, deal in case.withdrawn.items()]


def _gap(case: Case) -> Decimal | None:
    try:
        return EXACT.subtract(Decimal(case.theirs or ""), Decimal(case.ours or ""))
    except ArithmeticError:
        return None


def _of_kind(
    kind: BreakKind, what: str, *, fields: Sequence[str | None] = (), ends: Sequence[BreakEnd | None] = ()
) -> _Supports:
    """Return what applies to every break of a kind, of these fields and with these ends where any are given."""

    def is_it(case: Case) -> list[Support]:
        is_meant = case.kind is kind and (not fields or case.field in fields) and (not ends or case.end in ends)
        return _seen(case, what) if is_meant and case.flaps is None else []

    return is_it


def _clock_corrected(case: Case) -> list[Support]:
    if case.kind is not BreakKind.CLOCK or case.clock_changed is None:
        return []
    return [
        *_seen(case, "a time that cannot be"),
        Support(case.clock_changed, "Adjusted", None, "the clock rule was corrected"),
    ]


def _missing_confirmed(case: Case) -> list[Support]:
    if case.kind is not BreakKind.WITHDRAWN or case.end is not None or case.confirmations < 2 or case.flaps is not None:
        return []
    return _seen(case, f"not listed in {case.confirmations} answers")


def _history_begins(case: Case) -> list[Support]:
    if case.about != "close" or not case.is_first_known:
        return []
    return [_of_deal(one, "its position is older than all that is recorded") for one in case.deals[:1]]


def _opening_missing(case: Case) -> list[Support]:
    return [_of_deal(one, "closes what no recorded deal opens") for one in case.deals if case.about == "close"]


def _new_ticket(case: Case) -> list[Support]:
    return [Support(case.version, "PositionReticketed", None, "another ticket")] if case.about == "ticket" else []


def _is_degraded(case: Case) -> list[Support]:
    return _degradations(case) if case.about == "degraded" else []


_CERTAIN, _LIKELY, _POSSIBLE = Certainty.CERTAIN, Certainty.LIKELY, Certainty.POSSIBLE
_VOID: Final = (BreakEnd.VANISHED,)
_SETTLED: Final = (BreakEnd.CORRECTED, BreakEnd.ACCEPTED)
_EXPLAINED: Final = (BreakEnd.EXPLAINED, BreakEnd.VANISHED)


def _rule(name: str, cause: Cause, certainty: Certainty, when: str, supports: _Supports) -> Rule:
    return Rule(name=name, cause=cause, certainty=certainty, when=when, supports=supports)


#: Every rule, in the order in which they are tried.
RULES: Final[tuple[Rule, ...]] = (
    # What flaps has no cause of its own.
    _rule("flapping", Cause.FLAPPING, _CERTAIN,
          "It came to disagree too often within the policy's window, and no deal explains it.", _flapping),
    # What a deal of the position states.
    _rule("doubled", Cause.ORDER_DOUBLED, _CERTAIN,
          "A deal of it is of an order that was resolved as executed more than once.", _doubled),
    _rule("reason-so", Cause.STOP_OUT, _CERTAIN, "A deal of it has the reason SO.", _reason(Reason.SO)),
    _rule("reason-sl", Cause.STOP_LOSS, _CERTAIN, "A deal of it has the reason SL.", _reason(Reason.SL)),
    _rule("reason-tp", Cause.TAKE_PROFIT, _CERTAIN, "A deal of it has the reason TP.", _reason(Reason.TP)),
    _rule("reason-rollover", Cause.ROLLOVER, _CERTAIN, "A deal of it has the reason ROLLOVER.", _reason(Reason.ROLLOVER)),
    _rule("reason-vmargin", Cause.VARIATION_MARGIN, _CERTAIN, "A deal of it has the reason VMARGIN.", _reason(Reason.VMARGIN)),
    _rule("reason-split", Cause.SPLIT, _CERTAIN, "A deal of it has the reason SPLIT.", _reason(Reason.SPLIT)),
    _rule("engine-late", Cause.LATE_FILL, _CERTAIN,
          "The engine recorded the deal itself, after the broker had shown what it did.",
          _deals(lambda _, deal: deal.origin == Origin.ENGINE.value)),
    _rule("order-ours", Cause.MISSED_FILL, _CERTAIN,
          "The broker reported a deal of an order that is ours, and the engine had not recorded it.", _deals(_is_ours)),
    _rule("expert-other", Cause.OTHER_PROGRAM, _LIKELY,
          "The deal has the reason EXPERT and another magic number than the position.",
          _deals(lambda case, deal: deal.reason == Reason.EXPERT and _has_other_magic(case, deal))),
    _rule("expert-ours", Cause.MISSED_FILL, _LIKELY,
          "The broker reported a deal with the reason EXPERT and the position's magic number, and no engine had recorded it.",
          _deals(lambda case, deal: deal.reason == Reason.EXPERT and bool(case.magic) and deal.magic == case.magic)),
    _rule("expert", Cause.MISSED_FILL, _POSSIBLE,
          "The broker reported a deal with the reason EXPERT, and no engine had recorded it: ours or another program traded.",
          _reason(Reason.EXPERT)),
    _rule("manual-part", Cause.PARTIAL_CLOSE, _CERTAIN,
          "A deal with the reason CLIENT, MOBILE or WEB closed a part of it.",
          _deals(lambda case, deal: deal.reason in _PERSONS and _is_partial(case, deal))),
    _rule("manual-close", Cause.CLOSED_MANUALLY, _CERTAIN, "A deal with the reason CLIENT, MOBILE or WEB closed it.",
          _deals(lambda _, deal: deal.reason in _PERSONS and deal.closes)),
    _rule("manual-open", Cause.OPENED_MANUALLY, _CERTAIN,
          "A deal with the reason CLIENT, MOBILE or WEB opened it or added to it.",
          _deals(lambda _, deal: deal.reason in _PERSONS and deal.opens)),
    _rule("reason-server", Cause.BROKER, _LIKELY, "A deal of it has a reason that only the server's side uses.",
          _deals(lambda _, deal: deal.reason is not None and deal.reason > max(Reason))),
    # What a deal without a reason leaves to its comment and its shape.
    _rule("comment-so", Cause.STOP_OUT, _LIKELY,
          "A deal without a reason has a comment that begins with [so.", _comment("[so")),
    _rule("comment-sl", Cause.STOP_LOSS, _LIKELY,
          "A deal without a reason has a comment that begins with [sl.", _comment("[sl")),
    _rule("comment-tp", Cause.TAKE_PROFIT, _LIKELY,
          "A deal without a reason has a comment that begins with [tp.", _comment("[tp")),
    _rule("bare-part", Cause.PARTIAL_CLOSE, _LIKELY, "A deal without a reason closed a part of it.", _deals(_is_partial)),
    _rule("bare-magic", Cause.MISSED_FILL, _POSSIBLE, "A deal without a reason has a magic number: a program sent it.",
          _deals(lambda _, deal: bool(deal.magic))),
    _rule("bare-close", Cause.CLOSED_MANUALLY, _POSSIBLE, "A deal without a reason and without a magic number closed it.",
          _deals(lambda _, deal: deal.closes)),
    _rule("bare-open", Cause.OPENED_MANUALLY, _POSSIBLE, "A deal without a reason and without a magic number opened it.",
          _deals(lambda _, deal: deal.opens)),
    # What the broker shows of the position itself, without a deal.
    _rule("renamed", Cause.RENAMED, _CERTAIN, "The same position has another symbol, and nothing else differs.",
          lambda case: _renamed(case, alone=True)),
    _rule("renamed-more", Cause.RENAMED, _LIKELY, "The same position has another symbol, and more differs.",
          lambda case: _renamed(case, alone=False)),
    _rule("renamed-twin", Cause.RENAMED, _LIKELY,
          "Without a deal, one position is gone and another has its side and volume under another symbol in the same snapshot.",
          lambda case: _twin(case, renamed=True)),
    _rule("reopened", Cause.ROLLOVER, _LIKELY,
          "Without a deal, one position is gone and another has its symbol, side and volume in the same snapshot, at the same "
          "price or within half an hour of the server's midnight.",
          lambda case: _twin(case, renamed=False, priced=True)),
    _rule("reopened-day", Cause.ROLLOVER, _POSSIBLE,
          "Without a deal, one position is gone and another has its symbol, side and volume in the same snapshot.",
          lambda case: _twin(case, renamed=False, priced=False)),
    _rule("reticketed", Cause.RETICKETED, _LIKELY,
          "Without a deal, the position got another ticket shortly before or meanwhile.",
          lambda case: [Support(one, "PositionReticketed", None, "another ticket") for one in case.reticketed]
          if _without_deals(case) else []),
    _rule("undone", Cause.GATEWAY, _LIKELY, "Without a deal, the broker showed shortly after what we had before.",
          lambda case: [*_seen(case, "corrected"), *(Support(one, "BreakOpened", None, "taken back") for one in case.undone)]
          if _without_deals(case) and case.undone else []),
    _rule("vanished", Cause.GATEWAY, _LIKELY, "It agreed again by itself, and no deal was reported.", _vanished),
    _rule("part-gone", Cause.PARTIAL_CLOSE, _POSSIBLE, "Without a deal, the position has less volume and is still open.",
          _part_gone),
    _rule("adopted-program", Cause.MISSED_FILL, _POSSIBLE, "Without a deal, a position with a magic number came up.",
          lambda case: _adopted(case, by_program=True)),
    _rule("adopted-person", Cause.OPENED_MANUALLY, _POSSIBLE, "Without a deal, a position without a magic number came up.",
          lambda case: _adopted(case, by_program=False)),
    _rule("degraded", Cause.GATEWAY, _POSSIBLE, "Without a deal, and the gateway was degraded shortly before or meanwhile.",
          lambda case: _degradations(case) if _without_deals(case) else []),
    # Money, the clock, deals that are gone, orders, stops.
    _rule("money-exact", Cause.LATE_DEAL, _CERTAIN, "Deals recorded after the figures differed amount to the difference.",
          lambda case: _money_deals(case, exact=True)),
    _rule("money-deals", Cause.LATE_DEAL, _LIKELY, "Deals were recorded after the figures differed, and then they agreed.",
          lambda case: _money_deals(case, exact=False)),
    _rule("money-withdrawn", Cause.WITHDRAWN, _LIKELY,
          "Figures differ, and the broker does not list a recorded deal at the same time.", _money_withdrawn),
    _rule("money-vanished", Cause.GATEWAY, _LIKELY, "The figures agreed again, and no deal was reported.",
          _of_kind(BreakKind.BALANCE, "the figures agree again", ends=_VOID)),
    _rule("clock-corrected", Cause.CLOCK, _CERTAIN, "A person corrected the clock rule, and that ended it.", _clock_corrected),
    _rule("clock", Cause.CLOCK, _LIKELY, "A broker time is ahead of what the clock rule allows.",
          _of_kind(BreakKind.CLOCK, "a time that cannot be")),
    _rule("withdrawn", Cause.WITHDRAWN, _CERTAIN, "The withdrawal of the deal was recorded.",
          _of_kind(BreakKind.WITHDRAWN, "not listed", ends=_SETTLED)),
    _rule("listed-again", Cause.GATEWAY, _LIKELY, "The deal was listed again: a history was not complete for a while.",
          _of_kind(BreakKind.WITHDRAWN, "listed again", ends=_EXPLAINED)),
    _rule("not-listed", Cause.WITHDRAWN, _LIKELY, "Several answers lack the deal although they cover it.", _missing_confirmed),
    _rule("not-listed-once", Cause.WITHDRAWN, _POSSIBLE, "One answer lacks the deal although it covers it.",
          _of_kind(BreakKind.WITHDRAWN, "not listed")),
    _rule("overfill", Cause.OVERFILL, _CERTAIN, "The deals of an order are more than was asked for.",
          _of_kind(BreakKind.ORDER, "more than asked for", fields=("overfill",))),
    _rule("orphan", Cause.FOREIGN_ORDER, _CERTAIN, "The broker works on an order that is not ours.",
          _of_kind(BreakKind.ORDER, "an order that is not ours", fields=("orphan",))),
    _rule("order-late", Cause.LATE_DEAL, _LIKELY, "A deal came after its order was done.",
          _of_kind(BreakKind.ORDER, "a deal after the end", fields=("late_fill",))),
    _rule("order-again", Cause.GATEWAY, _LIKELY,
          "An order was in neither list, or filled less than its deals, and then agreed.",
          _of_kind(BreakKind.ORDER, "agrees again", fields=("missing", "underfill"), ends=_EXPLAINED)),
    _rule("stops", Cause.STOP_DROPPED, _LIKELY, "The broker does not show a stop that was asked for.",
          _of_kind(BreakKind.STOPS, "not shown")),
    # What is no break.
    _rule("gateway", Cause.GATEWAY, _CERTAIN, "The gateway gave no usable snapshot.", _is_degraded),
    _rule("ticket-night", Cause.ROLLOVER, _LIKELY,
          "A position got another ticket within half an hour of the server's midnight.",
          lambda case: _new_ticket(case) if case.is_night else []),
    _rule("ticket", Cause.RETICKETED, _CERTAIN, "A position got another ticket.", _new_ticket),
    _rule("history-begins", Cause.BEFORE_HISTORY, _LIKELY,
          "It closes what no recorded deal opens, and its position's id is below those of all recorded orders.",
          _history_begins),
    _rule("opening-missing", Cause.MISSED_FILL, _POSSIBLE, "It closes what no recorded deal opens.", _opening_missing),
)  # fmt: skip


def finding_json(found: Finding | None) -> dict[str, Any]:
    """Return a finding as its JSON fields; null where nothing was looked for."""
    if found is None:
        return {"cause": None, "certainty": None, "because": []}
    return {
        "cause": found.cause.value,
        "certainty": found.certainty.value,
        "because": [one._asdict() for one in found.because],
    }
