"""Stories of alerts over a journal: what each kind of trouble makes of notices, from its beginning to its end.

Notices go to a real HTTP receiver on this machine. The test lets time pass; nothing here waits for a clock.
"""

from __future__ import annotations

import hashlib
import hmac
import shutil
import threading
from decimal import Decimal

import pytest

from ledger import AccountId, Ledger
from ledger.adjustments import apply, propose_acceptance
from ledger.alerts.conditions import LimitState
from ledger.alerts.notices import WIDTH
from ledger.errors import CorruptEvent, JournalBusy
from ledger.events import SyncDegraded, SyncRestored
from ledger.journal import Difference
from ledger.journal.memory import MemoryJournal
from ledger.journal.notices import RESOLVED
from ledger.journal.upkeep import VERIFY
from ledger.proposals import CorrectionRequest, approve, propose, set_policy
from ledger.proposals import note as note_break
from ledger.upkeep import note
from tests.support.alerts import MINUTE, WEBHOOK, Desk, Receiver, ghost_opened, settings_file
from tests.support.journals import ACCOUNT, OTHER, START_MSC, Clock, fill, opened

THREE = '[alerts]\nroutes = [["desk"], ["desk", "mail"], ["phone"]]\n' + "".join(
    f'[alerts.channels.{name}]\ntype = "webhook"\nurl_file = "{name}"\n' for name in ("desk", "mail", "phone")
)


@pytest.fixture
def receiver():
    with Receiver() as receiver:
        yield receiver


@pytest.fixture
def desk_of(tmp_path, receiver):
    """Make a desk whose channels all lead to the receiver, each with its name as path."""
    made = []

    def make(*accounts, text=WEBHOOK, **secrets):
        urls = {name: f"{receiver.url}/{name}" for name in ("desk", "mail", "phone", "ping")}
        clock = Clock()
        made.append(Desk(Ledger(MemoryJournal(clock), clock), settings_file(tmp_path, text, **(urls | secrets)), *accounts))
        return made[-1]

    yield make
    for one in made:
        one.__exit__()


def arrived(receiver, begin=0):
    """Return channel, state and title of what arrived."""
    return [(one.path[1:], one.json()["state"], one.json()["title"]) for one in receiver.got[begin:]]


GHOST = "Broker-Live/70113: ghost 7 EURUSD"


# ---- of breaks


def test_a_break_is_one_notice_escalates_with_its_age_and_is_resolved_once_everywhere(desk_of, receiver):
    desk = desk_of(text=THREE)
    version = desk.append(ghost_opened())
    desk.round(59)
    assert receiver.got == []
    desk.round(2)
    assert arrived(receiver) == [("desk", "open", GHOST)]
    desk.append(ghost_opened(caused_by=version, confirmations=2))  # the same break, seen again
    desk.round(13 * 60)
    assert len(receiver.got) == 1
    desk.round(60)
    assert sorted(arrived(receiver, 1)) == [("desk", "escalated", GHOST), ("mail", "escalated", GHOST)]
    desk.round(45 * 60)
    assert arrived(receiver, 3) == [("phone", "escalated", GHOST)]
    desk.close_break(version)
    desk.round(5)
    assert sorted(arrived(receiver, 4)) == [(name, "resolved", GHOST) for name in ("desk", "mail", "phone")]
    for _ in range(3):
        desk.round(3600)
    assert len(receiver.got) == 7
    keys = {one.json()["key"] for one in receiver.got}
    assert keys == {f"ledger:{desk.ledger.journal.identity()}:{ACCOUNT}:{version}"}


