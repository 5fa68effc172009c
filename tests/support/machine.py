"""A market for state machines: a simulated terminal with its own books, what can go wrong on the way, and desks that die.

The terminal (``ledger.gateway.sandbox.terminal``) is the oracle. ``Counter`` answers for it in bytes, as a gateway would;
``Window`` reads them with the product's own reader, without sockets. A ``Desk`` is a process on one journal, played within
the test: it records, syncs, and dies at a point that the test names.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from decimal import Decimal
from fractions import Fraction
from types import SimpleNamespace
from typing import Any, Final

from attrs import asdict, frozen

from ledger import Account, AccountId, CashMoved, FillRecorded, Ledger, Origin, Side
from ledger.errors import GatewayRefused, GatewayTimeout
from ledger.events import Deal
from ledger.gateway.open import open_gateway
from ledger.gateway.sandbox.client import Sandbox
from ledger.gateway.sandbox.terminal import Terminal
from ledger.journal import Journal
from ledger.journal.memory import MemoryJournal
from ledger.journal.sql.engine import open_engine
from ledger.journal.sql.journal import SqlJournal
from ledger.protocol.echo import Asked
from ledger.protocol.messages import GetAccount, GetDeals, GetPositions, GetSymbols, Query
from ledger.protocol.read import read_account, read_deals, read_snapshot, read_symbols
from ledger.protocol.write import write_request
from ledger.reconcile.policy import DEFAULT, ReconcilePolicy
from ledger.reconciler import StateReconciler, SyncResult
from ledger.snapshot import RemoteAccount, RemoteHistory, RemoteSymbol, Snapshot
from ledger.values import MarginMode

Json = dict[str, Any]

#: Faults that a snapshot shows, so that it has to be refused; those behind the bar need the extended form.
REFUSED: Final = ("error", "silence", "garbage", "no list", "row twice", "row torn", "side unknown")
REFUSED_EXTENDED: Final = (*REFUSED, "row missing", "stranger", "other mode", "not connected", "old")
#: Faults that nothing shows: the answer is whole, and wrong.
FALSE_ANSWERS: Final = ("all gone", "one gone", "half of one")
#: Faults of the further actions.
DEALS: Final = ("no deals", "deals late", "deals twice", "no account", "no symbols")
CORRECTIONS: Final = frozenset({"PositionRecovered", "GhostClosed", "DriftCorrected", "PositionReticketed"})


# ----------------------------------------------------------------------------------------------------------- the broker


class Counter:
    """Answers for a terminal, and not always well.

    Args:
        terminal: Whose books it shows.
        extended: Speak the extended form.
    """

    def __init__(self, terminal: Terminal, *, extended: bool) -> None:
        self.terminal = terminal
        self.extended = extended
        self.fault: str | None = None
        self.late_from: int | None = None

    def suffer(self, fault: str) -> None:
        """Answer badly from now on. Deals that are late are those of everything from now on, until ``heal``."""
        self.fault = fault
        if fault == "deals late" and self.late_from is None:
            self.late_from = self.terminal.now_msc

    def heal(self) -> None:
        self.fault = self.late_from = None

    def __call__(self, request: bytes) -> bytes:
        asked = json.loads(request)
        if self.fault == "silence":
            raise GatewayTimeout("nobody is there")
        if self.fault == "garbage":
            return b'{"status": "SUCCESS", "positions": [{"ticket"'
        if self.fault == "error":
            return json.dumps({"status": "ERROR", "error_code": -10004, "error_msg": "no IPC connection"}).encode()
        answer = self._answer(asked)
        if self.extended and answer["status"] == "SUCCESS":
            answer |= self._heading(asked)
        return json.dumps(answer).encode()

    def _heading(self, asked: Json) -> Json:
        terminal = self.terminal
        nets = terminal.mode is not MarginMode.HEDGING
        return {
            "req_id": asked["req_id"],
            "login": terminal.login + (self.fault == "stranger"),
            "server": terminal.server,
            "margin_mode": ("hedging" if nets else "netting") if self.fault == "other mode" else terminal.mode.value,
            "connected": self.fault != "not connected",
            "server_time_msc": self.reported_msc,
        }

    @property
    def reported_msc(self) -> int:
        """The server time that answers name."""
        return self.terminal.now_msc - (3 * 24 * 3_600_000 if self.fault == "old" else 0)

    def _answer(self, asked: Json) -> Json:
        action = asked["action"]
        if action == "GET_POSITIONS":
            return self._positions()
        if not self.extended or (action, self.fault) in (
            ("GET_DEALS", "no deals"),
            ("GET_ACCOUNT", "no account"),
            ("GET_SYMBOLS", "no symbols"),
        ):
            return {"status": "ERROR", "error_code": 9, "error_msg": "not now"}
        if action == "GET_ACCOUNT":
            return {"status": "SUCCESS", "account": self.terminal.account()}
        if action == "GET_SYMBOLS":
            return {"status": "SUCCESS", "symbols": self.terminal.symbol_rows()}
        rows = self._deals(asked)
        return {"status": "SUCCESS", "deals": rows, "count": len(rows)}

    def _deals(self, asked: Json) -> list[Json]:
        rows = self.terminal.deals(asked.get("from_msc"), asked.get("to_msc"), asked.get("position"))
        if self.late_from is not None:
            rows = [row for row in rows if row["time_msc"] <= self.late_from]
        if self.fault == "deals twice":
            rows = (rows + rows)[::-1]
        # The money of a deal as text, so that what is exact stays exact.
        return [json.loads(json.dumps(row, default=str)) for row in rows]

    def _positions(self) -> Json:
        rows = [dict(row) for row in self.terminal.positions()]
        count = len(rows)
        if self.fault == "no list":
            return {"status": "SUCCESS", "positions": None}
        if self.fault == "row twice":
            rows = [*rows, dict(rows[0] if rows else _SOME_ROW)]
            rows = rows if len(rows) > 1 else rows * 2
            count = len(rows)
        if self.fault == "row torn":
            rows.append({"ticket": 1, "symbol": "EURUSD"})
            count = len(rows)
        if self.fault == "side unknown":
            rows.append({**_SOME_ROW, "type": "long"})
            count = len(rows)
        if self.fault == "row missing":
            count += 1
        if self.fault == "all gone":
            rows, count = [], 0
        if self.fault == "one gone" and rows:
            rows, count = rows[1:], count - 1
        if self.fault == "half of one" and rows:
            rows[0]["volume"] = str(Decimal(repr(rows[0]["volume"])).quantize(Decimal("0.01")) + Decimal("0.01"))
        if not self.extended:
            known = ("ticket", "symbol", "type", "volume", "price_open", "profit", "time")
            return {"status": "SUCCESS", "positions": [{name: row[name] for name in known if name in row} for row in rows]}
        return {"status": "SUCCESS", "positions": rows, "count": count}


_SOME_ROW: Final = {
    "ticket": 77, "identifier": 77, "symbol": "EURUSD", "type": "buy", "volume": 0.01, "price_open": 1.1, "profit": 0,
    "time": 1,
}  # fmt: skip


class Window:
    """A gateway that asks a counter directly. Requests and answers are bytes, written and read as over a socket.

    Args:
        counter: Answers a request.
        reach: Is called before every question and after every answer; what it raises is how a desk dies.
    """

    def __init__(self, counter: Callable[[bytes], bytes], reach: Callable[[str], object] = lambda _: None) -> None:
        self._counter = counter
        self._reach = reach
        self._asked = 0
        self.reconnections = 0

    def positions(self) -> Snapshot:
        raw = self._ask(GetPositions())
        return read_snapshot(raw, Asked(f"r{self._asked}"))

    def account(self) -> RemoteAccount:
        return read_account(self._ask(GetAccount()))

    def deals(self, *, from_msc: int | None = None, to_msc: int | None = None, position: int | None = None) -> RemoteHistory:
        return read_deals(self._ask(GetDeals(from_msc=from_msc, to_msc=to_msc, position=position)))

    def symbols(self) -> Sequence[RemoteSymbol]:
        return read_symbols(self._ask(GetSymbols()))

    def close(self) -> None:
        pass

    def _ask(self, query: Query) -> bytes:
        self._asked += 1
        self._reach(f"before {query.action}")
        raw = self._counter(write_request(query, req_id=f"r{self._asked}"))
        self._reach(f"after {query.action}")
        return raw


class SharedJournal:
    """A journal in memory that survives its desks. Opened again it uses the clock of whoever opened it."""

    def __init__(self) -> None:
        self._now_us: Callable[[], int] = int
        self._journal = MemoryJournal(self._time)

    def __call__(self, now_us: Callable[[], int]) -> Journal:
        self._now_us = now_us
        return self._journal

    def _time(self) -> int:
        return self._now_us()


class WatchedJournal:
    """A journal with a point before and after every append."""

    def __init__(self, journal: Journal, reach: Callable[[str], object]) -> None:
        self._journal = journal
        self._reach = reach

    def __getattr__(self, name: str) -> Any:
        return getattr(self._journal, name)

    def append(self, *arguments: Any, **words: Any) -> Any:
        self._reach("before append")
        appended = self._journal.append(*arguments, **words)
        self._reach("after append")
        return appended


# --------------------------------------------------------------------------------------------------- what the engine records


def deal_of(row: Json, *, bare: bool = False) -> Deal:
    """Return a deal of the terminal's history as an engine records it; ``bare`` as one does that knows no money yet."""
    trades = row["type"] in (0, 1, "buy", "sell")
    money = {name: None if bare and trades else row[name] for name in ("commission", "fee", "swap")}
    common: Json = {
        "deal": row["ticket"], "time_msc": row["time_msc"], "order": row["order"] or None,
        "position_id": row["position_id"] or None, "reason": row["reason"], "comment": row["comment"] or None,
        "origin": Origin.ENGINE, **money,
    }  # fmt: skip
    if not trades:
        return CashMoved(type=row["type"], profit=row["profit"], **common)
    side: Any = {0: "buy", 1: "sell"}.get(row["type"], row["type"])
    return FillRecorded(
        side=side, symbol=row["symbol"], entry=row["entry"], volume=row["volume"], price=row["price"],
        profit=None if bare else row["profit"], magic=row["magic"], **common,
    )  # fmt: skip


