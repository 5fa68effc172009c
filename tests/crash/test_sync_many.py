"""Two reconcilers and an engine on one journal, at once: nothing is corrected twice, nothing is lost, and they come to rest."""

from __future__ import annotations

import json
import random
from collections import Counter

import pytest

from ledger import AccountId, Ledger
from ledger.events import DriftCorrected, FillRecorded, GhostClosed, PositionRecovered
from ledger.gateway.sandbox.client import Sandbox
from tests.support.machine import agrees, deals_of, look, money_agrees

ACCOUNT = AccountId("Sandbox-Demo", 70113)
ROUNDS = 4
EACH = 8

RECONCILE = """
import json
from ledger.gateway.open import open_gateway
from ledger.reconciler import StateReconciler, ReconcilePolicy

account = Ledger.open(url).account(sys.argv[3])
gateway = open_gateway(sys.argv[2], timeout_ms=5000)
reconciler = StateReconciler(account, gateway, policy=ReconcilePolicy(settle_sec=0.05), clock="UTC")
report("ready")
while (word := read_line()) != "end":
    if word == "startup":
        result = reconciler.startup_recovery()
    else:
        result = reconciler.sync_positions()
    corrected = [*result.recovered, *result.closed, *result.corrected]
    held = [one.why for one in result.held]
    report(json.dumps([result.status.value, result.appended, corrected, result.fills, held]))
"""

ENGINE = """
import json
from ledger.gateway.sandbox.client import Sandbox
from tests.support.machine import deal_of

account = Ledger.open(url).account(sys.argv[3])
broker = Sandbox(sys.argv[2], "tcp://127.0.0.1:1")
report("ready")
while (line := read_line()) != "end":
    recorded = []
    for symbol, side, volume, records in json.loads(line):
        answer = broker.send_order(symbol, side, volume, magic=5)
        for row in answer["deals"]:
            if records:
                account.record(deal_of(row))
                recorded.append(row["ticket"])
    report(json.dumps(recorded))
"""


@pytest.mark.parametrize("extended", [False, True], ids=["base", "extended"])
@pytest.mark.parametrize("mode", ["hedging", "netting"])
def test_two_reconcilers_and_an_engine_share_a_journal(url, mode, extended, start):
    chance = random.Random(f"{mode} {extended}")
    form = "extended" if extended else "base"
    options = ("--mode", mode, "--form", form, "--server-tz", "UTC", "--seed", "3", "--positions", "4")
    with Sandbox.start(*options) as sandbox, Ledger.create(url) as ledger:
        account = ledger.account(ACCOUNT)
        account.open(currency="USD", mode=mode, clock="UTC")
        arguments = (url, sandbox.endpoint, str(ACCOUNT))
        reconcilers = [start(RECONCILE, *arguments) for _ in range(2)]
        engine = start(ENGINE, *arguments)
        for child in (*reconcilers, engine):
            assert child.read_line() == "ready"
        recorded: set[int] = set()
        for _ in range(ROUNDS):
            orders = [
                (chance.choice(["EURUSD", "USDJPY"]), chance.choice(["buy", "sell"]), "0.10", chance.random() < 0.6)
                for _ in range(EACH)
            ]
            engine.send(json.dumps(orders))
            sandbox.trade_manually(2)
            for child in reconcilers:
                child.send("sync")
            results = [json.loads(child.read_line()) for child in reconcilers]
            recorded.update(json.loads(engine.read_line()))
            sandbox.trade_manually(2)
            for child in reconcilers:
                child.send("startup")
            results += [json.loads(child.read_line()) for child in reconcilers]
            assert {result[0] for result in results} <= {"SUCCESS", "PARTIAL"}
        is_at_rest(reconcilers)
        seen, books = look(account), sandbox.books()
        agrees(seen, books, extended=extended, nets=mode == "netting")
        found = deals_of(account)
        assert len(found) == len(set(found))
        assert recorded <= set(found)
        if extended:
            money_agrees(seen, books)
            assert len(found) == books["deals"]
        nothing_was_corrected_twice(account)
        assert ledger.verify().problems == ()
        for child in (*reconcilers, engine):
            child.send("end")
            child.end()


def is_at_rest(reconcilers):
    """Let both look in turn, until both find nothing to do."""
    quiet: list[list[object]] = []
    for _ in range(10):
        quiet = []
        for child in reconcilers:
            child.send("startup")
            quiet.append(json.loads(child.read_line()))
        if all(result[:2] == ["SUCCESS", 0] for result in quiet):
            return
    raise AssertionError(f"they do not come to rest: {quiet}")


def nothing_was_corrected_twice(account):
    """Check that no correction is recorded twice, and that none follows another of its position that nothing came between."""
    corrections = Counter(
        one.natural_key for one in account.events() if isinstance(one.event, (PositionRecovered, GhostClosed, DriftCorrected))
    )
    assert set(corrections.values()) <= {1}
    last: dict[int, object] = {}
    for one in account.events():
        match one.event:
            case PositionRecovered(position=state):
                assert last.get(state.position_id) != ("here", state.volume, state.side)
                last[state.position_id] = ("here", state.volume, state.side)
            case GhostClosed(before=state):
                assert last.get(state.position_id) != "gone"
                last[state.position_id] = "gone"
            case DriftCorrected(before=before, after=after):
                assert last.get(before.position_id) != (after.volume, after.side, after.price_open)
                last[before.position_id] = (after.volume, after.side, after.price_open)
            case FillRecorded(position_id=position_id) if position_id is not None:
                last.pop(position_id, None)
