"""Laws of exposure while it is not known what was executed: by brute force, whatever is true of the open orders.

The truth is simulated by a model of its own: each open order was executed whole, by half or not at all, the request after it.
"""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from itertools import product
from typing import Any

from attrs import evolve, frozen
from hypothesis import event, example, given
from hypothesis import strategies as st

from ledger.orders.limits import Allowed, Limits, Market, check
from ledger.orders.request import OrderRequest
from tests.support.orders import answered, fold_events, held, intended
from tools.testkit.facts import START_MSC, fill

NOW_MSC = START_MSC + 60_000
MARKET = Market(now_utc_msc=NOW_MSC, verified_age_ms=0, positions_age_ms=0)
SYMBOLS = ("EURUSD", "XAUUSD")
PARTS = (Decimal(0), Decimal("0.5"), Decimal(1))
Truth = dict[int, tuple[str, Decimal]]  # position -> symbol and signed lots


@frozen(kw_only=True)
class Open:
    """An order that may be executed, or a request: what it asks for."""

    kind: str
    symbol: str
    side: str = "buy"
    volume: Decimal | None = Decimal(1)
    state: str = "intended"
    position_id: int | None = None
    by_position_id: int | None = None

    @property
    def fields(self) -> dict[str, Any]:
        if self.kind in ("close", "close_by"):
            return {"position_id": self.position_id, "by_position_id": self.by_position_id, "volume": self.volume}
        pending = {"type": "limit", "price": 1} if self.kind == "pending" else {}
        return {"symbol": self.symbol, "side": self.side, "volume": self.volume} | pending

    def events(self, number: int) -> Iterator[Any]:
        client_id, ticket = f"c{number}", 900 + number
        late = NOW_MSC - 1 if self.state == "late" else None
        yield intended(client_id, self.kind, until_utc_msc=late, **self.fields)
        if self.state == "unknown":
            yield answered(client_id, "unknown")
        if self.state == "working":
            yield answered(client_id, "accepted", ticket)


@frozen(kw_only=True)
class Account:
    """An account: signed lots of each position, and orders that are open."""

    mode: str
    positions: tuple[tuple[str, Decimal], ...]
    orders: tuple[Open, ...]
    request: Open

    def events(self) -> Iterator[Any]:
        for number, (symbol, volume) in enumerate(self.positions, 1):
            yield held(number, "buy" if volume > 0 else "sell", str(abs(volume)), symbol)
        for number, order in enumerate(self.orders, 1):
            yield from order.events(number)

    @property
    def truth(self) -> Truth:
        return dict(enumerate(self.positions, 1))

    def execute(self, truth: Truth, order: Open, part: Decimal, ticket: int) -> Truth:
        """Return what the broker has after a part of an order: it never closes more than there is of a position."""
        after = dict(truth)
        volumes = {one: abs(truth[one][1]) for one in (order.position_id, order.by_position_id) if one in truth}
        if order.kind == "close_by":
            is_pair = len({truth[one][1] > 0 for one in volumes}) == len({truth[one][0] for one in volumes}) + 1 == 2
            lots = min(volumes.values()) * part if is_pair else Decimal(0)
        elif order.volume is None:
            lots = volumes.get(order.position_id or 0, Decimal(0)) * part
        else:
            lots = order.volume * part
        sign = 1 if order.side == "buy" else -1
        if self.mode == "netting":
            if order.kind == "close":
                sign = -1 if self.truth[order.position_id or 0][1] > 0 else 1
            key = next((one for one, (symbol, _) in after.items() if symbol == order.symbol), ticket)
            after[key] = order.symbol, after.get(key, (order.symbol, Decimal(0)))[1] + sign * lots
        elif order.kind in ("close", "close_by"):
            for one, volume in volumes.items():
                left = max(Decimal(0), volume - lots)
                after[one] = after[one][0], left.copy_sign(after[one][1])
        else:
            after[ticket] = order.symbol, sign * lots
        return after

    def truths(self) -> Iterator[Truth]:
        """Yield everything that may be true of the account."""
        for parts in product(PARTS, repeat=len(self.orders)):
            truth = self.truth
            for number, (order, part) in enumerate(zip(self.orders, parts, strict=True), 1):
                truth = self.execute(truth, order, part, 900 + number)
            yield truth