# ------------------------------------------------------------------------------------------------------- what a desk shows


def look(account: Account) -> Json:
    """Return what a ledger shows of an account, after checking that it does not disagree with itself."""
    portfolio = account.portfolio
    again = account.replay(checkpoints=False)
    assert json_rows(account, portfolio) == json_rows(account, again), "updated event by event and folded from the start differ"
    terms = portfolio.terms
    return {
        "version": account.version,
        "balance": str(portfolio.balance),
        "credit": str(portfolio.credit),
        "degraded": portfolio.degraded is not None,
        "positions": [
            {
                "position_id": one.position_id, "ticket": one.ticket, "symbol": one.symbol, "side": one.side.value,
                "volume": str(one.volume), "price_open": str(portfolio.open_price(one)),
                "digits": terms.shown_digits(one.symbol),
            }
            for one in portfolio.positions.values()
        ],
        "breaks": [str(one) for one in portfolio.breaks],
        "unexplained": [str(one) for one in portfolio.unexplained],
    }  # fmt: skip


def json_rows(account: Account, portfolio: Any) -> Json:
    """Return all that a portfolio shows."""
    from ledger.json_views import replay_json

    shown = replay_json(portfolio, until=None, known_at=None, version=0, head="", selected=0)
    return {**shown, "breaks": portfolio.breaks, "totals": portfolio.totals, "account": str(account.name)}


