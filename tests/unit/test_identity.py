"""Identity does not weaken: an account that was seen through answers stating login and server is of no other answers."""

from __future__ import annotations

from typing import Any

import attrs
import pytest

from ledger import (
    AccountId,
    BadValue,
    Event,
    GatewayIdentified,
    IdentityRelaxed,
    IdentityRequired,
    Ledger,
    Outcome,
    Portfolio,
    SnapshotRefused,
    StateReconciler,
    SyncStatus,
)
from ledger.codec import natural_key
from ledger.gateway.mql5_json_api import read_positions
from tests.support.broker import ACCOUNT, Desk, ScriptedGateway, Watch, kinds, reconciler
from tests.support.journals import new_url
from tools.testkit.stories import START_MSC, Story, at

WHO: dict[str, str] = {"operator": "mk", "reason": "the old bridge is back"}
IDENTIFIED = GatewayIdentified(login=ACCOUNT.login, server=ACCOUNT.server, form="extended", time_msc=START_MSC)
#: What another program may answer, or the same one after it was changed for the worse.
WEAKER: list[dict[str, Any]] = [{"login": None, "server": None}, {"login": None}, {"server": None}]


def identified(recorded: str = "#7 buy 1 @ 10", shows: str = "#7 long 1 @ 10", **terms: Any) -> Desk:
    """Return a desk whose first sync was answered with login and server."""
    desk = Desk(recorded, shows, extended=True, identified=False, **terms)
    assert desk.startup().status is SyncStatus.SUCCESS
    return desk


def by_another_program(desk: Desk, shows: str = "") -> StateReconciler:
    """Let another program answer from now on, in the base form, to a reconciler that has just started."""
    desk.broker = ScriptedGateway(shows, now_us=desk.watch)
    return desk.restarted()


# --------------------------------------------------------------------------------------------------------- the first answer


def test_the_first_answer_that_states_login_and_server_is_recorded_once():
    desk = identified()
    (event,) = [one.event for one in desk.log if isinstance(one.event, GatewayIdentified)]
    assert (event.login, event.server, event.form) == (70113, "Broker-Live", "extended")
    assert b"SUCCESS" in desk.account.evidence(event.evidence or "")
    version = desk.account.version
    for _ in range(3):
        desk.restarted()
        assert desk.startup().appended == 0
    assert desk.account.version == version


def test_a_base_form_that_states_login_and_server_identifies_too():
    desk = Desk("#7 buy 1 @ 10", "#7 long 1 @ 10")
    desk.broker.amiss(login=ACCOUNT.login, server=ACCOUNT.server)
    assert kinds(desk.sync().events) == ["GatewayIdentified"]
    seen = desk.account.portfolio.identity.seen
    assert seen is not None
    assert seen.form == "base"
    desk.broker.recover().show("")
    assert desk.sync().status is SyncStatus.DEGRADED


def test_an_answer_that_is_not_usable_identifies_nothing():
    desk = Desk("#7 buy 1 @ 10", "#7 long 1 @ 10", extended=True, identified=False)
    desk.broker.amiss(count=5)
    desk.sync()
    assert desk.account.portfolio.identity.seen is None


def test_an_answer_that_states_one_of_both_only_identifies_nothing():
    desk = Desk("#7 buy 1 @ 10", "#7 long 1 @ 10", extended=True, identified=False)
    desk.broker.amiss(server=None)
    assert desk.sync().status is SyncStatus.SUCCESS
    assert desk.account.portfolio.identity.seen is None


def test_an_account_whose_gateway_never_states_it_works_as_ever():
    desk = Desk("#7 buy 1 @ 10")
    assert [desk.sync().status for _ in range(2)] == [SyncStatus.PARTIAL, SyncStatus.SUCCESS]
    assert desk.left == "flat; ghost result 1"


def test_an_identity_that_was_seen_survives_a_sync_that_failed_behind_it():
    desk = Desk("#7 buy 1 @ 10", "#7 long 1 @ 10", extended=True, identified=False)
    desk.broker.fail(SnapshotRefused("a row is no row"), on="deals")
    assert desk.sync().status is SyncStatus.DEGRADED
    by_another_program(desk)
    assert [desk.sync().status for _ in range(3)] == [SyncStatus.DEGRADED] * 3