def test_a_notice_states_what_a_person_needs(desk_of, receiver):
    desk = desk_of()
    desk.append(fill(7))
    version = desk.append(ghost_opened())
    desk.round(61)
    (got,) = (one.json() for one in receiver.got)
    assert got | {"text": "", "id": "", "key": ""} == {
        "key": "", "id": "", "text": "", "state": "open", "stage": 0, "title": GHOST, "kind": "ghost", "subject": "7 EURUSD",
        "account": {"server": "Broker-Live", "login": 70113}, "server": "Broker-Live", "symbol": "EURUSD",
        "what": "we hold a position that the broker does not have", "since": "2026-01-05T10:00:00.000002Z", "age_sec": 60,
        "ours": "buy 1 EURUSD @ 1.1", "theirs": None, "safe_to_trade": False, "cause": None, "owner": None, "outcome": None,
        "why_not_safe": "a ghost of EURUSD is open: buy 1 EURUSD @ 1.1", "next": f"ledger breaks --account {ACCOUNT}",
        "sent_at": "2026-01-05T10:01:01.000000Z",
    }  # fmt: skip
    lines = got["text"].splitlines()
    assert max(map(len, lines)) <= WIDTH
    assert lines[0] == f"OPEN {GHOST}"
    assert [line.split()[0] for line in lines[2:8]] == ["what", "since", "ours", "broker", "safe", "next"]
    account = desk.account
    apply(account, propose_acceptance(account, position_id=7, operator="ann", reason="phoned"))
    desk.round(10)
    ended = receiver.got[-1].json()
    assert (ended["state"], ended["stage"], ended["safe_to_trade"], ended["ours"]) == ("resolved", None, True, got["ours"])
    assert ended["outcome"] == {"how": f"accepted, v{version + 2}", "by": "ann", "at": "2026-01-05T10:01:01.000001Z"}
    assert "ended    accepted, v5 by ann at 2026-01-05 10:01:01 UTC" in ended["text"]


def test_a_break_of_a_figure_is_named_once(desk_of, receiver):
    desk = desk_of()
    desk.append(ghost_opened(None, kind="balance", symbol=None, field="balance", ours="100.00", theirs="99.50"))
    desk.round(61)
    assert arrived(receiver) == [("desk", "open", "Broker-Live/70113: balance")]
    assert receiver.got[0].json()["safe_to_trade"] is True  # money that does not add up shows nothing about positions


def test_a_break_that_closes_within_the_grace_period_is_never_reported(desk_of, receiver):
    desk = desk_of()
    version = desk.append(ghost_opened())
    desk.round(50)
    desk.close_break(version)
    desk.round(11)
    desk.round(3600)
    assert receiver.got == []


@pytest.mark.parametrize("fields", [{"attempts": 3}, {"flaps": 4}])
def test_a_break_that_needs_a_person_escalates_at_once(desk_of, receiver, fields):
    desk = desk_of(text=THREE)
    version = desk.append(ghost_opened())
    desk.append(ghost_opened(caused_by=version, confirmations=2, **fields))
    desk.round(5)
    assert sorted(arrived(receiver)) == [("desk", "escalated", GHOST), ("mail", "escalated", GHOST)]


def test_a_restart_repeats_nothing_and_forgets_nothing(desk_of, receiver):
    desk = desk_of()
    version = desk.append(ghost_opened())
    desk.round(61)
    desk.restart()
    desk.round(60)
    desk.restart()
    desk.close_break(version)
    desk.round(60)
    desk.restart()
    desk.round(60)
    assert receiver.notices == [("open", 0), ("resolved", None)]


def test_two_alerters_at_once_send_each_stage_at_most_once_more(desk_of, receiver):
    desk = desk_of()
    other = desk.new_alerter()
    version = desk.append(ghost_opened())
    desk.wait(61)
    receiver.holding = threading.Event()
    desk.alerter.round()
    other.round()
    for _ in range(2):
        assert receiver.arrived.acquire(timeout=30)  # both are sending, and neither has recorded it
    receiver.holding.set()
    receiver.holding = None
    assert desk.alerter.wait(30)
    assert other.wait(30)
    assert receiver.notices == [("open", 0)] * 2
    desk.close_break(version)
    for one in (desk.alerter, other) * 2:
        one.round()
        assert one.wait(30)
    assert receiver.notices == [("open", 0)] * 2 + [("resolved", None)]
    other.close(30)


