"""A broker on paper: a gateway in memory that shows and reports what a story states, and a desk that reconciles with it.

What the broker shows is a list of positions, in the words of ``tools.testkit.stories``::

    #7 long 1 @ 10, #8 short 0.5 USDJPY @ 150          by ticket (base form) or by identifier (extended form)
    #7 long 1 @ 10 ticket 99 magic 5                   an identifier under another ticket, of a robot
    #7 long 1 @ ? opened 3 updated 4.5                 open price unknown; seconds of the story

``?`` means the open price 0, which means that the broker does not know it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from decimal import Decimal
from typing import Any, Final

import attrs

from ledger import Account, AccountId, CashMoved, FillRecorded, GatewayIdentified, Ledger, MarginMode, Origin, Recorded, Side
from ledger.errors import GatewayError, GatewayRefused
from ledger.events import Deal
from ledger.gateway import Gateway
from ledger.reconcile.policy import ReconcilePolicy
from ledger.reconciler import StateReconciler, SyncResult
from ledger.snapshot import RemoteAccount, RemoteHistory, RemotePosition, RemoteSymbol, Snapshot
from ledger.values import plain
from tools.testkit.stories import RECORDED_US, START_MSC, SYMBOL, Story, at

ACCOUNT: Final = AccountId("Broker-Live", 70113)
SECOND_US: Final = 1_000_000

_SIDES: Final = {"long": Side.BUY, "short": Side.SELL}
_MONEY: Final = ("commission", "fee", "swap", "profit")


class Watch:
    """Our own clock: it moves when a test moves it, and by a microsecond when it is looked at."""

    def __init__(self, now_us: int = RECORDED_US) -> None:
        self.now_us = now_us
        self.is_stopped = False
        self.waited: list[float] = []

    def __call__(self) -> int:
        self.now_us += 1
        return self.now_us

    def move(self, seconds: float) -> None:
        if not self.is_stopped:
            self.now_us += round(seconds * SECOND_US)

    def stop(self) -> None:
        """Stop from now on, but for the microseconds."""
        self.is_stopped = True

    def sleep(self, seconds: float) -> None:
        """Replace a sleep: the time passes at once, and it is noted."""
        self.waited.append(seconds)
        self.move(seconds)

    def monotonic(self) -> float:
        return self.now_us / SECOND_US


# ------------------------------------------------------------------------------------------------ what a broker can show


def rows(story: str, *, extended: bool = True) -> tuple[RemotePosition, ...]:
    """Return positions as a gateway shows them, the base form by ticket."""
    return tuple(_row(step.split(), extended=extended) for step in story.split(",") if step.strip())


def _row(words: list[str], *, extended: bool) -> RemotePosition:
    position_id, side, volume = int(words[0].removeprefix("#")), _SIDES[words[1]], Decimal(words[2])
    symbol = SYMBOL if words[3] == "@" else words[3]
    price, *rest = words[words.index("@") + 1 :]
    further = dict(zip(rest[::2], rest[1::2], strict=True))
    return RemotePosition(
        position_id=position_id,
        ticket=int(further.pop("ticket", position_id)),
        symbol=symbol,
        side=side,
        volume=volume,
        price_open=None if price == "?" else Decimal(price),
        is_identified=extended,
        opened_msc=at(further["opened"]) if "opened" in further else None,
        updated_msc=at(further["updated"]) if "updated" in further else None,
        magic=int(further["magic"]) if "magic" in further else None,
        comment=further.get("comment"),
    )


def snapshot(story: str = "", *, extended: bool = False, raw: bytes | None = None, **fields: Any) -> Snapshot:
    """Return a snapshot; nothing is stated in it but its positions, unless the test sets more."""
    positions = rows(story, extended=extended)
    return Snapshot(positions=positions, raw=raw or raw_answer(positions), is_extended=extended, **fields)


def raw_answer(positions: Iterable[RemotePosition], **fields: Any) -> bytes:
    """Return an answer as it would come over the wire, enough to distinguish two answers."""
    shown = [[one.ticket, one.symbol, one.side.value, plain(one.volume), str(one.price_open)] for one in positions]
    return json.dumps({"status": "SUCCESS", "positions": shown, **fields}).encode()


class ScriptedGateway:
    """A gateway whose broker does what the test defines; ``calls`` lists what it was asked.

    Args:
        shows: The positions that the broker has.
        extended: Speak the extended form: identifiers, account, server clock, and the further actions.
        name: Whose positions they are.
        mode: How the account books.
        now_us: Our own clock. The server's clock is ``ahead_msc`` ahead of it.
    """

    def __init__(
        self, shows: str = "", *, extended: bool = False, name: AccountId = ACCOUNT, mode: str = "hedging",
        now_us: Callable[[], int], ahead_msc: int = 0,
    ) -> None:  # fmt: skip
        self.extended = extended
        self.name = name
        self.mode = MarginMode(mode)
        self.ahead_msc = ahead_msc
        self.calls: list[str] = []
        self.asked: list[dict[str, int | None]] = []
        self.reconnections = 0
        self.specs: tuple[RemoteSymbol, ...] = ()
        self.money: tuple[Decimal, Decimal] | None = None
        self.orders_limit: int | None = None
        self.offers_deals = True
        self._now_us = now_us
        self._deals: dict[int, Deal] = {}
        self._shown: tuple[RemotePosition, ...] = ()
        self._amiss: dict[str, Any] = {}
        self._errors: list[tuple[str, GatewayError, int]] = []
        self._meanwhile: list[tuple[str, Callable[[], object]]] = []
        self.show(shows)

    # ---- what the test defines

    def show(self, story: str) -> ScriptedGateway:
        """Have these positions from now on."""
        return self.show_rows(rows(story, extended=self.extended))

    def show_rows(self, positions: Iterable[RemotePosition]) -> ScriptedGateway:
        """Have these positions from now on."""
        self._shown = tuple(positions)
        return self

    def report(self, *deals: Deal) -> ScriptedGateway:
        """Have these deals among those that are reported when asked; the same ticket again is reported with the new content."""
        self._deals |= {deal.deal: attrs.evolve(deal, origin=Origin.RECOVERY) for deal in deals}
        return self

    def state(self, balance: object, credit: object = 0) -> ScriptedGateway:
        """State this money from now on."""
        self.money = (Decimal(str(balance)), Decimal(str(credit)))
        return self

    def fail(self, error: GatewayError, *, on: str = "positions", times: int = 1_000_000) -> ScriptedGateway:
        """Raise an error instead of the next answers."""
        self._errors.append((on, error, times))
        return self

    def recover(self) -> ScriptedGateway:
        """Answer in good order again."""
        self._errors.clear()
        self._amiss.clear()
        return self

    def amiss(self, **fields: Any) -> ScriptedGateway:
        """Report other values than there are in these fields of a snapshot."""
        self._amiss = fields
        return self

    def meanwhile(self, action: Callable[[], object], *, on: str = "positions") -> ScriptedGateway:
        """Let something happen once, after the answer to the next call was made and before it arrives."""
        self._meanwhile.append((on, action))
        return self

    @property
    def server_msc(self) -> int:
        """The present on the broker's server clock."""
        return self._now_us() // 1000 + self.ahead_msc

    # ---- a gateway

    def positions(self) -> Snapshot:
        self._called("positions")
        fields: dict[str, Any] = {}
        if self.extended:
            fields = {
                "server_time_msc": self.server_msc, "count": len(self._shown), "login": self.name.login,
                "server": self.name.server, "mode": self.mode, "connected": True,
            }  # fmt: skip
        fields |= self._amiss
        request = {"req_id": len(self.calls)} if self.extended else {}
        shown = Snapshot(
            positions=self._shown, raw=raw_answer(self._shown, **request), is_extended=self.extended, **fields
        )  # fmt: skip
        self._happen("positions")
        return shown

    def account(self) -> RemoteAccount:
        self._called("account")
        if self.money is None:
            raise GatewayRefused("GET_ACCOUNT", code="UNKNOWN_ACTION")
        balance, credit = self.money
        answer = RemoteAccount(
            login=self.name.login, server=self.name.server, currency="USD", mode=self.mode, balance=balance, credit=credit,
            orders_limit=self.orders_limit,
        )  # fmt: skip
        self._happen("account")
        return answer

    def deals(self, *, from_msc: int | None = None, to_msc: int | None = None, position: int | None = None) -> RemoteHistory:
        self.asked.append({"from_msc": from_msc, "to_msc": to_msc, "position": position})
        self._called("deals")
        if not self.offers_deals:
            raise GatewayRefused("GET_DEALS", code="UNKNOWN_ACTION")
        found = [
            deal
            for deal in self._deals.values()
            if (deal.position_id == position if position else (from_msc or 0) <= deal.time_msc <= (to_msc or deal.time_msc))
        ]
        answer = RemoteHistory(deals=tuple(found), login=self.name.login, server=self.name.server)
        self._happen("deals")
        return answer

    def symbols(self) -> tuple[RemoteSymbol, ...]:
        self._called("symbols")
        return self.specs

    def close(self) -> None:
        self.calls.append("close")

    def _called(self, action: str) -> None:
        self.calls.append(action)
        for number, (on, error, times) in enumerate(self._errors):
            if on == action:
                self._errors[number] = (on, error, times - 1)
                if times <= 1:
                    del self._errors[number]
                raise error

    def _happen(self, action: str) -> None:
        for one in [one for one in self._meanwhile if one[0] == action][:1]:
            self._meanwhile.remove(one)
            one[1]()