def deals_of(account: Account) -> list[int]:
    """Return the tickets of the deals that a journal holds, in its order."""
    return [one.event.deal for one in account.events() if isinstance(one.event, (FillRecorded, CashMoved))]


def agrees(seen: Json, books: Json, *, extended: bool, nets: bool) -> None:
    """Check what a ledger shows against the terminal's books: positions by id, by ticket or by symbol."""
    key = "symbol" if nets else "position_id" if extended else "ticket"
    ours = {one[key]: one for one in seen["positions"]}
    theirs = {one[key]: one for one in books["positions"]}
    assert len(ours) == len(seen["positions"])
    held = {name: (one["symbol"], one["side"], Decimal(one["volume"])) for name, one in ours.items()}
    known = {name: (one["symbol"], one["side"], Decimal(one["volume"])) for name, one in theirs.items()}
    assert held == known, (seen, books)
    for name, one in theirs.items():
        gap = abs(Fraction(ours[name]["price_open"]) - Fraction(one["price_open"]))
        assert gap <= Fraction(1, 2 * 10 ** ours[name]["digits"]), (ours[name], one)
        if extended:
            assert (ours[name]["position_id"], ours[name]["ticket"]) == (one["position_id"], one["ticket"])


def money_agrees(seen: Json, books: Json) -> None:
    assert (Decimal(seen["balance"]), Decimal(seen["credit"])) == (Decimal(books["balance"]), Decimal(books["credit"])), seen


