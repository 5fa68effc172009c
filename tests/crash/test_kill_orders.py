"""Engines with orders under way, and both processes of the gateway service, killed: ``tools/faults/kill_orders.py``."""

from __future__ import annotations

from collections import Counter
from decimal import Decimal
from types import SimpleNamespace

import pytest

from tests.support.journals import new_url
from tools.faults.kill_orders import Found, World, _judge_requests, judge, run

KILLS = 16


def test_whoever_is_killed_no_order_is_lost_or_executed_twice(tmp_path):
    found = run(lambda folder: new_url("sqlite", folder), tmp_path, kills=KILLS, mode="hedging", seed=5)
    assert not found.harms
    assert found.kills >= KILLS
    assert found.executed


@pytest.fixture(scope="module")
def judged(tmp_path_factory):
    """Return a world in which an engine sent some orders and was killed, which was judged once."""
    folder = tmp_path_factory.mktemp("judged")
    found = Found()
    world = World(new_url("sqlite", folder), folder, mode="hedging", seed=8, found=found)
    try:
        world._start_engine(until_it_works=True)
        world._until_more("s", 5)
        world.check()
        assert not found.harms
        yield world
    finally:
        world.close()


def orders_of(broker):
    return [*broker.book.active.values(), *broker.book.finished.values()]


def test_an_order_that_is_sent_or_executed_twice_is_noticed(judged):
    broker = judged.service.broker()
    order = orders_of(broker)[0]
    broker.requests.append(next(row for row in broker.requests if row["comment"] == order.comment))
    broker.book.finished[1] = order
    found = Counter(harm.what for harm in judge(judged.account, broker, judged.noted))
    assert found["order_send was called 2 times"] == 1
    assert found["was executed 2 times"] == 1


def test_an_order_that_only_one_side_knows_is_noticed(judged):
    broker = judged.service.broker()
    for order in orders_of(broker):
        order.comment = "L" + "A" * 19
    found = {harm.what.partition(" ")[2] for harm in judge(judged.account, broker, {**judged.noted, "lost-1": "filled"})}
    assert "intent that was acknowledged is not in the journal" in found
    assert any("is not in the ledger" in what for what in found)
    assert any("the broker has no such order" in what for what in found)


def test_other_states_fills_positions_and_money_are_noticed(judged):
    broker = judged.service.broker()
    order = orders_of(broker)[0]
    order.state = 5 if order.done_msc else 6
    broker.terminal._deals[-1]["volume"] *= 2
    broker.terminal._open.clear()
    broker.terminal.balance += Decimal(1)
    found = [harm.what for harm in judge(judged.account, broker, judged.noted)]
    assert any("in state" in what for what in found)
    assert any("at the broker None" in what for what in found)
    assert any(what.startswith("the balance is") for what in found)


@pytest.mark.parametrize(
    ("state", "verdict"), [("denied", None), *(("rejected", one) for one in ("fenced", "expired", "not_sent"))]
)
def test_an_order_that_is_known_as_never_sent_and_was_sent_is_noticed(state, verdict):
    order = SimpleNamespace(
        client_id="k-1", state=SimpleNamespace(value=state), verdict=verdict and SimpleNamespace(value=verdict), why="so"
    )
    token = "L" + "A" * 19
    found = list(_judge_requests({token: order}, SimpleNamespace(requests=[{"comment": f"{token} tail"}])))
    assert [(harm.client_id, harm.what) for harm in found] == [
        ("k-1", f"order_send was called, and the ledger has {state} (so)")
    ]