# -------------------------------------------------------------------------------------------------------------- a desk


class Desk:
    """A ledger that recorded a story, a broker that shows another, and the reconciler between them.

    What the engine recorded has settled before the first sync: a minute has passed. Every sync is fifteen seconds after the
    one before it.

    Args:
        recorded: The story that the ledger recorded.
        shows: What the broker shows.
        mode: How the account books.
        extended: Whether the broker speaks the extended form.
        identified: Whether an answer of that form was seen before, so that the first sync need not note it.
        journal: URL of the journal; a new one in memory without.
        policy: Settings of the policy.
    """

    def __init__(
        self, recorded: str = "", shows: str = "", *, mode: str = "hedging", extended: bool = False, identified: bool = True,
        clock: str = "UTC", journal: str = "memory://", **policy: Any,
    ) -> None:  # fmt: skip
        self.watch = Watch()
        self.story = Story(mode, now_us=self.watch, clock=clock)
        if journal != "memory://":
            self.story.account = Ledger.create(journal, now_us=self.watch).account(ACCOUNT)
            self.story.account.open(currency="USD", mode=mode, clock=clock, time_msc=START_MSC)
        if extended and identified:
            self.account.record(
                GatewayIdentified(login=ACCOUNT.login, server=ACCOUNT.server, form="extended", time_msc=START_MSC)
            )
        if recorded:
            self.story.record(recorded)
        self.watch.move(60)
        self.policy = ReconcilePolicy(**policy)
        self.broker = ScriptedGateway(shows, extended=extended, mode=mode, now_us=self.watch)
        self.heard: list[Recorded] = []
        self.reconciler = self.restarted()

    def restarted(self) -> StateReconciler:
        """Return the reconciler of a new process on the same journal."""
        self.reconciler = reconciler(self.account, self.broker, self.watch, self.policy, on_event=self.heard.append)
        return self.reconciler

    @property
    def account(self) -> Account:
        return self.story.account

    @property
    def left(self) -> str:
        """What the ledger shows now, in the words of the stories."""
        return self.story.left

    @property
    def log(self) -> list[Recorded]:
        """Everything that the journal holds."""
        return list(self.account.events())

    @property
    def breaks(self) -> list[tuple[str, int | None, int, int]]:
        """Open breaks: kind, position id, confirmations, attempts."""
        return [(one.kind.value, one.position_id, one.confirmations, one.attempts) for one in self.account.portfolio.breaks]

    def sync(self, times: int = 1) -> SyncResult:
        """Sync so many times, and return what the last one did."""
        result: SyncResult | None = None
        for _ in range(times):
            self.watch.move(15)
            result = self.reconciler.sync_positions()
        assert result is not None
        return result

    def startup(self) -> SyncResult:
        return self.reconciler.startup_recovery()

    def now(self, seconds: float = 0) -> int:
        """Return the broker time that is now, or that is some seconds from now."""
        return self.watch.now_us // 1000 + self.broker.ahead_msc + round(seconds * 1000)

    def fill(self, deal: int, position_id: int = 7, **fields: Any) -> FillRecorded:
        """Return a fill that happens a moment from now: one lot bought at 10, all money known and 0, unless given otherwise."""
        self.watch.move(0.001)
        known: dict[str, Any] = {
            "symbol": SYMBOL, "side": "buy", "entry": "in", "volume": 1, "price": 10, "time_msc": self.now(),
            **dict.fromkeys(_MONEY, 0),
        }  # fmt: skip
        return FillRecorded(deal=deal, position_id=position_id, **(known | fields))

    def cash(self, deal: int, amount: Any, **fields: Any) -> CashMoved:
        """Return a deposit that happens a moment from now."""
        self.watch.move(0.001)
        return CashMoved(deal=deal, **({"type": 2, "profit": amount, "time_msc": self.now()} | fields))


def reconciler(
    account: Account, gateway: Gateway, watch: Watch, policy: ReconcilePolicy | None = None, **terms: Any
) -> StateReconciler:
    """Return a reconciler whose clock is a watch and that never really waits."""
    return StateReconciler(
        account, gateway, policy=policy or ReconcilePolicy(), monotonic=watch.monotonic, sleep=watch.sleep, **terms
    )


def kinds(events: Iterable[Recorded]) -> list[str]:
    """Return the names of events."""
    return [one.kind for one in events]