def test_what_another_alerter_has_sent_meanwhile_is_not_sent_again(desk_of, receiver):
    desk = desk_of()
    other = desk.new_alerter()
    desk.append(ghost_opened())
    desk.wait(61)
    begun, going = threading.Event(), threading.Event()

    def hold():
        begun.set()
        going.wait(30)

    other.deliveries["desk"]._lane.offer(hold)
    assert begun.wait(30)
    assert len(other.round().dues) == 1  # it waits behind what is under way
    desk.round()
    going.set()
    assert other.wait(30)
    assert receiver.notices == [("open", 0)]
    other.close(30)


# ---- channels


def test_a_dead_channel_delays_no_other_and_gets_later_what_is_still_true(desk_of, receiver, tmp_path):
    desk = desk_of(text=THREE.replace('[["desk"], ["desk", "mail"], ["phone"]]', '[["desk", "mail"]]'))
    with Receiver() as dead:
        (tmp_path / "mail").write_text(dead.url, encoding="utf-8")
        dead.holding = threading.Event()  # it accepts requests and never answers
        first, second = desk.append(ghost_opened()), desk.append(ghost_opened(8))
        desk.wait(61)
        desk.alerter.round()
        assert dead.arrived.acquire(timeout=30)
        assert desk.alerter.deliveries["desk"].wait(30)
        assert [path for path, _, _ in arrived(receiver)] == ["desk"] * 2
        desk.close_break(second, position=8)
        desk.alerter.round()
        assert desk.alerter.deliveries["desk"].wait(30)
        assert arrived(receiver, 2) == [("desk", "resolved", GHOST.replace(" 7 ", " 8 "))]
        dead.status = 500
        dead.holding.set()
        dead.holding = None
        assert desk.alerter.wait(30)
        failed = desk.log.of("not sent")
        assert [(one["channel"], one["why"], one["again_sec"]) for one in failed] == [
            ("mail", "expected HTTP 2xx, the receiver answered 500", 1.0)
        ]
        desk.round()
        assert len(dead.got) == 1  # not before its time
        dead.status = 200
        desk.round(2)
        assert [one.json()["key"].rpartition(":")[2] for one in dead.got[1:]] == [str(first)]  # the second is over


def test_pauses_get_longer_while_a_channel_fails_and_end_with_its_first_success(desk_of, receiver):
    desk = desk_of()
    receiver.status = 503
    desk.append(ghost_opened())
    desk.wait(61)
    for _ in range(700):
        desk.round(1)
    pauses = [one["again_sec"] for one in desk.log.of("not sent")]
    assert pauses == [1, 2, 4, 8, 16, 32, 64, 128, 256, 300]
    receiver.status = 200
    desk.round(300)
    receiver.status = 503
    desk.append(ghost_opened(8))
    desk.round(61)
    assert desk.log.of("not sent")[-1]["again_sec"] == 1


def test_a_notice_that_a_channel_refuses_is_no_obstacle_for_the_others(desk_of, receiver):
    desk = desk_of()
    desk.append(ghost_opened())
    receiver.status = 400
    desk.round(61)
    desk.append(ghost_opened(8))
    receiver.status = 200
    desk.round(62)
    assert [title[-9:] for _, _, title in arrived(receiver, 1)] == [" 8 EURUSD", " 7 EURUSD"]


def test_what_was_sent_and_could_not_be_recorded_is_recorded_later_and_not_sent_again(desk_of, receiver, monkeypatch):
    desk = desk_of()
    journal, save = desk.ledger.journal, desk.ledger.journal.save_notice

    def busy(_):
        raise JournalBusy("somebody writes")

    monkeypatch.setattr(journal, "save_notice", busy)
    desk.append(ghost_opened())
    desk.round(61)
    desk.round(5)
    assert (len(receiver.got), journal.sent_notices()) == (1, [])
    monkeypatch.setattr(journal, "save_notice", save)
    desk.round(5)
    assert (len(receiver.got), len(journal.sent_notices())) == (1, 1)


