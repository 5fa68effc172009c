"""The derived tables: what a follower makes of the events, so that answers are read and not folded.

They are disposable, and nothing that is recorded depends on them: ``verify`` reads none, a backup has none. Every account has
one row in ``followers`` that states what its rows rest on: the version, the chain hash there, and the rules that they were
made by. ``ledger.derived`` makes and reads them.

Money is in the account's scaled integers (``Summary.scale`` decimals), volumes and prices are exact text as in the JSON output,
``side`` and ``entry`` are MT5's codes, what begins with ``is_`` is 0 or 1. Broker server time ends in ``_msc``, UTC in
``_utc_msc``, both in milliseconds.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, Protocol

from attrs import frozen

from ledger.values import AccountId

if TYPE_CHECKING:
    from ledger.performance.tally import BookingSum, TradeSum

#: The name of the one follower that there is, in ``followers`` and in metrics.
FOLLOWER: Final = "derived"

#: So many rows of a table are deleted in one transaction.
DELETED_AT_ONCE: Final = 50_000

#: The spans of the nodes of a balance curve, in minutes: minutes, hours, days (UTC).
SPANS: Final = (1, 60, 1440)


class FollowerRow(NamedTuple):
    """What an account's rows rest on.

    ``revision`` rises with every change, so that of two followers at once one finds out. ``is_whole`` is 0 while only the first
    rows of ``version`` are there. ``bookings`` and ``trades`` are how many rows there are, unfinished trades not counted.
    ``state`` is what the follower goes on from behind ``version``; None where that is rather replayed.
    """

    follower: str
    revision: int
    version: int
    hash: bytes
    code: str
    is_whole: int
    bookings: int
    trades: int
    state: bytes | None
    at_us: int


class Summary(NamedTuple):
    """What an overview shows of an account.

    ``breaks`` are the open ones as JSON: every field of ``views.Break``, with ``opened_utc_msc``. ``halts`` is JSON:
    ``[scope, name, mode]``; ``orders``, of those that are open, ``{client_id, kind, symbol, state, valid_until_utc_msc}``: one
    that is ``intended`` is unknown from the end of its validity on. ``last_event_utc_msc`` is when the newest event happened,
    ``recorded_us`` when the last one was recorded (UTC).
    """

    version: int
    hash: bytes
    currency: str
    digits: int
    scale: int
    mode: str
    clock: str
    balance: int
    credit: int
    positions: int
    unexplained: int
    incomplete: int
    breaks_open: int
    breaks_oldest_utc_msc: int | None
    breaks: str
    degraded_utc_msc: int | None
    degraded_reason: str | None
    halts: str
    orders: str
    last_event_utc_msc: int | None
    recorded_us: int


class PositionRow(NamedTuple):
    """An open position."""

    position_id: int
    ticket: int
    symbol: str
    side: int
    volume: str
    price_open: str
    opened_msc: int
    opened_utc_msc: int
    basis: str
    magic: int | None
    comment: str | None
    is_id_known: int


class TradeRow(NamedTuple):
    """A trade: all that ``trade_json`` shows. In the order of closing (``number``), the unfinished ones behind.

    ``magic`` is signed, as stored.
    """

    is_unfinished: int
    number: int
    position_id: int | None
    ticket: int | None
    symbol: str
    side: int
    volume: str
    opened_msc: int | None
    opened_utc_msc: int | None
    price_open: str | None
    closed_msc: int
    closed_utc_msc: int
    price_close: str | None
    commission: int
    fee: int
    swap: int
    profit: int
    is_complete: int
    basis: str
    magic: int | None


class BookingRow(NamedTuple):
    """A booking (``ledger.bookings``), in the fold order (``number``), with balance and credit after it.

    ``at_utc_msc`` is where the balance curve has it: it never falls, also where the server's clock went back. ``deal`` is None
    for what is no deal, ``magic`` signed, as stored.
    """

    number: int
    at_utc_msc: int
    time_msc: int
    deal: int | None
    version: int
    kind: str
    side: int | None
    entry: int | None
    position_id: int | None
    symbol: str | None
    magic: int | None
    commission: int
    fee: int
    swap: int
    profit: int
    amount: int
    credited: int
    is_complete: int
    balance: int
    credit: int


class CurveNode(NamedTuple):
    """The balance in one minute, hour or day: ``begin_min`` are minutes since 1970 in UTC, ``bookings`` how many there were.

    ``open`` is the balance before the first of them, so that low and high are those of the whole span.
    """

    span_min: int
    begin_min: int
    open: int
    low: int
    high: int
    close: int
    bookings: int


#: What sums can be by: the day of the trade server's clock as days since 1970, or what a deal or a trade is of.
SumBy = Literal["day", "symbol", "magic", "side"]

#: Table -> what its rows are, without the account.
TABLES: Final[Mapping[str, type[tuple[Any, ...]]]] = {
    "followers": FollowerRow,
    "summaries": Summary,
    "open_positions": PositionRow,
    "closed_trades": TradeRow,
    "bookings": BookingRow,
    "balance_curve": CurveNode,
}
#: Table -> the columns that name a row, behind the account.
KEYS: Final[Mapping[str, tuple[str, ...]]] = {
    "followers": ("follower",),
    "summaries": (),
    "open_positions": ("position_id",),
    "closed_trades": ("is_unfinished", "number"),
    "bookings": ("number",),
    "balance_curve": ("span_min", "begin_min"),
}


@frozen(kw_only=True)
class Update:
    """What a follower changes of an account's rows, in one transaction.

    Attributes:
        expected: The revision that they are made behind, None where there were no rows.
        row: What they rest on afterwards.
        keep_bookings: The first so many bookings stay;
        keep_trades: of finished trades, the first so many.
        nodes_from: Span -> the first node of the curve that does not stay.
        bookings: New ones, behind those that stay: the columns of ``BookingRow``.
        trades: New ones, and all unfinished ones.
        nodes: New ones.
        positions: All open ones, where these are known; None leaves the table as it is.
        summary: None leaves no summary.
    """

    expected: int | None
    row: FollowerRow
    keep_bookings: int
    keep_trades: int
    nodes_from: Mapping[int, int]
    bookings: Sequence[tuple[Any, ...]] = ()
    trades: Sequence[TradeRow] = ()
    nodes: Sequence[CurveNode] = ()
    positions: Sequence[PositionRow] | None = None
    summary: Summary | None = None


class DerivedStore(Protocol):
    """The derived tables of a journal. What is read of one account is of one moment only within one call."""

    def followers(self) -> dict[AccountId, FollowerRow]:
        """Return account -> what its rows rest on, without ``state``, of all accounts that have any."""
        ...

    def follower(self, account: AccountId) -> FollowerRow | None:
        """Return what an account's rows rest on, None where there are none."""
        ...

    def require_writable(self) -> None:
        """Raise what an update would raise where nothing may be written.

        Raises:
            JournalError: The role or the file allows no change.
        """
        ...

    def update(self, account: AccountId, update: Update) -> bool:
        """Change an account's rows, all or nothing, if nobody else did since ``expected``.

        Returns:
            Whether it was done; False where somebody else was faster.

        Raises:
            JournalError: It was not stored.
        """
        ...

    def drop(self, account: AccountId) -> bool:
        """Delete all rows of an account, and the checkpoints that were made for them; return whether there were any."""
        ...

    def summaries(self) -> dict[AccountId, Summary]:
        """Return account -> summary, of all accounts that have one, ordered by server and login."""
        ...

    def summary(self, account: AccountId) -> Summary | None:
        """Return the summary of an account, None where there is none."""
        ...

    def open_positions(self, account: AccountId) -> list[PositionRow]:
        """Return the open positions of an account, position id ascending."""
        ...

    def closed_trades(
        self, account: AccountId, *, from_msc: int | None = None, until_msc: int | None = None, after: int = 0
    ) -> Iterator[TradeRow]:
        """Yield trades in the order of closing, then the unfinished ones.

        Args:
            account: Whose.
            from_msc: Only those that were closed then or later, in broker server time.
            until_msc: Only those that were closed before.
            after: Only finished ones with a higher number.
        """
        ...

    def has_trades(self, account: AccountId, symbols: Sequence[str]) -> bool:
        """Return whether there are trades of one of some symbols."""
        ...

    def bookings(
        self, account: AccountId, *, from_msc: int | None = None, until_msc: int | None = None, after: int = 0
    ) -> Iterator[BookingRow]:
        """Yield bookings in the fold order.

        Args:
            account: Whose.
            from_msc: Only those of then or later, in broker server time.
            until_msc: Only those of before.
            after: Only those with a higher number.
        """
        ...

    def curve_nodes(self, account: AccountId, span_min: int, from_min: int, until_min: int) -> list[CurveNode]:
        """Return the nodes of one span that begin in a period, the end exclusive, ascending."""
        ...

    def curve_bookings(
        self, account: AccountId, from_utc_msc: int, until_utc_msc: int, at_most: int
    ) -> list[tuple[int, int]] | None:
        """Return (``at_utc_msc``, balance after it) of the bookings of a period, the end exclusive, in the fold order.

        None if there are more than ``at_most``.
        """
        ...

    def balance_before(self, account: AccountId, utc_msc: int) -> int:
        """Return the balance before the first booking of a moment or later, by ``at_utc_msc``; 0 before the first of all."""
        ...

    def moved(self, account: AccountId, *, from_msc: int | None = None, until_msc: int | None = None) -> tuple[int, int, int]:
        """Return what the bookings of a period moved of balance and credit, and how many deals of trades are incomplete.

        Arguments: broker server time, end exclusive.
        """
        ...

    def booking_sums(self, account: AccountId, by: SumBy) -> list[BookingSum]:
        """Return the sums over all bookings, by key and kind. The side is that of the position that a deal opens or closes."""
        ...

    def trade_sums(self, account: AccountId, by: SumBy) -> list[TradeSum]:
        """Return the sums over all trades, by key. A trade that is not known in full counts as incomplete only."""
        ...
