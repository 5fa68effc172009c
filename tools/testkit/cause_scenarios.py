"""This module is scenarios whose cause is known: a simulated terminal, a real sync, and what the ledger names as the cause.

Each scenario is made by a seed: an engine trades and records, then one thing happens that it does not record, or that the
gateway does not show as it is. What is measured is the cause that the ledger names for the incidents that come of it.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from decimal import Decimal
from typing import Any, Final

from attrs import define, field, frozen

from ledger import AccountId, FillRecorded, Ledger
from ledger.causes import Cause, Certainty
from ledger.errors import GatewayTimeout
from ledger.gateway.sandbox.faults import Fault, Faults
from ledger.gateway.sandbox.responder import SandboxResponder, TerminalReads
from ledger.gateway.sandbox.terminal import Row, Terminal
from ledger.gateway.server import Call
from ledger.incidents import BREAKS, RETICKETED, Incident
from ledger.protocol.echo import Asked
from ledger.protocol.messages import GetAccount, GetDeals, GetPositions, GetSymbols, Query
from ledger.protocol.read import read_account, read_deals, read_request, read_snapshot, read_symbols
from ledger.protocol.write import write_request
from ledger.reconciler import StateReconciler
from ledger.snapshot import RemoteAccount, RemoteHistory, RemoteSymbol, Snapshot

OUR_MAGIC: Final = 4711
OTHER_MAGIC: Final = 815
_CLIENTS: Final = (0, 1, 2)
_EXPERT, _SL, _TP, _ROLLOVER = 3, 4, 5, 7
_SYMBOLS: Final = ("EURUSD", "GBPUSD", "AUDUSD", "USDJPY", "XAUUSD", "US500", "EURGBP", "USDCAD")


class FalseReads:
    """Reads that leave positions out, or show less of them, while they are wrong: whole answers, and not true."""

    def __init__(self, terminal: Terminal) -> None:
        self._true = TerminalReads(terminal)
        self.hidden: set[int] = set()
        self.halved: set[int] = set()

    def positions(self) -> Sequence[Row]:
        """Return the open positions, as far as they are shown."""
        rows = [dict(row) for row in self._true.positions() if row["identifier"] not in self.hidden]
        for row in rows:
            if row["identifier"] in self.halved:
                row["volume"] = float((Decimal(str(round(row["volume"], 2))) / 2).quantize(Decimal("0.01")))
        return rows

    def deals(self, *, from_msc: int | None = None, to_msc: int | None = None, position: int | None = None) -> Sequence[Row]:
        """Return deals as they are."""
        return self._true.deals(from_msc=from_msc, to_msc=to_msc, position=position)

    def account(self) -> Row:
        """Return terms and money as they are."""
        return self._true.account()

    def symbols(self) -> Sequence[Row]:
        """Return the specifications as they are."""
        return self._true.symbols()


class Line:
    """A gateway over the sandbox's own answers, as bytes, without sockets."""

    reconnections = 0

    def __init__(self, responder: SandboxResponder) -> None:
        self._responder = responder
        self._asked = 0

    def positions(self) -> Snapshot:
        """Return the snapshot of this moment."""
        raw = self._ask(GetPositions())
        return read_snapshot(raw, Asked(f"r{self._asked}"))

    def account(self) -> RemoteAccount:
        """Return terms and money of the account."""
        return read_account(self._ask(GetAccount()))

    def deals(self, *, from_msc: int | None = None, to_msc: int | None = None, position: int | None = None) -> RemoteHistory:
        """Return deals."""
        return read_deals(self._ask(GetDeals(from_msc=from_msc, to_msc=to_msc, position=position)))

    def symbols(self) -> Sequence[RemoteSymbol]:
        """Return the specifications of symbols."""
        return read_symbols(self._ask(GetSymbols()))

    def close(self) -> None:
        """Do nothing: there is no connection."""

    def _ask(self, query: Query) -> bytes:
        self._asked += 1
        answers: list[bytes] = []
        self._responder.take(Call(read_request(write_request(query, req_id=f"r{self._asked}")), answers.append))
        if not answers:
            raise GatewayTimeout("the sandbox does not answer")
        return answers[0]