def test_a_fault_of_ours_in_one_channel_ends_neither_it_nor_the_others(desk_of, receiver, monkeypatch):
    desk = desk_of(text=THREE.replace('[["desk"], ["desk", "mail"], ["phone"]]', '[["desk", "mail"]]'))
    monkeypatch.setattr(desk.alerter.deliveries["mail"], "_send", lambda _: 1 / 0)
    desk.append(ghost_opened())
    desk.round(61)
    assert arrived(receiver) == [("desk", "open", GHOST)]
    assert desk.log.of("delivery failed") == [
        {"level": "error", "event": "delivery failed", "channel": "mail", "why": "ZeroDivisionError", "again_sec": 1.0}
    ]
    monkeypatch.undo()
    desk.round(5)
    assert arrived(receiver, 1) == [("mail", "open", GHOST)]


def test_what_stops_causes_limits_or_one_account_stops_nothing_else(desk_of, receiver, monkeypatch, caplog):
    desk = desk_of(ACCOUNT, OTHER)
    survey = desk.alerter._survey
    survey._causes = survey._limits = lambda *_: 1 / 0
    monkeypatch.setattr(desk.ledger.account(OTHER), "current_with_orders", lambda: 1 / 0)
    version = desk.append(ghost_opened())
    desk.round(61)
    assert sorted(title for _, _, title in arrived(receiver)) == [GHOST, "Broker-Live/70114: unreadable"]
    assert {message.partition(":")[0] for message in caplog.messages} == {
        "the causes of the breaks of Broker-Live/70113 cannot be found", "the limits of Broker-Live/70113 cannot be computed",
        "the limits of Broker-Live/70114 cannot be computed",
    }  # fmt: skip
    monkeypatch.setattr(survey, "ended", lambda *_: 1 / 0)
    desk.close_break(version)
    desk.round(1)
    ended = receiver.got[-1].json()
    assert (ended["state"], ended["outcome"]["how"], ended["account"]["login"]) == ("resolved", "over", 70113)


def test_a_webhook_is_signed_and_has_keys(desk_of, receiver):
    desk = desk_of(text=f'{WEBHOOK}secret_file = "hmac"\n', hmac="sésame")
    version = desk.append(ghost_opened())
    desk.round(61)
    desk.close_break(version)
    desk.round(1)
    for one, last in zip(receiver.got, ("0", "resolved"), strict=True):
        digest = hmac.new("sésame".encode(), one.body, hashlib.sha256).hexdigest()
        assert one.headers["X-Ledger-Signature"] == f"sha256={digest}"
        assert one.headers["Content-Type"] == "application/json"
        assert one.headers["X-Ledger-Key"] == one.json()["key"]
        assert one.headers["Idempotency-Key"] == one.json()["id"] == f"{one.json()['key']}:{last}"


def test_a_redirect_is_not_followed(desk_of, receiver):
    desk = desk_of()
    receiver.status, receiver.location = 302, f"{receiver.url}/elsewhere"
    desk.append(ghost_opened())
    desk.round(61)
    assert [one.path for one in receiver.got] == ["/desk"]
    assert desk.log.of("not sent")[0]["why"] == "expected HTTP 2xx, the receiver answered 302"


# ---- syncs


def test_a_degraded_account_is_one_notice_whatever_becomes_of_it_until_it_is_verified(desk_of, receiver):
    desk = desk_of()
    desk.append(SyncDegraded(reason="timeout", time_msc=START_MSC))
    desk.silent[ACCOUNT] = {"status": "DEGRADED", "reason": "timeout"}
    desk.round(30)
    assert receiver.got == []
    desk.round(60)
    assert arrived(receiver) == [("desk", "open", "Broker-Live/70113: no usable sync")]
    assert receiver.got[0].json()["what"] == "DEGRADED: timeout"
    desk.silent[ACCOUNT] = {}  # the daemon dies: degraded becomes stale
    desk.round(300)
    assert len(receiver.got) == 1
    desk.silent.clear()
    desk.round(10)  # it is synced again, and the journal still has it as degraded
    assert len(receiver.got) == 1
    desk.append(SyncRestored(time_msc=START_MSC))
    desk.round(10)
    assert arrived(receiver, 1) == [("desk", "resolved", "Broker-Live/70113: no usable sync")]
    assert receiver.got[1].json()["safe_to_trade"] is True