# ------------------------------------------------------------------------------------------------------ answers without it


@pytest.mark.parametrize("shows", ["", "#8 long 9 @ 9"], ids=["flat", "something else"])
@pytest.mark.parametrize("mode", ["hedging", "netting"])
def test_another_program_on_the_port_is_refused_however_often_it_answers(shows, mode):
    desk = identified(mode=mode)
    left = desk.left
    service = by_another_program(desk, shows)
    first = desk.sync()
    assert (first.status, kinds(first.events)) == (SyncStatus.DEGRADED, ["SyncDegraded"])
    assert "--allow-base-form" in str(first.reason)
    for _ in range(5):
        service = desk.restarted()
        for result in (desk.sync(), desk.startup(), service.dry_run(), service.dry_run(startup=True)):
            assert (result.status, result.appended) == (SyncStatus.DEGRADED, 0)
        with pytest.raises(SnapshotRefused, match="identity"):
            service.detect_drift()
        assert not service.safe_to_trade("EURUSD")
    assert (desk.left, desk.breaks) == (left, [])


@pytest.mark.parametrize("weaker", WEAKER, ids=" and ".join)
def test_an_answer_that_states_less_than_before_is_refused_with_what_is_missing(weaker):
    desk = identified()
    desk.broker.show("").amiss(**weaker)
    result = desk.sync(3)
    assert (result.status, desk.left) == (SyncStatus.DEGRADED, "#7 long 1 @ 10")
    assert all(name in str(result.reason) for name in weaker)
    desk.broker.recover().show("#7 long 1 @ 10")
    assert kinds(desk.sync().events) == ["SyncRestored"]


@pytest.mark.parametrize("weaker", WEAKER, ids=" and ".join)
@pytest.mark.parametrize("is_known", [False, True], ids=["first contact", "later"])
def test_deals_without_identity_are_refused_in_the_same_sync(weaker, is_known):
    desk = Desk("#7 buy 1 @ 10", "#7 long 1 @ 10", extended=True, identified=is_known)
    deals = desk.broker.deals
    desk.broker.report(desk.cash(50, 10_000))
    desk.broker.deals = lambda **about: attrs.evolve(deals(**about), **weaker)  # type: ignore[method-assign]
    assert (desk.sync().status, desk.story.balance) == (SyncStatus.DEGRADED, "0")


def test_a_program_that_gets_the_port_in_the_middle_of_a_sync_is_refused():
    desk = Desk("#7 buy 1 @ 10", "#7 long 1 @ 10", extended=True, identified=False)

    def taken_over() -> None:  # deals happened meanwhile, so that positions are asked for again
        desk.watch.move(1)
        desk.broker.report(desk.fill(50, 8)).show("").amiss(login=None, server=None)

    desk.broker.meanwhile(taken_over)
    result = desk.sync()
    assert (result.status, desk.left) == (SyncStatus.DEGRADED, "#7 long 1 @ 10, #8 long 1 @ 10")


def test_another_format_that_states_no_identity_is_the_base_form():
    snapshot = read_positions(b'{"error": false, "positions": []}')
    desk = Desk("#7 buy 1 @ 10")
    desk.broker.positions = lambda: snapshot  # type: ignore[method-assign]
    assert desk.sync(2).closed == (7,)
    other = identified()
    other.broker.positions = lambda: snapshot  # type: ignore[method-assign]
    assert (other.sync(3).status, other.left) == (SyncStatus.DEGRADED, "#7 long 1 @ 10")


@pytest.mark.parametrize("database", ["sqlite", "postgres"])
def test_what_one_process_saw_holds_for_the_next_one(database, tmp_path):
    url = new_url(database, tmp_path)
    desk = identified(journal=url)
    with Ledger.open(url, now_us=desk.watch) as other:
        service = reconciler(other.account(ACCOUNT), ScriptedGateway("", now_us=desk.watch), desk.watch)
        assert [service.startup_recovery().status for _ in range(3)] == [SyncStatus.DEGRADED] * 3
        assert list(other.account(ACCOUNT).portfolio.positions) == [7]
        assert other.verify().ok
    desk.account.ledger.close()


# ------------------------------------------------------------------------------------------------------------ a person's word


