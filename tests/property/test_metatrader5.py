"""Both ways to a terminal lead to the same journal: the module in the process, and a gateway over the wire."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger import Account, Event, Ledger, ReconcilePolicy, StateReconciler, SyncStatus
from ledger.gateway import Gateway
from ledger.gateway.metatrader5 import MetaTrader5Gateway
from ledger.gateway.open import open_gateway
from ledger.gateway.sandbox.server import SandboxServer
from ledger.gateway.sandbox.terminal import START_MSC, Terminal
from ledger.testing import FakeMetaTrader5
from tools.testkit.stories import ticking

SERVER = "Sandbox-Demo"
SYMBOLS = ("EURUSD", "USDJPY", "XAUUSD")
#: What the two ways cannot agree on: the bytes of an answer, and when its terminal last saw a price.
APART = ("time_msc", "evidence")

orders = st.tuples(
    st.just("order"), st.sampled_from(SYMBOLS), st.sampled_from(["buy", "sell"]), st.sampled_from(["0.01", "0.07", "0.30"])
)
others = st.tuples(
    st.sampled_from(["close", "part", "close_by", "rollover", "stop_out", "deposit", "credit", "tax", "unknown", "swap"]),
    st.integers(0, 5),
)
#: What happens between two syncs.
stories = st.lists(st.lists(orders | others, min_size=1, max_size=4), min_size=1, max_size=4)
CASH = {"deposit": (2, "250"), "credit": (3, "50"), "tax": (17, "-0.80"), "unknown": (41, "1.25")}


def happen(terminal: Terminal, what: str, *details: Any) -> None:
    """Let something happen at the broker; nothing, where it needs a position and there is none."""
    if what == "order":
        terminal.send_order(*details, magic=7, comment="ema")
        return
    if what in CASH:
        terminal.cash(*CASH[what])
        return
    if what == "swap":
        terminal.charge_swap()
        return
    held = terminal.open_positions()
    if not held:
        return
    one = held[details[0] % len(held)]
    other = held[(details[0] + 1) % len(held)]
    if what == "close":
        terminal.close(one.position_id)
    elif what == "part":
        terminal.close(one.position_id, "0.01")
    elif what == "close_by":
        terminal.close_by(one.position_id, other.position_id)
    elif what == "rollover":
        terminal.rollover(one.position_id)
    else:
        terminal.stop_out(one.position_id)


@contextmanager
def served(terminal: Terminal) -> Iterator[Gateway]:
    """Serve a terminal, and yield a gateway to it."""
    server, ready, found = SandboxServer(terminal), threading.Event(), []

    def note(endpoint: str, _: str) -> None:
        found.append(endpoint)
        ready.set()

    thread = threading.Thread(target=server.serve, args=(note,))
    thread.start()
    try:
        assert ready.wait(20)
        gateway = open_gateway(found[0])
        yield gateway
        gateway.close()
    finally:
        server.stop()
        thread.join()


class Book:
    """A journal in memory with the reconciler that writes it."""

    def __init__(self, gateway: Gateway, mode: str, policy: ReconcilePolicy | None = None) -> None:
        ledger = Ledger.open("memory://", now_us=ticking(START_MSC * 1000 + 3_600_000_000))
        self.account: Account = ledger.account(SERVER, 70113)
        self.account.open(currency="USD", mode=mode, clock="UTC", time_msc=START_MSC)
        self.reconciler = StateReconciler(self.account, gateway, policy=policy or ReconcilePolicy())

    def sync(self) -> SyncStatus:
        return self.reconciler.sync_positions().status

    def events(self) -> list[Event]:
        return [alike(one.event) for one in self.account.events()]


def alike(event: Any) -> Any:
    """Return an event without what is apart; of a deal every field stays."""
    if hasattr(event, "commission"):
        return event
    names = {one.name for one in attrs.fields(type(event))}
    return attrs.evolve(event, **{name: 0 if name == "time_msc" else None for name in APART if name in names})


@settings(max_examples=15)
@pytest.mark.parametrize("mode", ["hedging", "netting", "exchange"])
@given(story=stories)
def test_the_module_and_the_wire_lead_to_the_same_journal(mode, story):
    near, far = Terminal(mode=mode), Terminal(mode=mode)
    with served(far) as gateway:
        books = Book(MetaTrader5Gateway(FakeMetaTrader5(near)), mode), Book(gateway, mode)
        for happenings in story:
            for what in happenings:
                for terminal in (near, far):
                    happen(terminal, *what)
            assert books[0].sync() is books[1].sync()
            assert books[0].account.portfolio.positions == books[1].account.portfolio.positions
        assert books[0].events() == books[1].events()
        assert len(books[0].account.portfolio.positions) == len(near.open_positions())


# ---- a terminal that fails

#: What the module can answer wrongly about an account that has all its deals.
READ_FAULTS = (
    "no-connection", "timeout", "fail", "no-start", "exit", "not-connected", "wrong-login", "wrong-server", "half", "duplicate",
)  # fmt: skip
faults = st.tuples(st.just("fault"), st.sampled_from(READ_FAULTS), st.integers(1, 9))
#: Believes the first snapshot that lacks a position: then only the gateway keeps a wrong one away.
CREDULOUS = ReconcilePolicy(ghost_confirmations=1, vanish_confirmations=1, settle_sec=0)
CORRECTIONS = ("PositionRecovered", "GhostClosed", "DriftCorrected")


@settings(max_examples=30)
@pytest.mark.parametrize("mode", ["hedging", "netting"])
@given(story=st.lists(orders | others | faults | faults, min_size=1, max_size=20))
def test_a_module_that_fails_leads_to_no_correction_and_to_the_books_in_the_end(mode, story):
    terminal = Terminal(mode=mode)
    mt5 = FakeMetaTrader5(terminal)
    book = Book(MetaTrader5Gateway(mt5, login=70113), mode, CREDULOUS)
    for symbol in SYMBOLS:
        happen(terminal, "order", symbol, "buy", "0.07")
    for what, *details in story:
        if what == "fault":
            mt5.faults.add(*details)
        else:
            happen(terminal, what, *details)
        book.sync()
    mt5.faults.clear()
    for _ in range(2):  # the first may find that the terminal has to be started
        book.sync()
    assert book.sync() is not SyncStatus.DEGRADED
    held = {one.position_id: one.volume for one in terminal.open_positions()}
    assert {key: one.volume for key, one in book.account.portfolio.positions.items()} == held
    assert [one.kind for one in book.account.events() if one.kind in CORRECTIONS] == []