def test_an_account_that_was_never_synced_is_reported(desk_of, receiver):
    desk = desk_of(ACCOUNT, OTHER)
    never = AccountId("Broker-Live", 1)
    desk.ledger.account(never).open(currency="USD", mode="hedging")
    desk.round(61)
    assert [(one.json()["account"]["login"], one.json()["what"][:24]) for one in receiver.got] == [
        (1, "nothing was verified yet")
    ]


def test_only_the_accounts_of_the_settings_are_watched(desk_of, receiver):
    desk = desk_of(ACCOUNT, OTHER, text=f'[alerts]\naccounts = ["{OTHER}"]\n{WEBHOOK}')
    for one in (ACCOUNT, OTHER):
        desk.append(ghost_opened(), account=one)
    desk.round(61)
    assert [one.json()["account"]["login"] for one in receiver.got] == [OTHER.login]


def test_a_server_without_syncs_is_one_notice_and_accounts_follow_only_if_it_does_not_recover(desk_of, receiver):
    accounts = [AccountId("Big", number) for number in range(1, 7)]
    desk = desk_of(*accounts, ACCOUNT)
    for one in accounts:
        desk.silent[one] = {"status": "DEGRADED", "reason": "timeout"}
    desk.round(30)
    desk.round(91)
    assert arrived(receiver) == [("desk", "open", "Big: accounts degraded")]
    assert receiver.got[0].json()["what"].startswith("6 of 6 accounts have no usable sync; of Big/1: ")
    for one in accounts[1:]:
        del desk.silent[one]
    desk.round(5)
    assert arrived(receiver, 1) == [("desk", "resolved", "Big: accounts degraded")]
    desk.round(50)
    assert len(receiver.got) == 2  # the last one has the grace period again
    desk.round(11)
    assert arrived(receiver, 2) == [("desk", "open", "Big/1: no usable sync")]


# ---- limits, the disk, accounts that cannot be read


def test_limits_that_cannot_be_computed_hide_no_other_accounts_limits(desk_of, receiver):
    desk = desk_of(ACCOUNT, OTHER)
    desk.alerter._survey._limits = lambda one, _: [limit("breached")] if one.name == ACCOUNT else 1 / 0
    desk.round(1)
    assert arrived(receiver) == [("desk", "escalated", "Broker-Live/70113: limit daily_loss breached")]


def limit(state, day="2026-01-05"):
    return LimitState(account=ACCOUNT, limit="daily_loss", day=day, state=state, what=f"lost {Decimal('81.5')} of 100 USD")


def test_a_limit_is_reported_once_a_day_when_it_is_near_and_once_when_it_is_breached(desk_of, receiver):
    desk = desk_of(text=THREE)
    title = "Broker-Live/70113: limit daily_loss"
    for state in ("ok", "near", "near", "unknown", "near"):
        desk.limits = [limit(state)]
        desk.round(30)
    assert arrived(receiver) == [("desk", "open", f"{title} near")]
    assert "\nsafe     yes, it is safe to trade\nnext     ledger monitors --account" in receiver.got[0].json()["text"]
    desk.limits = [limit("ok")]
    desk.round(30)
    desk.limits = [limit("near")]
    desk.round(30)
    assert arrived(receiver, 1) == [("desk", "resolved", f"{title} near")]  # near again: one a day
    desk.limits = [limit("breached")]
    desk.round(30)
    desk.round(9 * 3600)
    assert sorted(arrived(receiver, 2)) == [(name, "escalated", f"{title} breached") for name in ("desk", "mail")]
    desk.limits = [limit("breached", "2026-01-06")]
    desk.round(30)
    assert sorted(arrived(receiver, 4)) == [(name, "escalated", f"{title} breached") for name in ("desk", "mail")]
    desk.limits = [limit("ok", "2026-01-07")]
    desk.round(30)
    assert sorted(arrived(receiver, 6)) == [(name, "resolved", f"{title} breached") for name in ("desk", "mail")]
    desk.limits = []
    desk.round(30)
    assert len(receiver.got) == 8