# ------------------------------------------------------------------------------------------------------------------ a desk


@frozen(kw_only=True)
class Synced:
    """What a sync came to, in words: the same from a desk within the test and from one in a process of its own."""

    status: str
    appended: int
    held: tuple[str, ...]
    kinds: tuple[str, ...]
    slept_sec: float = 0


def synced(result: SyncResult, slept_sec: float = 0) -> Synced:
    return Synced(
        status=result.status.value,
        appended=result.appended,
        held=tuple(f"{held.kind} {held.position_id}: {held.why}" for held in result.held),
        kinds=tuple(one.kind for one in result.events),
        slept_sec=slept_sec,
    )


class Killed(BaseException):
    """The desk's process is dead from here on. No handler for errors sees it, as none sees a real one."""


class Desk:
    """A process with an engine and a reconciler on one journal, played within the test.

    Args:
        journal: Opens the journal anew, as a process that starts does.
        name: The account.
        counter: The broker.
        policy: Settings of the policy.
    """

    def __init__(
        self,
        journal: Callable[[Callable[[], int]], Journal],
        name: AccountId,
        counter: Counter,
        policy: ReconcilePolicy = DEFAULT,
    ) -> None:
        self._open = journal
        self.name = name
        self.counter = counter
        self.policy = policy
        self._now_us = 0
        self._left: int | None = None
        self._meanwhile: tuple[int, Callable[[], object]] | None = None
        self.points: list[str] = []
        self.ledger: Ledger | None = None
        self.start()

    def start(self) -> None:
        """Begin anew, with nothing but the journal."""
        self._left = None
        watched: Any = WatchedJournal(self._open(self.now_us), self._reach)
        self.ledger = Ledger(watched, self.now_us)
        self.account = self.ledger.account(self.name)
        self.reconciler = StateReconciler(
            self.account, Window(self.counter, self._reach), policy=self.policy, clock="UTC", monotonic=self.monotonic,
            sleep=self.sleep,
        )  # fmt: skip

    def close(self) -> None:
        if self.ledger is not None:
            self.ledger.close()
            self.ledger = None

    # ---- the time

    def now_us(self) -> int:
        """The server's clock is ours."""
        self._now_us = max(self._now_us + 1, self.counter.terminal.now_msc * 1000)
        return self._now_us

    def monotonic(self) -> float:
        return self._now_us / 1_000_000

    def sleep(self, seconds: float) -> None:
        self.counter.terminal.advance(round(seconds * 1000))

    # ---- what it does

    def record(self, deals: Sequence[Deal]) -> None:
        for deal in deals:
            self.account.record(deal)

    def sync(self, *, startup: bool = False) -> Synced:
        return synced(self.reconciler.startup_recovery() if startup else self.reconciler.sync_positions())

    def sync_while(self, point: int, action: Callable[[], object]) -> Synced:
        """Sync, and let something happen when so many points were passed."""
        self._meanwhile = (point, action)
        try:
            return self.sync()
        finally:
            self._meanwhile = None

    def die_in_a_sync(self, point: int, *, startup: bool) -> None:
        """Sync, and be killed after so many points."""
        self._die(point, lambda: self.sync(startup=startup))

    def die_recording(self, point: int, rows: Sequence[Json]) -> None:
        """Record, and be killed after so many points."""
        self._die(point, lambda: self.record([deal_of(row) for row in rows]))

    def give_back(self) -> None:
        self.close()

    def _die(self, point: int, work: Callable[[], object]) -> None:
        self._left = point
        try:
            work()
        except Killed:
            self.close()
            self.start()
        finally:
            self._left = None

    def _reach(self, point: str) -> None:
        self.points.append(point)
        if self._left is not None:
            self._left -= 1
            if self._left < 0:
                raise Killed
        if self._meanwhile is not None:
            left, action = self._meanwhile
            self._meanwhile = (left - 1, action) if left else None
            if not left:
                action()


# --------------------------------------------------------------------------------------------------- the same, for real


