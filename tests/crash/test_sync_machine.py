"""Whatever happens at the broker, on the way and to us: a startup brings the ledger to the terminal's books, and it stays.

Two state machines. One is quick: the terminal's answers go as bytes through the product's reader, without sockets, and a desk
dies by an exception that nothing catches. The other is real: a sandbox process, sockets, a process that is killed (SIGKILL).
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from typing import Any, ClassVar, Final

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

from ledger import AccountId, Ledger
from ledger.events import AccountOpened
from ledger.gateway.sandbox.client import Sandbox
from ledger.gateway.sandbox.terminal import Terminal
from ledger.journal import Journal
from tests.support.journals import DURABLE, new_url, open_journal
from tests.support.machine import (
    DEALS,
    FALSE_ANSWERS,
    REAL_OTHERS,
    REAL_REFUSED,
    REAL_REFUSED_EXTENDED,
    REFUSED,
    REFUSED_EXTENDED,
    Counter,
    Desk,
    RealCounter,
    RealDesk,
    RemoteTerminal,
    SharedJournal,
    agrees,
    deal_of,
    deals_of,
    look,
    money_agrees,
)

REAL_EXAMPLES: Final = 3
#: What flapped is corrected once after a quiet window, and verified after another one.
SETTLING: Final = 2
FLAPPING_MSC: Final = 3_700_000
SYMBOLS: Final = ("EURUSD", "USDJPY", "XAUUSD")
MSC: Final = st.sampled_from([1, 400, 1_500, 15_000, 700_000, 86_400_000, 260_000_000])
LOTS: Final = st.sampled_from(["0.01", "0.02", "0.05", "0.30"])
SIDES: Final = st.sampled_from(["buy", "sell"])
WHICH: Final = st.integers(0, 5)


class Market(RuleBasedStateMachine):
    """What the engine, a person, the broker, the network and death do to one account. A class per mode and form."""

    mode: ClassVar[str] = "hedging"
    extended: ClassVar[bool] = True
    logins: ClassVar[Any] = count(1)
    faults: ClassVar[tuple[str, ...]] = (*REFUSED_EXTENDED, *FALSE_ANSWERS, *DEALS)

    terminal: Any
    counter: Any
    desk: Any
    name: AccountId

    def __init__(self) -> None:
        super().__init__()
        self.open()
        self.rows_of_deals: dict[int, Any] = {}
        self.orders: list[int] = []
        self.incomplete: list[int] = []
        self.acknowledged: set[int] = set()
        self.nets = self.mode != "hedging"

    def open(self) -> None:
        login = next(self.logins)
        self.terminal = Terminal(mode=self.mode, seed=7, login=login)
        self.name = AccountId(self.terminal.server, login)
        self.counter = Counter(self.terminal, extended=self.extended)
        self.desk = Desk(self.journal(), self.name, self.counter)

    def journal(self) -> Callable[[Callable[[], int]], Journal]:
        """Return what opens the journal, again for each desk."""
        raise NotImplementedError

    @initialize(names_itself=st.booleans(), deposit=st.booleans())
    def begin(self, names_itself, deposit):
        if deposit:
            self.money_moves((2, "10000"))
        if names_itself and self.extended:
            self.restart_and_check()
        else:
            opened = AccountOpened(
                server=self.name.server, login=self.name.login, currency="USD", currency_digits=2, mode=self.mode,
                clock="UTC", time_msc=self.terminal.now_msc,
            )  # fmt: skip
            self.desk.account.record(opened)

    # ---- what happens at the broker

    def one(self, which, **like):
        """Choose an open position."""
        held = [
            one for one in self.terminal.open_positions() if all(getattr(one, name) == value for name, value in like.items())
        ]
        return held[which % len(held)] if held else None

    def happened(self, answer, *, recorded=False, bare=False):
        """Record the deals that an order made, or not: the engine died before it could, or was not asked."""
        self.rows_of_deals |= {row["ticket"]: row for row in answer.deals}
        tickets = [row["ticket"] for row in answer.deals]
        if recorded:
            self.desk.record([deal_of(row, bare=bare) for row in answer.deals])
            self.acknowledged.update(tickets)
        else:
            self.incomplete += tickets

    @rule(
        symbol=st.sampled_from(SYMBOLS),
        side=SIDES,
        lots=LOTS,
        parts=st.integers(1, 2),
        recorded=st.booleans(),
        bare=st.booleans(),
    )
    def engine_opens(self, symbol, side, lots, parts, recorded, bare):
        answer = self.terminal.send_order(symbol, side, lots, parts=parts, magic=5)
        self.orders.append(answer.order)
        self.happened(answer, recorded=recorded, bare=bare)

    @precondition(lambda self: self.terminal.open_positions())
    @rule(which=WHICH, lots=st.one_of(st.none(), LOTS), recorded=st.booleans(), bare=st.booleans())
    def engine_closes(self, which, lots, recorded, bare):
        answer = self.terminal.close(self.one(which).position_id, lots, reason=3)
        self.happened(answer, recorded=recorded, bare=bare)

    @rule(symbol=st.sampled_from(SYMBOLS), side=SIDES, lots=LOTS)
    def a_person_trades(self, symbol, side, lots):
        answer = self.terminal.send_order(symbol, side, lots, reason=0)
        self.orders.append(answer.order)
        self.happened(answer)

    @precondition(lambda self: self.terminal.open_positions())
    @rule(which=WHICH, lots=st.one_of(st.none(), LOTS))
    def a_person_closes(self, which, lots):
        self.happened(self.terminal.close(self.one(which).position_id, lots))

    @precondition(lambda self: self.terminal.open_positions())
    @rule(which=WHICH, lots=LOTS)
    def an_order_fills_on(self, which, lots):
        one = self.one(which)
        if one.position_id in self.orders:
            self.happened(self.terminal.fill_more(one.position_id, lots))

    @rule(lots=LOTS, which=WHICH)
    def a_closed_position_fills_on(self, lots, which):
        if self.orders:
            self.happened(self.terminal.fill_more(self.orders[which % len(self.orders)], lots))

    @precondition(lambda self: self.terminal.open_positions())
    @rule(which=WHICH)
    def a_person_closes_by(self, which):
        one = self.one(which)
        other = self.one(which, symbol=one.symbol, side=one.side.opposite)
        if other is not None:
            self.happened(self.terminal.close_by(one.position_id, other.position_id))

    @precondition(lambda self: self.terminal.open_positions())
    @rule(which=WHICH)
    def the_broker_stops_out(self, which):
        self.happened(self.terminal.stop_out(self.one(which).position_id))

    @precondition(lambda self: self.terminal.open_positions())
    @rule(which=WHICH)
    def a_night_passes(self, which):
        self.terminal.charge_swap()
        self.terminal.rollover(self.one(which).position_id)

    @rule(booked=st.sampled_from([(2, "100"), (2, "-50.50"), (3, "50"), (3, "-50"), (4, "-1.25"), (15, "3.10"), (12, "0.07")]))
    def money_moves(self, booked):
        row = self.terminal.cash(*booked)
        self.rows_of_deals[row["ticket"]] = row
        self.incomplete.append(row["ticket"])

    @rule(msc=MSC)
    def time_passes(self, msc):
        self.terminal.advance(msc)

    # ---- what happens to what is reported

    @precondition(lambda self: self.incomplete)
    @rule(choice=st.randoms(use_true_random=False), bare=st.booleans())
    def the_engine_hears_late(self, choice, bare):
        some = choice.sample(self.incomplete, choice.randint(1, len(self.incomplete)))
        self.record_late([*some, *some[:1]], bare=bare)
        self.incomplete = [ticket for ticket in self.incomplete if ticket not in some]

    def record_late(self, tickets, *, bare):
        for ticket in tickets:
            self.desk.record([deal_of(self.rows_of_deals[ticket], bare=bare)])
            self.acknowledged.add(ticket)

    @rule(data=st.data(), syncs=st.booleans(), startup=st.booleans())
    def something_breaks(self, data, syncs, startup):
        needs_extended = (*REFUSED_EXTENDED[len(REFUSED) :], *DEALS)
        self.breaks(data.draw(st.sampled_from([one for one in self.faults if self.extended or one not in needs_extended])))
        if syncs:
            self.we_sync(startup=startup)

    def breaks(self, fault):
        self.counter.suffer(fault)

    @rule()
    def it_is_well_again(self):
        self.counter.heal()

    # ---- what we do

    @rule(startup=st.booleans())
    def we_sync(self, startup):
        before = self.look()
        known_msc = self.desk.account.portfolio.newest_fill_msc if self.desk.account.is_open else -1
        result = self.desk.sync(startup=startup)
        self.is_whole()
        refused = self.is_refused(known_msc)
        if refused:
            assert result.status == "DEGRADED", result
            assert set(result.kinds) <= {"SyncDegraded"}
            assert self.look()["positions"] == before["positions"]
        assert result.status != "FAILED", result
        if startup and not refused and self.is_recorded_whole() and not self.seems_to_flap(result):
            agrees(self.look(), self.terminal.books(), extended=self.extended, nets=self.nets)

    def is_refused(self, known_msc):
        """Whether what is wrong now makes every snapshot one that must be refused."""
        if self.counter.fault == "old":  # nothing that we know is newer: then it may be as old as it is
            return self.counter.reported_msc // 1000 < known_msc // 1000
        return self.counter.fault in (REFUSED_EXTENDED if self.extended else REFUSED)

    def seems_to_flap(self, result):
        """Whether a position came and went so often that nothing is made up of it; no deals in the base form explain it."""
        return not self.extended and any("it came to disagree" in why for why in result.held)

    def is_recorded_whole(self):
        """Whether positions and their deals are shown as they are."""
        return self.counter.fault not in (*FALSE_ANSWERS, "no deals")

    @rule(times=st.integers(1, 4))
    def we_sync_on(self, times):
        for _ in range(times):
            self.terminal.advance(15_000)
            self.we_sync(startup=False)

    @precondition(lambda self: self.counter.fault not in ("no deals", "no-deals"))
    @rule(point=st.integers(0, 4), which=WHICH, symbol=st.sampled_from(SYMBOLS), side=SIDES, lots=LOTS, recorded=st.booleans())
    def we_sync_while_something_happens(self, point, which, symbol, side, lots, recorded):
        def happens():
            if which % 2:
                answer = self.terminal.send_order(symbol, side, lots)
            else:
                one = self.one(which)
                answer = self.terminal.close(one.position_id) if one else self.terminal.send_order(symbol, side, lots)
            self.happened(answer, recorded=recorded)

        result = self.desk.sync_while(point, happens)
        assert result.status != "FAILED", result
        self.is_whole()

    @rule(point=st.integers(0, 14), startup=st.booleans())
    def we_die_in_a_sync(self, point, startup):
        self.desk.die_in_a_sync(point, startup=startup)
        self.is_whole()

    @precondition(lambda self: self.incomplete)
    @rule(point=st.integers(0, 1))
    def we_die_while_we_record(self, point):
        self.desk.die_recording(point, [self.rows_of_deals[self.incomplete[0]]])
        self.is_whole()

    @rule()
    def we_start_again(self):
        self.counter.heal()
        self.restart_and_check()

    def restart_and_check(self):
        self.desk.close()
        self.desk.start()
        result = self.desk.sync(startup=True)
        for _ in range(SETTLING):
            if not self.seems_to_flap(result):
                break
            self.terminal.advance(FLAPPING_MSC)
            result = self.desk.sync(startup=True)
        assert (result.status, result.held) == ("SUCCESS", ()), (result, self.terminal.books())
        seen, books = self.look(), self.terminal.books()
        agrees(seen, books, extended=self.extended, nets=self.nets)
        assert (seen["breaks"], seen["degraded"]) == ([], False)
        if self.extended:
            money_agrees(seen, books)
        self.is_whole()
        again = self.desk.sync()
        assert (again.status, again.appended) == ("SUCCESS", 0), again

    def look(self):
        return look(self.desk.account) if self.desk.account.is_open else {"positions": []}

    def is_whole(self):
        if self.desk.account.is_open:
            self.look()
            found = deals_of(self.desk.account)
            assert len(found) == len(set(found))
            assert self.acknowledged <= set(found)

    def teardown(self):
        try:
            self.the_end()
        finally:
            self.desk.give_back()

    def the_end(self):
        if not self.desk.account.is_open:
            return
        self.counter.heal()
        self.restart_and_check()
        before = self.look()
        everything = list(self.rows_of_deals)
        self.record_late(everything[::-1] + everything, bare=False)
        self.restart_and_check()
        after = self.look()
        money_agrees(after, self.terminal.books())
        assert {one["symbol"]: one["side"] for one in before["positions"]} == {
            one["symbol"]: one["side"] for one in after["positions"]
        }
        assert self.desk.account.verify().problems == ()


# ---------------------------------------------------------------------------------------------------------- in one process


class Quick(Market):
    """A market whose desks are in the test, and whose journal is in memory."""

    def journal(self):
        return SharedJournal()


FORMS: Final = pytest.mark.parametrize("extended", [False, True], ids=["base", "extended"])
MODES: Final = pytest.mark.parametrize("mode", ["hedging", "netting"])


@FORMS
@MODES
def test_a_startup_brings_the_ledger_to_the_books(mode, extended):
    class Case(Quick):
        pass

    Case.mode, Case.extended = mode, extended
    run_state_machine_as_test(Case, settings=settings(stateful_step_count=30))


@MODES
@pytest.mark.parametrize("fault", REFUSED_EXTENDED)
def test_a_refused_answer_changes_nothing_however_often(fault, mode):
    class Case(Quick):
        pass

    Case.mode = mode
    market = Case()
    market.begin(names_itself=True, deposit=True)
    market.engine_opens("EURUSD", "buy", "0.30", parts=1, recorded=True, bare=False)
    market.time_passes(700_000)
    market.we_start_again()
    market.a_person_closes(0, "0.01")
    market.a_person_trades("USDJPY", "sell", "0.01")
    market.breaks(fault)
    for startup in (False, True, False, True):
        market.we_sync(startup=startup)
    market.teardown()


# What the machine found stays as stories.


def test_a_new_ticket_of_a_position_that_settles_is_waited_for():
    market = Quick()
    market.begin(names_itself=False, deposit=False)
    market.engine_opens("EURUSD", "buy", "0.01", parts=1, recorded=True, bare=False)
    market.a_night_passes(0)
    market.we_start_again()
    market.teardown()


def test_money_booked_while_the_reported_clock_is_stopped_is_booked_once():
    market = Quick()
    market.begin(names_itself=False, deposit=False)
    market.breaks("old")
    market.money_moves((2, "100"))
    market.we_sync(startup=False)
    market.teardown()


@pytest.mark.parametrize("deposit", [False, True])
@pytest.mark.parametrize("point", range(5))
@pytest.mark.parametrize("recorded", [False, True])
@pytest.mark.parametrize("fault", [None, "no deals"])
def test_a_trade_beside_the_opening_figure_is_counted_once(point, recorded, fault, deposit):
    market = Quick()
    market.begin(names_itself=False, deposit=deposit)
    if fault:
        market.breaks(fault)
    market.we_sync_while_something_happens(point, 0, "EURUSD", "buy", "0.01", recorded)
    market.teardown()


@FORMS
@MODES
@pytest.mark.parametrize("kind", DURABLE)
def test_a_sync_brings_every_kind_of_journal_to_the_books(kind, mode, extended, tmp_path):
    url = new_url(kind, tmp_path)

    class Case(Market):
        logins = count(1)  # an account for each example, all in one journal

        def journal(self):
            return lambda now_us: open_journal(url, now_us)

    Case.mode, Case.extended = mode, extended
    run_state_machine_as_test(Case, settings=settings(max_examples=settings().max_examples // 12, stateful_step_count=20))
    with Ledger.open(url) as ledger:
        assert ledger.verify().problems == ()


# -------------------------------------------------------------------------------------------------------------- for real

WORK: Final = """
from tests.support.machine import work
work(url, *sys.argv[2:4], report, read_line)
"""


class RealMarket(Market):
    """The same with a sandbox in a process, sockets, and a desk in a process that is killed."""

    faults = (*REAL_REFUSED_EXTENDED, *REAL_OTHERS)
    url: ClassVar[Callable[[], str]]
    start: ClassVar[Callable[..., Any]]

    def open(self):
        options = ["--virtual-clock", "--mode", self.mode, "--form", "extended" if self.extended else "base", "--balance", "0"]
        self.sandbox = Sandbox.start(*options, "--seed", "7")
        self.terminal = RemoteTerminal(self.sandbox)
        self.counter = RealCounter(self.sandbox, extended=self.extended)
        self.name = AccountId("Sandbox-Demo", 70113)
        url = type(self).url()
        self.desk = RealDesk(
            lambda: type(self).start(WORK, url, self.sandbox.endpoint, str(self.name)), url, self.name, self.terminal
        )

    def is_refused(self, known_msc):  # noqa: ARG002  # an old answer is none of these faults
        return self.counter.fault in (REAL_REFUSED_EXTENDED if self.extended else REAL_REFUSED)

    def seems_to_flap(self, result):
        """Whether a position came and went so often that nothing is made up of it; no deals in the base form explain it."""
        return not self.extended and any("it came to disagree" in why for why in result.held)

    def is_recorded_whole(self):
        return self.counter.fault in (None, "restart", "slow", "late-deals")

    def teardown(self):
        try:
            super().teardown()
        finally:
            self.sandbox.kill()


@pytest.mark.parametrize(
    ("mode", "extended", "kind"),
    [
        ("hedging", True, "sqlite"),
        ("hedging", False, "postgres"),
        ("netting", True, "postgres"),
        ("netting", False, "sqlite"),
    ],
)
def test_a_real_process_that_is_really_killed_comes_to_the_books(mode, extended, kind, tmp_path, start):
    numbers = count()

    def url():
        folder = tmp_path / str(next(numbers))
        folder.mkdir()
        return new_url(kind, folder)

    class Case(RealMarket):
        pass

    Case.mode, Case.extended, Case.url, Case.start = mode, extended, staticmethod(url), staticmethod(start)
    run_state_machine_as_test(Case, settings=settings(max_examples=REAL_EXAMPLES, stateful_step_count=14))