def test_an_event_that_is_gone_from_an_account_hides_no_other_accounts_breaks(desk_of, receiver, monkeypatch):
    desk = desk_of(ACCOUNT, OTHER)
    desk.append(ghost_opened(), account=OTHER)
    desk.round()  # what is read of an account is remembered
    rows = desk.ledger.journal.rows
    monkeypatch.setattr(desk.ledger.journal, "rows", lambda name, **how: iter(()) if name == OTHER else rows(name, **how))
    desk.alerter._survey._opened_us.clear()
    desk.append(ghost_opened())
    for _ in range(3):
        desk.round(61)
    assert sorted(title for _, _, title in arrived(receiver)) == [GHOST, "Broker-Live/70114: unreadable"]


def test_a_full_disk_is_reported_until_there_is_space(desk_of, receiver, monkeypatch, tmp_path):
    desk = desk_of()
    free = {"bytes": 2**29}
    monkeypatch.setattr(desk.ledger.journal, "file", lambda: tmp_path / "journal.db")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: type("Usage", (), {"free": free["bytes"]}))
    for _ in range(3):
        desk.round(120)
    assert arrived(receiver) == [("desk", "open", "the journal: disk nearly full")]
    assert receiver.got[0].json()["what"].startswith("512 MiB are free")
    free["bytes"] = 2**31
    desk.round(60)
    assert arrived(receiver, 1) == [("desk", "resolved", "the journal: disk nearly full")]


def test_a_trigger_that_somebody_took_away_is_reported_until_it_is_there_again(desk_of, receiver, monkeypatch):
    desk = desk_of()
    gone = Difference(kind="trigger", name="events_no_update", what="missing")
    slow = Difference(kind="index", name="ix_events", what="missing")
    for differences in ((slow,), (slow, gone), ()):
        monkeypatch.setattr(desk.ledger.journal, "schema_differences", lambda found=differences: found)
        for _ in range(3):
            desk.round(1800)
    assert arrived(receiver) == [("desk", state, "the journal: not protected") for state in ("open", "resolved")]
    assert receiver.got[0].json()["what"] == "events can be changed: trigger events_no_update is missing"


def test_what_a_verification_found_and_one_too_long_ago_are_each_one_notice_until_they_are_over(desk_of, receiver):
    desk = desk_of(text=f"[upkeep]\nverify_hours = 1\n{WEBHOOK}")
    journal, now_us = desk.ledger.journal, desk.ledger.now_us
    found, old = "the journal: verification failed", "the journal: not verified for long"
    note(journal, VERIFY, now_us(), problems=2, problem="Broker-Live/70113 version 5, hash: it is another")
    for _ in range(3):
        desk.round(60)
    assert arrived(receiver) == [("desk", "open", found)]
    assert "2 problems found" in receiver.got[0].json()["what"]
    assert "version 5, hash" in receiver.got[0].json()["what"]
    note(journal, VERIFY, now_us())
    desk.round(60)
    assert arrived(receiver, 1) == [("desk", "resolved", found)]
    desk.restart()
    for _ in range(3):
        desk.round(3600)
    assert arrived(receiver, 2) == [("desk", "open", old)]
    note(journal, VERIFY, now_us())
    desk.round(60)
    assert arrived(receiver, 3) == [("desk", "resolved", old)]