@define(eq=False)
class World:
    """One account: a terminal, an engine that records what it does, and a reconciler."""

    seed: int
    mode: str
    is_extended: bool
    dice: random.Random = field(init=False)
    terminal: Terminal = field(init=False)
    faults: Faults = field(init=False)
    reads: FalseReads = field(init=False)
    ledger: Ledger = field(init=False)
    reconciler: StateReconciler = field(init=False)
    about: set[int] = field(factory=set)  # positions that the scenario is about
    _now_us: int = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.dice = random.Random(f"cause {self.seed}")  # noqa: S311  # repeatable, not secret
        self.terminal = Terminal(mode=self.mode, seed=self.seed, now_msc=1_767_607_200_000 + self.dice.randrange(86_400_000))
        self.faults = Faults(seed=self.seed)
        self.reads = FalseReads(self.terminal)
        responder = SandboxResponder(
            terminal=self.terminal, reads=self.reads, is_extended=self.is_extended, clock=None, manual_trade_every_ms=0,
            faults=self.faults, restart=lambda: None,
        )  # fmt: skip
        self._now_us = self.terminal.now_msc * 1000
        self.ledger = Ledger.open("memory://", now_us=self._time)
        account = self.ledger.account(AccountId(self.terminal.server, self.terminal.login))
        account.open(currency="USD", mode=self.mode, clock="UTC")
        self.reconciler = StateReconciler(account, Line(responder), monotonic=lambda: self._now_us / 1e6, sleep=self.wait)

    def _time(self) -> int:
        self._now_us += 1
        return self._now_us

    def wait(self, seconds: float) -> None:
        """Let time pass, here and at the broker."""
        self._now_us += round(seconds * 1_000_000)
        self.terminal.advance(max(0, self._now_us // 1000 - self.terminal.now_msc))

    def sync(self, times: int = 1) -> None:
        """Sync so many times, a quarter of a minute apart."""
        for _ in range(times):
            self.wait(15)
            self.reconciler.sync_positions()

    def show_anew(self) -> None:
        """Let the next answer show what is so now."""
        self.terminal.revision += 1

    # ---- what the engine does

    def record(self, deals: Iterable[Row]) -> None:
        """Let the engine record deals."""
        for deal in deals:
            self.reconciler.account.record(FillRecorded.from_deal(deal))

    def trade(self) -> int:
        """Let the engine open a position, and record it; return its id."""
        taken = {one.symbol for one in self.terminal.open_positions()} if self.mode != "hedging" else set()
        symbol = self.dice.choice([one for one in _SYMBOLS if one not in taken])
        lots = Decimal(self.dice.randint(2, 60) * 2) / 100
        answer = self.terminal.send_order(symbol, self.dice.choice(("buy", "sell")), lots, magic=OUR_MAGIC)
        self.record(answer.deals)
        return int(answer.deals[0]["position_id"])

    def begin(self) -> int:
        """Trade for a while, all recorded and agreed; return a position for something to happen to."""
        self.terminal.cash(2, "100000")
        ids = [self.trade() for _ in range(self.dice.randint(1, 4))]
        self.sync(2)
        if self.dice.random() < 0.5 and len(ids) > 1:
            done = ids.pop(self.dice.randrange(len(ids)))
            self.record(self.close(done, magic=OUR_MAGIC, reason=_EXPERT))
            self.sync()
        return self.dice.choice(ids)

    def close(self, position_id: int, *, part: bool = False, **terms: Any) -> Sequence[Row]:
        """Close a position, or half of it; return the deals."""
        held = next(one for one in self.terminal.open_positions() if one.position_id == position_id)
        lots = held.volume / 2 if part else held.volume
        lots = (lots / Decimal("0.01")).to_integral_value() / 100
        return self.terminal.send_order(held.symbol, held.side.opposite, lots, position=position_id, **terms).deals

    def unseen(self, act: Callable[[], Sequence[Row]]) -> Sequence[Row]:
        """Let something happen whose deals the gateway reports only after some syncs, or never (base form)."""
        before = len(self.terminal.deals())
        deals = act()
        made = len(self.terminal.deals()) - before
        if self.is_extended and made:
            self.faults.late_deals = made
            self.faults.add(Fault.LATE_DEALS, -1)
        self.sync(self.dice.randint(1, 4))
        self.faults.clear()
        self.sync(3)
        return deals

    def incidents(self) -> list[Incident]:
        """Return what the ledger reports."""
        return list(self.reconciler.account.incidents())


# ------------------------------------------------------------------------------------------------------------ the scenarios


def _closed(world: World, **terms: Any) -> None:
    position = world.begin()
    world.about = {position}
    world.unseen(lambda: world.close(position, **terms))


def closed_manually(world: World) -> None:
    """A person closes a position."""
    _closed(world, reason=world.dice.choice(_CLIENTS))


def opened_manually(world: World) -> None:
    """A person opens a position."""
    world.begin()
    taken = {one.symbol for one in world.terminal.open_positions()}
    symbol = next(one for one in _SYMBOLS if one not in taken)
    deals = world.unseen(lambda: world.terminal.send_order(symbol, "buy", "0.10", reason=world.dice.choice(_CLIENTS)).deals)
    world.about = {deals[0]["position_id"]}


def partial_close(world: World) -> None:
    """A person closes half of a position."""
    _closed(world, part=True, reason=world.dice.choice(_CLIENTS))


def stop_out(world: World) -> None:
    """The broker closes a position for want of margin."""
    position = world.begin()
    world.about = {position}
    world.unseen(lambda: world.terminal.stop_out(position).deals)


def stop_loss(world: World) -> None:
    """A stop loss closes a position."""
    _closed(world, reason=_SL, magic=OUR_MAGIC, comment="[sl 1.08512]")


def take_profit(world: World) -> None:
    """A take profit closes a position."""
    _closed(world, reason=_TP, magic=OUR_MAGIC, comment="[tp 1.08512]")


def missed_fill(world: World) -> None:
    """The engine opens, or closes, and does not record it."""
    position = world.begin()
    if world.dice.random() < 0.5:
        world.about = {position}
        world.unseen(lambda: world.close(position, magic=OUR_MAGIC, reason=_EXPERT))
        return
    taken = {one.symbol for one in world.terminal.open_positions()}
    symbol = next(one for one in _SYMBOLS if one not in taken)
    deals = world.unseen(lambda: world.terminal.send_order(symbol, "sell", "0.20", magic=OUR_MAGIC).deals)
    world.about = {deals[0]["position_id"]}


def late_fill(world: World) -> None:
    """The engine closes, and records it only after the broker showed it."""
    position = world.begin()
    world.about = {position}
    deals = world.close(position, magic=OUR_MAGIC, reason=_EXPERT)
    world.faults.late_deals = len(deals)
    world.faults.add(Fault.LATE_DEALS, -1)
    world.sync(world.dice.randint(1, 3))
    world.record(deals)
    world.sync()
    world.faults.clear()
    world.sync(2)


def other_program(world: World) -> None:
    """Another program closes a position of ours."""
    _closed(world, magic=OTHER_MAGIC, reason=_EXPERT)


def rollover(world: World) -> None:
    """The broker gives a position another ticket, or closes it and opens it again under another id."""
    position = world.begin()
    world.about = {position}
    if world.dice.random() < 0.5:
        world.terminal.rollover(position)
        world.sync(3)
        return

    def reopen() -> Sequence[Row]:
        held = next(one for one in world.terminal.open_positions() if one.position_id == position)
        terms: dict[str, Any] = {"reason": _ROLLOVER, "magic": OUR_MAGIC}
        closed = world.close(position, **terms)
        opened = world.terminal.send_order(held.symbol, held.side, held.volume, **terms).deals
        return [*closed, *opened]

    world.about |= {deal["position_id"] for deal in world.unseen(reopen)}


def renamed(world: World) -> None:
    """The broker gives a symbol another name."""
    position = world.begin()
    symbol = next(one.symbol for one in world.terminal.open_positions() if one.position_id == position)
    world.about = {one.position_id for one in world.terminal.open_positions() if one.symbol == symbol}
    world.terminal.rename_symbol(symbol, f"{symbol}.r")
    world.sync(3)


def false_answers(world: World) -> None:
    """The gateway leaves a position out for a while, or shows half of it; or it gives no usable answer."""
    position = world.begin()
    world.about = {position}
    match world.dice.randrange(3):
        case 0:
            world.reads.hidden.add(position)
        case 1:
            world.reads.halved.add(position)
        case 2:
            fault = world.dice.choice((Fault.OFFLINE, Fault.ERROR, Fault.HALF, Fault.DUPLICATE, Fault.MALFORMED))
            world.faults.add(fault, -1)
    world.show_anew()
    world.sync(world.dice.randint(1, 4))
    world.reads.hidden.clear()
    world.reads.halved.clear()
    world.faults.clear()
    world.show_anew()
    world.sync(3)


def clock_ahead(world: World) -> None:
    """The server's clock is ahead for a while."""
    world.begin()
    ahead_msc = world.dice.randint(5, 600) * 60_000
    world.terminal.now_msc += ahead_msc
    world.sync(world.dice.randint(1, 3))
    world.terminal.now_msc -= ahead_msc
    world.sync(2)


def flapping(world: World) -> None:
    """The gateway shows a position in every other answer."""
    position = world.begin()
    world.about = {position}
    for _ in range(world.dice.randint(7, 10)):
        world.reads.hidden.add(position)
        world.show_anew()
        world.sync(2)
        world.reads.hidden.clear()
        world.show_anew()
        world.sync()


def late_money(world: World) -> None:
    """Money is booked whose deal is reported only after some syncs."""
    world.begin()
    world.unseen(lambda: [world.terminal.cash(2, Decimal(world.dice.randint(-900, 900) or 7))])


def withdrawn(world: World) -> None:
    """The broker deletes a booking of money."""
    world.begin()
    for _ in range(3):
        world.terminal.cash(2, "10")
        world.sync()
    deals = [row for row in world.terminal.deals() if row["type"] == 2]
    world.wait(120)
    world.terminal.withdraw(deals[-2]["ticket"])
    world.sync(5)


@frozen(kw_only=True)
class Truth:
    """What really happened, and which named causes are right about it.

    Attributes:
        name: For tables.
        act: Makes it happen.
        right: The causes that are right.
        kinds: Incidents of which kinds are looked at.
        forms: Whether the gateway speaks the extended form.
    """

    name: str
    act: Callable[[World], None]
    right: frozenset[Cause]
    kinds: tuple[str, ...] = ("zombie", "ghost", "drift")
    forms: tuple[bool, ...] = (True, False)


def _truth(name: str, act: Callable[[World], None], *right: Cause, **rest: Any) -> Truth:
    return Truth(name=name, act=act, right=frozenset(right), **rest)


TRUTHS: Final = (
    _truth("closed manually", closed_manually, Cause.CLOSED_MANUALLY),
    _truth("opened manually", opened_manually, Cause.OPENED_MANUALLY),
    _truth("partial close", partial_close, Cause.PARTIAL_CLOSE),
    _truth("stop-out", stop_out, Cause.STOP_OUT),
    _truth("stop loss", stop_loss, Cause.STOP_LOSS),
    _truth("take profit", take_profit, Cause.TAKE_PROFIT),
    _truth("missed fill", missed_fill, Cause.MISSED_FILL),
    _truth("late fill", late_fill, Cause.LATE_FILL, forms=(True,)),
    _truth("another program", other_program, Cause.OTHER_PROGRAM),
    _truth("rollover", rollover, Cause.ROLLOVER, Cause.RETICKETED, kinds=("zombie", "ghost", "drift", RETICKETED)),
    _truth("symbol renamed", renamed, Cause.RENAMED),
    _truth("gateway fault", false_answers, Cause.GATEWAY, kinds=("zombie", "ghost", "drift", "degraded")),
    _truth("clock fault", clock_ahead, Cause.CLOCK, kinds=("clock",), forms=(True,)),
    _truth("flapping", flapping, Cause.FLAPPING, Cause.GATEWAY),
    _truth("deal reported late", late_money, Cause.LATE_DEAL, kinds=("balance",), forms=(True,)),
    _truth("deal withdrawn", withdrawn, Cause.WITHDRAWN, kinds=("withdrawn",), forms=(True,)),
)


@frozen(kw_only=True)
class Named:
    """What the ledger named in one scenario: one entry for each incident that it was about."""

    truth: str
    form: str
    seed: int
    kind: str
    cause: Cause
    certainty: Certainty
    is_right: bool


def run(truth: Truth, seed: int) -> Iterator[Named]:
    """Run one scenario and yield what the ledger named."""
    dice = random.Random(f"{truth.name} {seed}")  # noqa: S311  # repeatable, not secret
    is_extended, mode = dice.choice(truth.forms), dice.choice(("hedging", "hedging", "netting"))
    world = World(seed=dice.randrange(2**31), mode=mode, is_extended=is_extended)
    with world.ledger:
        truth.act(world)
        for one in world.incidents():
            is_meant = one.kind in truth.kinds and (one.position_id is None or one.position_id in world.about)
            if is_meant and one.finding is not None and (one.kind in BREAKS or one.finding.cause is not Cause.UNKNOWN):
                yield Named(
                    truth=truth.name, form="extended" if is_extended else "base", seed=seed, kind=one.kind,
                    cause=one.finding.cause, certainty=one.finding.certainty, is_right=one.finding.cause in truth.right,
                )  # fmt: skip


def measure(scenarios: int, seed: int, truths: Iterable[Truth] = TRUTHS) -> list[Named]:
    """Run so many scenarios of each truth, and return all that was named."""
    return [named for truth in truths for number in range(scenarios) for named in run(truth, seed + number)]


#: At least so much of what was named has to be right: by certainty, unknown ones left out.
SHARES: Final = {Certainty.CERTAIN: 1.0, Certainty.LIKELY: 0.95, Certainty.POSSIBLE: 0.5}
#: And with deals that are reported, so much has to be named at all.
NAMED_SHARE: Final = 0.95


def shortfalls(found: Iterable[Named]) -> Iterator[str]:
    """Yield in words what is right, or named at all, less often than is stated."""
    rows = list(found)
    for certainty, share in SHARES.items():
        right = [one.is_right for one in rows if one.certainty is certainty]
        if right and sum(right) < share * len(right):
            yield f"{certainty.value}: {sum(right)} of {len(right)} are right, expected at least {share:.0%}"
    with_deals = [one.cause is not Cause.UNKNOWN for one in rows if one.form == "extended"]
    if sum(with_deals) < NAMED_SHARE * len(with_deals):
        yield f"a cause was named for {sum(with_deals)} of {len(with_deals)}, expected at least {NAMED_SHARE:.0%}"
