"""The gateway of an account of a fleet: it names its account, shares connections, and believes no answer of another one."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest

from ledger.errors import GatewayDenied, GatewayRefused, GatewayTimeout, LeaseLost, SnapshotRefused
from ledger.gateway import Gateway, OrderGateway, PushGateway
from ledger.gateway.curve import authorise, load_client_keys, load_server_keys, make_keys
from ledger.gateway.pool import AccountGateway, Pools
from ledger.protocol.messages import Head, Positions
from tests.support.fleet import names, serving
from tools.testkit.fleet import FIRST_LOGIN
from tools.testkit.fleet import Gateway as Served

ONE, TWO, STRANGER = names(3)


@pytest.fixture
def served():
    one = Served(range(FIRST_LOGIN, FIRST_LOGIN + 2), trade_every_ms=0, seed=1)
    with serving(one):
        yield one


@pytest.fixture
def pools():
    found = Pools()
    yield found
    found.close()


def asked(pools, served, account, before_use=lambda: None, **options):
    return AccountGateway(account, pools.pool(served.server.endpoint, **options), before_use)


def test_each_account_gets_its_own_answers_over_one_connection(served, pools):
    one, two = asked(pools, served, ONE), asked(pools, served, TWO)
    for gateway in (one, two, one):
        assert gateway.account().login == gateway.account_id.login
        assert gateway.positions().login == gateway.account_id.login
    assert len(pools.pool(served.server.endpoint)._idle) == 1


def test_calls_at_once_have_connections_of_their_own(served, pools):
    together = Barrier(3)
    gateways = [asked(pools, served, ONE, lambda: None) for _ in range(3)]

    def ask(gateway):
        with gateway._pool.lent():
            together.wait(30)
        return gateway.positions().login

    with ThreadPoolExecutor(3) as threads:
        assert set(threads.map(ask, gateways)) == {ONE.login}
    assert len(pools.pool(served.server.endpoint)._idle) == 3


def test_it_is_a_gateway_that_takes_orders_and_pushes_nothing(served, pools):
    gateway: Gateway = asked(pools, served, ONE)
    assert isinstance(gateway, OrderGateway)
    assert not isinstance(gateway, PushGateway)


def test_an_account_that_the_gateway_does_not_have_is_refused(served, pools):
    with pytest.raises(GatewayRefused, match="UNKNOWN_ACCOUNT"):
        asked(pools, served, STRANGER).positions()


@pytest.mark.parametrize("head", [None, "another account"])
def test_an_answer_that_may_be_of_another_account_is_refused(head, served, pools, monkeypatch):
    other = served._responders[str(TWO)].head()

    def answer(call):
        assert isinstance(other, Head)
        call.answer(Positions(head=None if head is None else other, rows=[]))

    monkeypatch.setattr(served, "take", answer)
    with pytest.raises(SnapshotRefused, match=f"expected the login {ONE.login} that was asked for, found"):
        asked(pools, served, ONE).positions()


def test_a_gateway_that_does_not_answer_is_noted_until_it_answers(served, pools, monkeypatch):
    gateway = asked(pools, served, ONE, timeout_ms=50)
    monkeypatch.setattr(served, "take", lambda _: None)
    with pytest.raises(GatewayTimeout):
        gateway.positions()
    assert gateway.silence is not None
    monkeypatch.undo()
    pools.pool(served.server.endpoint)._idle[0].timeout_ms = 30_000
    gateway.positions()
    assert gateway.silence is None


def test_other_keys_are_used_from_the_next_call_on(pools, tmp_path, monkeypatch):
    for name in ("server", "desk", "stranger"):
        make_keys(tmp_path, name)
    authorise(tmp_path / "desk.key", tmp_path / "authorised")
    right, wrong = (load_client_keys(tmp_path / f"{one}.key_secret", tmp_path / "server.key") for one in ("desk", "stranger"))
    one = Served(range(FIRST_LOGIN, FIRST_LOGIN + 1), trade_every_ms=0, seed=1)
    one.server.keys, one.server.authorised = load_server_keys(tmp_path / "server.key_secret"), tmp_path / "authorised"
    before = None
    with serving(one):
        for keys in (right, wrong, right):
            gateway = asked(pools, one, ONE, keys=keys, timeout_ms=30_000)
            if keys is wrong:
                with pytest.raises(GatewayDenied, match="does not accept our key"):
                    gateway.positions()
            else:
                assert gateway.positions().login == ONE.login
            before = gateway._pool
        assert before is not None
        with before.lent():
            assert pools.pool(one.server.endpoint, keys=wrong) is not before
        assert before._idle == []  # what was lent is not kept either


def test_a_gateway_elsewhere_is_refused_without_keys_before_it_is_asked(pools):
    with pytest.raises(GatewayDenied, match="is on another machine"):
        pools.pool("tcp://192.0.2.1:5555")
    assert pools.pool("tcp://192.0.2.1:5555", allow_insecure=True).endpoint == "tcp://192.0.2.1:5555"


def test_nothing_is_asked_and_no_answer_is_used_after_the_lease_was_lost(served, pools):
    def lost():
        raise LeaseLost("it lapsed")

    gateway = asked(pools, served, ONE)
    gateway.positions()
    gateway.before_use = lost
    with pytest.raises(LeaseLost):
        gateway.positions()
    assert served._responders[str(ONE)].received["GET_POSITIONS"] == 1
    answers = iter([None])
    gateway.before_use = lambda: next(answers, None) if served._responders[str(ONE)].received["GET_POSITIONS"] < 2 else lost()
    with pytest.raises(LeaseLost):
        gateway.positions()