def test_whoever_takes_a_break_over_is_not_reminded_of_it_for_four_hours(desk_of, receiver):
    desk = desk_of(text=THREE)
    version = desk.append(ghost_opened())
    desk.round(61)
    assert arrived(receiver) == [("desk", "open", GHOST)]
    note_break(desk.account, version, operator="ann", text="I phone them")  # nobody took it over by that
    desk.round(15 * 60)
    assert sorted(arrived(receiver, 1)) == [("desk", "escalated", GHOST), ("mail", "escalated", GHOST)]
    note_break(desk.account, version, operator="ann", text="mine", owner="ann")
    for _ in range(2):
        desk.round(119 * 60)
        desk.restart()
    assert len(receiver.got) == 3
    desk.round(3 * 60)
    assert arrived(receiver, 3) == [("phone", "escalated", GHOST)]
    assert (receiver.got[3].json()["owner"], receiver.got[0].json()["owner"]) == ("ann", None)
    assert "owner" in receiver.got[3].json()["text"]
    desk.close_break(version)
    desk.round(5)
    assert sorted(arrived(receiver, 4)) == [(name, "resolved", GHOST) for name in ("desk", "mail", "phone")]


def test_an_urgent_correction_is_reported_at_once_until_a_second_person_confirms_it(desk_of, receiver):
    desk = desk_of()
    desk.append(fill(1), fill(7))
    set_policy(desk.account, approvals=2, operator="ann", reason="the desk's rule")
    desk.round()
    assert receiver.got == []
    request = CorrectionRequest({"what": "close", "position_id": 7})
    made = propose(desk.account, request, operator="ann", reason="it is gone", urgent=True).proposal
    assert made is not None
    title = "Broker-Live/70113: approval 7 EURUSD"
    desk.round()
    assert arrived(receiver) == [("desk", "open", title)]
    got = receiver.got[0].json()
    assert (got["what"], got["next"]) == (
        "one person corrected something at once; a second one has to confirm it: close was applied by ann alone: it is gone",
        f"ledger proposals --account {ACCOUNT}",
    )  # fmt: skip
    approve(desk.account, made.version, operator="bob", effect_digest=made.effect_digest)
    desk.round()
    assert arrived(receiver, 1) == [("desk", "resolved", title)]
    assert receiver.got[1].json()["outcome"]["by"] == "bob"


def test_a_likely_cause_is_stated(desk_of, receiver):
    desk = desk_of()
    version = desk.append(ghost_opened())
    desk.alerter._survey._causes = lambda account: {version: f"likely a stop-out of {account.name}"}
    desk.round(61)
    assert receiver.got[0].json()["cause"] == "likely a stop-out of Broker-Live/70113"
    assert "\ncause    likely a stop-out" in receiver.got[0].json()["text"]


def test_what_ended_long_ago_is_forgotten(desk_of, receiver):
    desk = desk_of()
    version = desk.append(ghost_opened())
    desk.round(61)
    desk.close_break(version)
    desk.round(1)
    key = receiver.got[0].json()["key"]
    for days, rows in ((89, 2), (2, 0)):
        desk.round(days * 86_400)
        assert len(desk.ledger.journal.sent_notices([key])) == rows
    assert len(receiver.got) == 2


def test_an_account_that_cannot_be_read_is_reported_and_nothing_of_it_is_resolved(desk_of, receiver, monkeypatch):
    desk = desk_of(ACCOUNT, OTHER)
    version = desk.append(ghost_opened())
    desk.round(61)
    account = desk.ledger.account(ACCOUNT)

    def broken():
        raise CorruptEvent("version 2 is not what was recorded")

    monkeypatch.setattr(account, "current_with_orders", broken)
    desk.close_break(version)
    desk.append(ghost_opened(9), account=OTHER)
    for _ in range(2):
        desk.round(61)
    assert [title for _, _, title in arrived(receiver, 1)] == [
        "Broker-Live/70113: unreadable", GHOST.replace("70113: ghost 7", "70114: ghost 9"),
    ]  # fmt: skip
    assert receiver.got[1].json()["next"] == "ledger verify"
    monkeypatch.undo()
    desk.append(fill(1))
    desk.round(1)
    assert sorted(arrived(receiver, 3)) == [
        ("desk", "resolved", GHOST), ("desk", "resolved", "Broker-Live/70113: unreadable"),
    ]  # fmt: skip