def test_a_person_allows_the_base_form_and_it_stays_allowed():
    desk = identified()
    by_another_program(desk, "#7 long 1 @ 10")
    assert desk.sync().status is SyncStatus.DEGRADED
    assert desk.account.relax_identity(**WHO) is Outcome.APPENDED
    assert kinds(desk.sync().events) == ["SyncRestored"]
    desk.broker = ScriptedGateway("#7 long 1 @ 10", extended=True, now_us=desk.watch)
    desk.restarted()
    assert (desk.sync().status, desk.sync().appended) == (SyncStatus.SUCCESS, 0)
    by_another_program(desk)
    assert desk.startup().closed == (7,)


def test_a_person_requires_the_identity_again():
    desk = identified()
    desk.account.relax_identity(**WHO)
    assert desk.account.require_identity(operator="mk", reason="the old bridge is gone") is Outcome.APPENDED
    by_another_program(desk)
    assert desk.sync(3).status is SyncStatus.DEGRADED
    desk.account.relax_identity(**WHO)
    assert desk.sync(2).closed == (7,)


def test_a_person_may_decide_before_any_answer_states_it():
    strict, lenient = Desk("#7 buy 1 @ 10"), Desk("#7 buy 1 @ 10", "#7 long 1 @ 10", extended=True, identified=False)
    strict.account.require_identity(**WHO)
    assert strict.sync(3).status is SyncStatus.DEGRADED
    lenient.account.relax_identity(**WHO)
    assert lenient.sync().status is SyncStatus.SUCCESS
    by_another_program(lenient, "#7 long 1 @ 10")
    assert lenient.sync().status is SyncStatus.SUCCESS


def test_the_same_decision_again_records_nothing():
    desk = identified()
    desk.account.relax_identity(**WHO)
    version = desk.account.version
    assert desk.account.relax_identity(operator="other", reason="again") is Outcome.DUPLICATE
    assert desk.account.version == version


@pytest.mark.parametrize("event", [IdentityRelaxed, IdentityRequired])
@pytest.mark.parametrize("wrong", ["operator", "reason"])
def test_a_decision_states_who_and_why(event, wrong):
    with pytest.raises(BadValue, match="must be given"):
        event(**(WHO | {wrong: " "}), time_msc=0)


# ------------------------------------------------------------------------------------------------------------------ the fold

DECISIONS: list[Event] = [
    IDENTIFIED,
    IdentityRelaxed(operator="a", reason="r", time_msc=at(30)),
    IdentityRequired(operator="b", reason="r", time_msc=at(20)),
    IdentityRelaxed(operator="c", reason="r", time_msc=at(10)),
]


@pytest.mark.parametrize(("count", "is_required"), [(0, False), (1, True), (2, False), (3, True), (4, False)])
def test_the_last_decision_applies_whatever_moments_they_name(count, is_required):
    story = Story()
    story.account.record_many(DECISIONS[:count])
    assert story.portfolio.identity.is_required is is_required
    assert story.account.replay(checkpoints=False).identity == story.portfolio.identity


def test_the_identity_is_part_of_a_checkpoint():
    story = Story()
    story.account.record_many(DECISIONS[:3])
    portfolio = story.portfolio
    again = Portfolio.from_state(portfolio.terms, portfolio.state())
    assert (again.identity, again.state()) == (portfolio.identity, portfolio.state())


def test_an_account_is_identified_under_one_key():
    again = GatewayIdentified(login=1, server="Other", form="base", time_msc=at(9))
    assert natural_key(IDENTIFIED) == natural_key(again)


def test_two_reconcilers_record_the_first_answer_once():
    watch = Watch()
    account = Ledger.open("memory://", now_us=watch).account(AccountId("Broker-Live", 70113))
    account.open(currency="USD", mode="hedging", time_msc=START_MSC)
    gateway = ScriptedGateway("#7 long 1 @ 10", extended=True, now_us=watch)
    one, other = reconciler(account, gateway, watch), reconciler(account, gateway, watch)
    gateway.meanwhile(other.sync_positions)
    assert one.startup_recovery().status is SyncStatus.SUCCESS
    assert [event.kind for event in account.events()].count("GatewayIdentified") == 1