def lots() -> st.SearchStrategy[Decimal]:
    return st.sampled_from([Decimal(one) for one in ("0.5", "1", "1.5", "2", "3")])


@st.composite
def requests(draw: st.DrawFn, mode: str, positions: tuple[tuple[str, Decimal], ...], *, is_open: bool) -> Open:
    kinds = ["market", "pending"] + ["close"] * bool(positions) + ["close_by"] * (mode == "hedging" and len(positions) > 1)
    kind = draw(st.sampled_from(kinds))
    state = draw(st.sampled_from(["intended", "unknown", "late", "late here", "working"])) if is_open else "intended"
    if kind in ("close", "close_by"):
        one = draw(st.integers(1, len(positions)))
        by = draw(st.integers(1, len(positions)).filter(lambda other: other != one)) if kind == "close_by" else None
        volume = None if kind == "close_by" else draw(st.none() | lots())
        return Open(kind=kind, symbol=positions[one - 1][0], volume=volume, state=state, position_id=one, by_position_id=by)
    return Open(
        kind=kind, symbol=draw(st.sampled_from(SYMBOLS)), side=draw(st.sampled_from(["buy", "sell"])), volume=draw(lots()),
        state=state,
    )  # fmt: skip


@st.composite
def accounts(draw: st.DrawFn) -> Account:
    mode = draw(st.sampled_from(["netting", "hedging"]))
    signed = st.tuples(st.sampled_from(SYMBOLS), lots(), st.sampled_from([1, -1])).map(lambda one: (one[0], one[1] * one[2]))
    unique_by = (lambda one: one[0]) if mode == "netting" else None
    positions = tuple(draw(st.lists(signed, max_size=3, unique_by=unique_by)))
    orders = tuple(draw(st.lists(requests(mode, positions, is_open=True), max_size=3)))
    return Account(mode=mode, positions=positions, orders=orders, request=draw(requests(mode, positions, is_open=False)))


def ask(account: Account, limits: Limits) -> bool | None:
    """Return whether the request can only reduce; None where it is denied."""
    portfolio, orders = fold_events(account.events(), account.mode)
    one = account.request
    wanted = {
        "market": lambda: OrderRequest.market(one.symbol, one.side, one.volume),  # type: ignore[arg-type]
        "pending": lambda: OrderRequest.pending(one.symbol, one.side, one.volume, type="limit", price=1),  # type: ignore[arg-type]
        "close": lambda: OrderRequest.close(one.position_id, one.volume),  # type: ignore[arg-type]
        "close_by": lambda: OrderRequest.close_by(one.position_id, one.by_position_id),  # type: ignore[arg-type]
    }[one.kind]()
    late = frozenset(f"c{number}" for number, order in enumerate(account.orders, 1) if order.state == "late here")
    found = check(limits, portfolio, orders, evolve(MARKET, late=late), wanted)
    return found.is_reducing if isinstance(found, Allowed) else None


def size(account: Account, truth: Truth, symbol: str | None = None) -> Decimal:
    """Return the volume held: net of each symbol where the account nets, else that of all positions."""
    volumes = [(name, volume) for name, volume in truth.values() if symbol in (None, name)]
    if account.mode == "hedging":
        return sum((abs(volume) for _, volume in volumes), Decimal(0))
    names = {name for name, _ in volumes}
    return sum((abs(sum((lots for one, lots in volumes if one == name), Decimal(0))) for name in names), Decimal(0))


HALF = Decimal("0.5")
EURUSD, SHORT = ("EURUSD", Decimal(1)), ("EURUSD", Decimal(-1))
LONG_AND_UNKNOWN_SELL = Account(  # it could reverse
    mode="netting", positions=(EURUSD,),
    orders=(Open(kind="market", symbol="EURUSD", side="sell", state="unknown"),),
    request=Open(kind="market", symbol="EURUSD", side="sell"),
)  # fmt: skip
SELL_UNDER_WAY = Account(  # too much at the other end
    mode="netting", positions=(),
    orders=(Open(kind="market", symbol="EURUSD", side="sell", volume=Decimal(3)),),
    request=Open(kind="market", symbol="EURUSD", volume=HALF),
)  # fmt: skip
CLOSED_BY_ANOTHER = Account(
    mode="hedging", positions=(EURUSD, SHORT),
    orders=(Open(kind="close_by", symbol="EURUSD", volume=None, position_id=1, by_position_id=2),),
    request=Open(kind="close", symbol="EURUSD", volume=HALF, position_id=1),
)  # fmt: skip
CLOSED_ALREADY = Account(  # answered without a volume
    mode="hedging", positions=(EURUSD,),
    orders=(Open(kind="close", symbol="EURUSD", volume=None, state="working", position_id=1),),
    request=Open(kind="close", symbol="EURUSD", volume=HALF, position_id=1),
)  # fmt: skip
TWO_LONGS = Account(
    mode="hedging", positions=(EURUSD, EURUSD), orders=(),
    request=Open(kind="close_by", symbol="EURUSD", volume=None, position_id=1, by_position_id=2),
)  # fmt: skip