class RemoteTerminal:
    """A sandbox in a process of its own, with the methods of a terminal."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox

    @property
    def now_msc(self) -> int:
        return int(self.books()["now_msc"])

    def books(self) -> Json:
        return self._sandbox.books()

    def open_positions(self) -> list[Any]:
        return [
            SimpleNamespace(position_id=one["position_id"], symbol=one["symbol"], side=Side(one["side"]))
            for one in self.books()["positions"]
        ]

    def send_order(self, symbol: str, side: str, volume: str, *, parts: int = 1, magic: int = 0, reason: int = 3) -> Any:
        if reason == 3:
            return _done(lambda: self._sandbox.send_order(symbol, side, volume, parts=parts, magic=magic))
        return self._do("trade", symbol=symbol, side=side, volume=volume, parts=parts, magic=magic)

    def close(self, position: int, volume: str | None = None, *, reason: int = 0) -> Any:  # noqa: ARG002  # the control's own
        return self._do("close", position=position, volume=volume)

    def fill_more(self, order: int, volume: str) -> Any:
        return self._do("fill_more", order=order, volume=volume)

    def close_by(self, position: int, other: int) -> Any:
        return self._do("close_by", position=position, other=other)

    def stop_out(self, position: int) -> Any:
        return self._do("stop_out", position=position)

    def charge_swap(self) -> None:
        self._sandbox.control("swap")

    def rollover(self, position: int) -> None:
        self._sandbox.control("rollover", position=position)

    def advance(self, msc: int) -> None:
        self._sandbox.advance(msc)

    def cash(self, code: int, amount: str) -> Json:
        deal = self._sandbox.control("cash", type=code, amount=amount)["deal"]
        nothing = dict.fromkeys(("commission", "fee", "swap"), 0)
        row = {"ticket": deal, "type": code, "profit": amount, "time_msc": self.now_msc, "comment": "", "reason": 0}
        return {**row, **nothing, "order": 0, "position_id": 0}

    def _do(self, command: str, **fields: Any) -> Any:
        return _done(lambda: self._sandbox.control(command, **fields))


def _done(order: Callable[[], Json]) -> Any:
    try:
        answer = order()
    except GatewayRefused:
        return SimpleNamespace(order=0, deals=())
    return SimpleNamespace(order=answer["order"], deals=tuple(answer["deals"]))


#: The sandbox's own faults; the first are shown by every snapshot, or there is none.
REAL_REFUSED: Final = ("offline", "error", "none", "malformed")
REAL_REFUSED_EXTENDED: Final = (*REAL_REFUSED, "wrong-login", "wrong-server", "no-identity", "not-connected", "foreign")
REAL_OTHERS: Final = ("half", "duplicate", "stale", "restart", "slow", "late-deals", "no-deals")


class RealCounter:
    """What is wrong with a sandbox, as ``Counter`` names it."""

    def __init__(self, sandbox: Sandbox, *, extended: bool) -> None:
        self._sandbox = sandbox
        self.extended = extended
        self.fault: str | None = None

    def suffer(self, fault: str) -> None:
        self.heal()
        self.fault = fault
        self._sandbox.fault(fault, times=1 if fault == "restart" else -1, slow_ms=20, late_deals=1)

    def heal(self) -> None:
        self.fault = None
        self._sandbox.clear()


TIMEOUT_MS: Final = 300


def work(url: str, endpoint: str, account: str, report: Callable[[str], object], read_line: Callable[[], str]) -> None:
    """Be a desk in a process of its own: read what to do, line by line, and report what came of it.

    With a ``point`` it reports when it has passed so many points, and goes on at the next line, or is killed there.
    """
    command: Json = {}
    clock = {"us": 0}

    def now_us() -> int:
        clock["us"] += 1
        return clock["us"]

    def sleep(seconds: float) -> None:
        clock["us"] += round(seconds * 1_000_000)
        command["slept"] = command.get("slept", 0) + seconds

    def reach(point: str) -> None:
        if command.get("point") is not None:
            command["point"] -= 1
            if command["point"] < 0:
                command["point"] = None
                report(json.dumps({"reached": point}))
                read_line()

    engine = open_engine(url)
    writing = engine.writing

    @contextmanager
    def committing(*arguments: Any, **words: Any) -> Iterator[Any]:
        with writing(*arguments, **words) as session:
            yield session
            reach("commit")

    engine.writing = committing  # type: ignore[method-assign]
    journal: Any = WatchedJournal(SqlJournal(engine, now_us), reach)
    one = Ledger(journal, now_us).account(account)
    gateway: Any = None
    reconciler: StateReconciler | None = None
    report(json.dumps({"ready": True}))
    while line := read_line():
        command = json.loads(line)
        clock["us"] = max(clock["us"], command["now_msc"] * 1000)
        if reconciler is None:
            gateway = open_gateway(endpoint, timeout_ms=TIMEOUT_MS)
            reconciler = StateReconciler(
                one, _Reached(gateway, reach), clock="UTC", monotonic=lambda: clock["us"] / 1_000_000, sleep=sleep
            )
        gateway.timeout_ms = command.get("timeout_ms", TIMEOUT_MS)
        if command["do"] == "record":
            for row in command["rows"]:
                one.record(deal_of(row, bare=command["bare"]))
            report(json.dumps({"recorded": [row["ticket"] for row in command["rows"]]}))
        else:
            result = reconciler.startup_recovery() if command["do"] == "startup" else reconciler.sync_positions()
            look(one)
            report(json.dumps(asdict(synced(result, command.get("slept", 0)))))


class _Reached:
    """A gateway with a point before and after every question."""

    def __init__(self, gateway: Any, reach: Callable[[str], object]) -> None:
        self._gateway = gateway
        self._reach = reach

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._gateway, name)
        if not callable(found):
            return found

        def asked(**words: Any) -> Any:
            self._reach(f"before {name}")
            answer = found(**words)
            self._reach(f"after {name}")
            return answer

        return asked


class RealDesk:
    """A desk in a process of its own, which is killed for good. The test looks at the same journal.

    Args:
        start: Starts the process: it prints and reads lines.
        url: The journal.
        name: The account.
        terminal: The broker, for what time it is.
        timeout_ms: How long each of its requests may take.
    """

    def __init__(
        self, start: Callable[[], Any], url: str, name: AccountId, terminal: RemoteTerminal, timeout_ms: int = TIMEOUT_MS
    ) -> None:
        self.timeout_ms = timeout_ms
        self._start = start
        self._terminal = terminal
        self._clock_us = 0
        self._child: Any = None
        self.ledger = Ledger.create(url, now_us=self.now_us)
        self.account = self.ledger.account(name)
        self.start()

    def now_us(self) -> int:
        self._clock_us = max(self._clock_us + 1, self._terminal.now_msc * 1000)
        return self._clock_us

    def start(self) -> None:
        if self._child is None:
            self._child = self._start()
            assert json.loads(self._child.read_line()) == {"ready": True}

    def close(self) -> None:
        """End the process, at once and for good."""
        if self._child is not None:
            self._child.kill()
            self._child = None

    def give_back(self) -> None:
        self.close()
        self.ledger.close()

    def record(self, deals: Sequence[Deal]) -> None:
        """Record from the test's own process: an engine beside the reconciler."""
        for deal in deals:
            self.account.record(deal)

    def _send(self, do: str, **words: Any) -> None:
        common = {"do": do, "now_msc": self._terminal.now_msc, "timeout_ms": self.timeout_ms}
        self._child.send(json.dumps({**common, **words}, default=str))

    def _synced(self, output: Json) -> Synced:
        self._terminal.advance(round(output["slept_sec"] * 1000))
        return Synced(**{**output, "held": tuple(output["held"]), "kinds": tuple(output["kinds"])})

    def sync(self, *, startup: bool = False) -> Synced:
        self._send("startup" if startup else "sync")
        return self._synced(json.loads(self._child.read_line()))

    def sync_while(self, point: int, action: Callable[[], object]) -> Synced:
        self._send("sync", point=point)
        output = json.loads(self._child.read_line())
        is_locked = output.get("reached") == "commit"  # nobody else can record anything until it goes on
        if "reached" in output and not is_locked:
            action()
        if "reached" in output:
            self._child.send("go on")
            output = json.loads(self._child.read_line())
        synced = self._synced(output)
        if is_locked:
            action()
        return synced

    def die_in_a_sync(self, point: int, *, startup: bool) -> None:
        self._die("startup" if startup else "sync", point)

    def die_recording(self, point: int, rows: Sequence[Json]) -> None:
        self._die("record", point, rows=rows, bare=False)

    def _die(self, do: str, point: int, **words: Any) -> None:
        self._send(do, point=point, **words)
        self._child.read_line()  # it waits at the point, or it is done
        self.close()
        self.start()