def test_a_journal_that_does_not_answer_resolves_nothing(desk_of, receiver, monkeypatch):
    desk = desk_of()
    desk.append(ghost_opened())
    desk.round(61)
    account = desk.ledger.account(ACCOUNT)

    def busy():
        raise JournalBusy("somebody writes")

    desk.append(fill(1))
    monkeypatch.setattr(account, "current_with_orders", busy)
    with pytest.raises(JournalBusy):
        desk.round(1)
    monkeypatch.undo()
    desk.round(1)
    assert receiver.notices == [("open", 0)]


# ---- the dead-man's switch

DEADMAN = f'{WEBHOOK}[alerts.deadman]\nurl_file = "ping"\nevery_sec = 60\nfail_after_sec = 600\n'


def pings(receiver):
    return [(one.method, one.path) for one in receiver.got if one.path.startswith("/ping")]


def test_a_sign_of_life_is_sent_only_while_every_account_is_verified(desk_of, receiver):
    desk = desk_of(ACCOUNT, OTHER, text=DEADMAN)
    for _ in range(12):
        desk.round(10)
    assert pings(receiver) == [("GET", "/ping")] * 2
    desk.silent[OTHER] = {}
    for _ in range(5):
        desk.round(60)
    assert len(pings(receiver)) == 3  # the last while it was not too old yet
    for _ in range(10):
        desk.round(60)
    assert set(pings(receiver)[3:]) == {("GET", "/ping/fail")}
    del desk.silent[OTHER]
    desk.round(60)
    assert pings(receiver)[-1] == ("GET", "/ping")


def test_an_account_of_the_settings_that_the_journal_does_not_hold_is_not_verified(desk_of, receiver):
    text = f'[alerts]\naccounts = ["{ACCOUNT}", "{OTHER}"]\n{DEADMAN}'
    desk = desk_of(ACCOUNT, text=text)
    desk.round(1)
    assert pings(receiver) == []
    assert arrived(receiver) == [("desk", "open", "Broker-Live/70114: no usable sync")]
    assert "does not hold the account" in receiver.got[0].json()["what"]
    desk.append(opened(OTHER), account=OTHER)
    desk.accounts = (ACCOUNT, OTHER)
    desk.round(30)
    assert pings(receiver) == [("GET", "/ping")]
    assert [one.json()["state"] for one in receiver.got if one.path == "/desk"] == ["open", "resolved"]


def test_an_account_that_is_unsafe_for_too_long_is_a_failure_though_it_is_verified(desk_of, receiver):
    desk = desk_of(text=DEADMAN)
    desk.append(ghost_opened())
    signals = []
    for _ in range(12):
        desk.round(60)
        signals.append(pings(receiver)[-1][1])
    assert signals == ["/ping"] * 10 + ["/ping/fail"] * 2


def test_a_journal_without_accounts_proves_nothing(desk_of, receiver):
    desk = desk_of(text=DEADMAN.replace("[alerts.deadman]", '[alerts]\naccounts = ["Nobody/1"]\n[alerts.deadman]'))
    desk.round(60)
    assert pings(receiver) == []


def test_a_signal_that_was_not_sent_is_sent_again_soon(desk_of, receiver):
    desk = desk_of(text=DEADMAN)
    receiver.status = 500
    desk.round(1)
    desk.round(11)
    receiver.status = 200
    desk.round(11)
    desk.round(11)
    assert len(pings(receiver)) == 3
    (first, _) = desk.log.of("dead-man signal not sent")
    assert first["why"] == "expected HTTP 2xx, the receiver answered 500"


def test_what_is_stored_of_a_life_is_what_was_sent(desk_of, receiver):
    desk = desk_of()
    version = desk.append(ghost_opened())
    desk.round(61)
    desk.close_break(version)
    desk.round(1)
    key = receiver.got[0].json()["key"]
    found = [(one.stage, one.channel) for one in desk.ledger.journal.sent_notices([key])]
    assert found == [(RESOLVED, "desk"), (0, "desk")]
    assert desk.ledger.journal.last_deliveries() == {"desk": desk.clock.now_us}
    assert desk.clock.now_us % MINUTE