@given(accounts())
@example(LONG_AND_UNKNOWN_SELL)
@example(CLOSED_BY_ANOTHER)
@example(CLOSED_ALREADY)
@example(TWO_LONGS)
def test_what_can_only_reduce_does_so_whatever_is_true(account):
    request, reduces = account.request, ask(account, Limits())
    event(f"{account.mode}: {request.kind}, reducing: {reduces}")
    if not reduces:
        return
    for truth in account.truths():
        for part in PARTS[1:]:
            after = account.execute(truth, request, part, 999)
            if account.mode == "netting":
                before, now = (sum(lots for name, lots in one.values() if name == request.symbol) for one in (truth, after))
                assert abs(now) < abs(before)
                assert now * before >= 0
            else:
                wanted = request.volume or abs(account.positions[(request.position_id or 1) - 1][1])
                if request.kind == "close":
                    assert wanted <= abs(truth[request.position_id or 0][1])
                assert size(account, after) < size(account, truth)


@given(accounts(), lots(), lots())
@example(SELL_UNDER_WAY, Decimal(2), Decimal(2))
def test_an_allowed_request_breaks_no_limit_of_volume_whatever_is_true(account, per_symbol, total):
    limits = Limits(volume_per_symbol_max=per_symbol, volume_total_max=total)
    reduces = ask(account, limits)
    event(f"{account.mode}: {account.request.kind}, reducing: {reduces}")
    if reduces is not False:
        return
    for truth in account.truths():
        for part in PARTS:
            after = account.execute(truth, account.request, part, 999)
            assert size(account, after) <= total
            assert size(account, after, account.request.symbol) <= per_symbol


@given(accounts())
def test_new_risk_waits_for_what_is_unknown_of_its_symbol(account):
    unknown = [one for one in account.orders if one.state in ("unknown", "late", "late here")]
    is_unknown = any(one.symbol == account.request.symbol for one in unknown)
    if ask(account, Limits()) is False:
        assert not is_unknown


@given(st.sampled_from(["netting", "hedging"]), st.sampled_from(PARTS[1:]))
def test_what_was_filled_already_is_not_counted_again(mode, part):
    """A market order of which a part is filled may still do the rest: the volume held and the rest are what it asked for."""
    asked = Decimal(2)
    events: list[Any] = [intended("m", symbol="EURUSD", side="buy", volume=asked), answered("m", "accepted", 950)]
    deal = fill(950, order=950, position_id=950, volume=asked * part)
    portfolio, orders = fold_events([*events, deal], mode)
    request = OrderRequest.market("EURUSD", "buy", 1)
    for most, expected in ((Decimal(3), True), (Decimal("2.9"), False)):
        found = check(Limits(volume_per_symbol_max=most), portfolio, orders, MARKET, request)
        assert isinstance(found, Allowed) is expected


@given(accounts(), lots())
def test_the_volumes_of_symbols_are_those_of_their_positions(account, more):
    portfolio, _ = fold_events(account.events(), account.mode)
    for _ in range(2):  # before and after something was folded behind what was shown
        shown: dict[str, list[Decimal]] = {}
        for position in portfolio.positions.values():
            shown.setdefault(position.symbol, [Decimal(0), Decimal(0)])[position.side.code] += position.volume
        assert {name: list(volumes) for name, volumes in portfolio.volumes.items()} == shown
        assert portfolio.positions_count == len(portfolio.positions)
        assert all(portfolio.position(key) == position for key, position in portfolio.positions.items())
        assert portfolio.position(990) is None
        deal = fill(991, symbol="GBPUSD", volume=more, position_id=991)
        if portfolio.position(991) is None:
            portfolio.note_version(1)
            portfolio.apply(deal, 2)
