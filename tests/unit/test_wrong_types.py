"""Every public call with an argument of another type raises an error of the ledger that states what was expected."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest

from ledger import (
    Account,
    AccountId,
    BadValue,
    ClockRule,
    FillRecorded,
    Ledger,
    LedgerError,
    MetaTrader5Gateway,
    PositionRecovered,
    ReconcilePolicy,
    StateReconciler,
    open_gateway,
)
from ledger.reconciler import sync_all
from ledger.testing import fake_mt5
from tests.support.broker import ScriptedGateway
from tools.testkit.stories import START_MSC, at, cash, fill, opened, state, ticking


class Odd:
    """An object of a foreign library: nothing of it is what it seems, and looking at it fails."""

    def __repr__(self) -> str:
        raise RuntimeError("no text")

    def __int__(self) -> int:
        raise RuntimeError("no number")

    __index__ = __int__
    __float__ = __int__


#: What an argument may be given instead of what it accepts.
JUNK: tuple[Any, ...] = (
    object(), Odd(), [], {}, (), set(), b"bytes", 1.5, float("nan"), float("inf"), True, Decimal("0.5"), Decimal("NaN"), -1,
    2**70, 10**5000, "", " ", "\0", "\ud800", datetime(2024, 1, 2, tzinfo=UTC), timedelta(1), len, 1j, None,
)  # fmt: skip


def reconciler(**arguments: Any) -> StateReconciler:
    return StateReconciler(arguments.pop("account", opened()), ScriptedGateway(now_us=ticking()), **arguments)


def policy_with(name: str) -> Callable[[Any], Any]:
    return lambda it: ReconcilePolicy(**{name: it})


def gateway_with(form: Any, name: str) -> Callable[[Any], Any]:
    return lambda it: open_gateway("tcp://127.0.0.1:1", form=form, **{name: it})


def terminal_with(name: str) -> Callable[[Any], Any]:
    return lambda it: MetaTrader5Gateway(fake_mt5(), **{name: it})


def nothing(_: Any) -> bool:
    return False


#: A call with one argument, and what of the junk it accepts all the same.
CALLS: dict[str, tuple[Callable[[Any], Any], Callable[[Any], bool]]] = {
    "AccountId.server": (lambda it: AccountId(it, 1), nothing),
    "AccountId.login": (lambda it: AccountId("S", it), nothing),
    "AccountId.parse": (AccountId.parse, nothing),
    "ClockRule": (ClockRule, nothing),
    "Ledger.open": (Ledger.open, nothing),
    "Ledger.account": (lambda it: Ledger.open("memory://").account(it), nothing),
    "Ledger.account.login": (lambda it: Ledger.open("memory://").account("S/1", it), lambda it: it is None),
    "Ledger.follow.after": (lambda it: Ledger.open("memory://").follow(after=it), lambda it: it is None or it == {}),
    "Ledger.follow.poll": (lambda it: Ledger.open("memory://").follow(poll_seconds=it), lambda it: it == 1.5),
    "open.currency": (lambda it: opened(currency=it), nothing),
    "open.mode": (opened, nothing),
    "open.clock": (lambda it: opened(clock=it), nothing),
    "open.digits": (lambda it: opened(digits=it), lambda it: it is None),
    "open.time_msc": (lambda it: opened(time_msc=it), lambda it: it is None),
    "record": (lambda it: opened().record(it), nothing),
    "record.expected_version": (lambda it: opened().record(fill(1), expected_version=it), lambda it: it is None),
    "record_many": (lambda it: opened().record_many(it), lambda it: it in ([], {}, (), set()) or it == ""),
    "record_many.event": (lambda it: opened().record_many([it]), nothing),
    "record_many.correlation": (
        lambda it: opened().record_many([fill(1)], correlation=it), lambda it: it is None or it in ("", " "),
    ),
    "record_many.evidence": (lambda it: opened().record_many([fill(1)], evidence=it), lambda it: it in ([], {}, (), set())),
    "record_many.evidence.raw": (lambda it: opened().record_many([fill(1)], evidence=[it]), lambda it: isinstance(it, bytes)),
    "revise": (lambda it: opened().revise(it), nothing),
    "change_clock": (lambda it: opened().change_clock(it, operator="o", reason="r"), nothing),
    "change_clock.operator": (lambda it: opened().change_clock("+3", operator=it, reason="r"), nothing),
    "change_clock.reason": (lambda it: opened().change_clock("+3", operator="o", reason=it), nothing),
    "replay.until": (lambda it: opened().replay(until=it), lambda it: it is None or isinstance(it, datetime)),
    "replay.known_at": (lambda it: opened().replay(known_at=it), lambda it: it is None or isinstance(it, datetime)),
    "replay.version": (lambda it: opened().replay(version=it), lambda it: it is None),
    "trades.until": (lambda it: list(opened().trades(until=it)), lambda it: it is None or isinstance(it, datetime)),
    "events.after": (lambda it: list(opened().events(after=it)), nothing),
    "events.upto": (lambda it: list(opened().events(upto=it)), lambda it: it is None),
    "follow.after": (lambda it: opened().follow(after=it), nothing),
    "evidence": (lambda it: opened().evidence(it), nothing),
    "StateReconciler.account": (lambda it: reconciler(account=it), nothing),
    "StateReconciler.policy": (lambda it: reconciler(policy=it), nothing),
    "StateReconciler.interval": (lambda it: reconciler(sync_interval_sec=it), lambda it: it == 1.5),
    "StateReconciler.clock": (lambda it: reconciler(clock=it), lambda it: it is None),
    "safe_to_trade": (lambda it: reconciler().safe_to_trade(it), lambda it: it is None),
    "get_audit_trail": (lambda it: reconciler().get_audit_trail(after=it), nothing),
    "sync_all": (sync_all, lambda it: it in ([], {}, (), set()) or it == ""),
    "sync_all.one": (lambda it: sync_all([it]), nothing),
    **{
        f"ReconcilePolicy.{name}": (policy_with(name), nothing)
        for name in ("zombie", "ghost", "drift", "balance", "foreign", "ghost_confirmations", "vanish_confirmations",
                     "vanish_least", "attempts_max")
    },
    **{
        f"ReconcilePolicy.{name}": (policy_with(name), lambda it: it == 1.5)
        for name in ("settle_sec", "vanish_share", "overlap_sec", "verified_sec")
    },
    "ReconcilePolicy.magics": (
        lambda it: ReconcilePolicy(magics=it), lambda it: it is None or it in ([], {}, (), set()),
    ),
    "open_gateway": (open_gateway, nothing),
    "open_gateway.form": (lambda it: open_gateway("tcp://127.0.0.1:1", form=it), nothing),
    **{
        f"open_gateway.{form}.{name}": (gateway_with(form, name), (lambda it: it is None) if name == "timeout_ms" else nothing)
        for form in ("json", "ejtrader")
        for name in ("timeout_ms", "message_bytes_max")
    },
    "open_gateway.keys": (lambda it: open_gateway("tcp://127.0.0.1:1", keys=it), lambda it: it is None),
    "open_gateway.allow_insecure": (lambda it: open_gateway("tcp://127.0.0.1:1", allow_insecure=it), lambda it: it is True),
    "open_gateway.terminal": (lambda it: open_gateway("tcp://127.0.0.1:1", terminal=it), lambda it: it is None),
    "MetaTrader5Gateway": (MetaTrader5Gateway, nothing),
    **{
        f"MetaTrader5Gateway.{name}": (
            terminal_with(name),
            {"portable": lambda it: it is True, "timeout_ms": nothing}.get(name, lambda it: it is None),
        )
        for name in ("path", "login", "server", "portable", "timeout_ms", "lock")
    },
    "MetaTrader5Gateway.password": (
        lambda it: MetaTrader5Gateway(fake_mt5(), password=it), lambda it: it is None or isinstance(it, str),
    ),
    "FillRecorded.from_deal": (FillRecorded.from_deal, nothing),
    "FillRecorded.from_order_result": (lambda it: FillRecorded.from_order_result(it, time_msc=START_MSC), nothing),
}  # fmt: skip


@pytest.mark.parametrize("call", CALLS)
def test_an_argument_of_another_type_is_refused_with_what_was_expected(call):
    do, accepts = CALLS[call]
    refused = 0
    for junk in JUNK:
        if type(junk) is not Odd and accepts(junk):
            getattr(do(junk), "close", lambda: None)()
            continue
        with pytest.raises(LedgerError) as error:
            do(junk)
        assert len(str(error.value)) < 400
        assert str(error.value).isprintable()
        refused += 1
    assert refused


@pytest.mark.parametrize(("call", "words"), [
    (lambda account: account.record({"deal": 1}), "as FillRecorded"),
    (lambda account: account.record(None), "expected an event"),
    (lambda account: account.record("x"), "expected an event"),
    (lambda account: account.record_many(fill(1)), r"record\(\) records one"),
    (lambda account: account.record_many([fill(1), {}]), "expected an event"),
    (lambda account: account.replay(until=datetime(2024, 1, 2)), "aware"),  # noqa: DTZ001
    (lambda account: account.replay(known_at=datetime(2024, 1, 2)), "aware"),  # noqa: DTZ001
    (lambda account: account.replay(until=1_704_153_600), "as text"),
    (lambda account: account.record_many([fill(1)], evidence=b"raw"), "list of raw answers"),
    (lambda account: account.record(fill(1), expected_version=True), "a version"),
    (lambda _: fill(1, order=5001.0), r"pass int\(5001.0\) if it is exact"),
    (lambda _: fill(1, time_msc=datetime(2024, 1, 2, tzinfo=UTC)), "the server's wall clock"),
    (lambda account: account.ledger.account(AccountId("S", 1), 2), "leave 2 out"),
])  # fmt: skip
def test_an_error_states_what_to_do(call: Callable[[Account], Any], words):
    account = opened()
    with pytest.raises(BadValue, match=words):
        call(account)
    assert account.version == 1


def test_a_moment_with_a_zone_is_accepted_in_any_zone():
    account = opened()
    account.record(cash(1, time_msc=at(5)))
    moment = datetime.fromtimestamp(at(5) / 1000, timezone(timedelta(hours=5)))
    assert account.replay(until=moment).balance == 100
    assert account.replay(until=moment - timedelta(milliseconds=1)).balance == 0


def test_floats_are_numbers_of_lots_prices_and_money_and_nothing_else():
    recorded = fill(1, volume=0.1, price=1.1, profit=-1.8900000000000001)
    account = opened()
    account.record(recorded)
    (event,) = [one.event for one in account.events(after=1)]
    assert isinstance(event, FillRecorded)
    assert (event.volume, event.price, event.profit) == (Decimal("0.1"), Decimal("1.1"), Decimal("-1.89"))
    for field in ("deal", "order", "position_id", "magic", "reason", "time_msc", "entry", "side"):
        with pytest.raises(BadValue):
            fill(**({"deal": 1, "time_msc": at(1), field: 1.0}))  # type: ignore[arg-type]


def test_a_state_is_a_state_or_its_fields():

    for wrong in ({"position_id": 7}, {"nonsense": 1}, {7: 8}, "x", None, [("position_id", 7)]):
        with pytest.raises(BadValue, match="PositionState"):
            PositionRecovered(position=wrong, time_msc=at(1))  # type: ignore[arg-type]
    assert PositionRecovered(position=state("long 1 @ 10"), time_msc=at(1)).position_id == 7


def test_what_was_asked_before_makes_no_other_type_right():
    account = opened()
    account.replay(version=1)
    with pytest.raises(LedgerError):
        account.replay(version=True)
