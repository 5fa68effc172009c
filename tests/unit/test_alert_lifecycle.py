"""Which notices are due: by what is wrong, what was sent, and the time. Pure stories; minutes are ages of a break."""

from __future__ import annotations

import pytest

from ledger.alert_settings import AlertSettings, Channel, Webhook
from ledger.alerts.conditions import Condition, with_servers
from ledger.alerts.lifecycle import Ending, due, routed, stage_of, superseded
from ledger.journal.notices import RESOLVED, SentNotice
from tests.support.alerts import MINUTE, SECOND

T0 = 1_767_607_200_000_000
NAMES = ("desk", "mail", "phone")
SETTINGS = AlertSettings(
    routes=(("desk",), ("desk", "mail"), ("phone",)),
    channels={name: Channel(name=name, settings=Webhook()) for name in NAMES},
)


def condition(key="k", **fields):
    return Condition(**({"key": key, "kind": "ghost", "what": "w", "since_us": T0} | fields))


def sent(key="k", channel="desk", stage=0):
    return SentNotice(key=key, channel=channel, stage=stage, sent_us=T0)


def dues(*conditions, minutes=0.0, already=(), ending=lambda _: Ending.OVER, settings=SETTINGS):
    found = due(conditions, already, settings, T0 + int(minutes * MINUTE), ending)
    return [(one.key, one.channel, one.stage) for one in found]


@pytest.mark.parametrize(
    ("minutes", "stage"),
    [(0, None), (0.99, None), (1, 0), (14.9, 0), (15, 1), (59, 1), (60, 2), (239, 2), (240, 3), (10_000, 3)],
)
def test_a_stage_comes_with_the_age(minutes, stage):
    assert stage_of(condition(), SETTINGS, T0 + int(minutes * MINUTE)) == stage


def test_what_needs_a_person_escalates_at_once():
    assert stage_of(condition(has_grace=False, stage=1), SETTINGS, T0) == 1
    assert stage_of(condition(has_grace=False, stage=1), SETTINGS, T0 + 60 * MINUTE) == 2


def test_what_does_not_escalate_stays_where_it_is():
    assert stage_of(condition(is_escalating=False, has_grace=False), SETTINGS, T0 + 999 * MINUTE) == 0
    assert stage_of(condition(is_escalating=False, has_grace=False, stage=1), SETTINGS, T0) == 1


@pytest.mark.parametrize("since_us", [None, T0 + 10 * MINUTE])
def test_what_began_at_an_unknown_time_or_in_the_future_is_reported_at_once(since_us):
    assert stage_of(condition(since_us=since_us), SETTINGS, T0) == 0


def test_clocks_that_are_a_little_apart_do_not_end_the_grace_period():
    assert stage_of(condition(since_us=T0 + 5 * SECOND), SETTINGS, T0) is None


def test_every_channel_gets_the_last_stage_that_is_its():
    assert [routed(stage, SETTINGS) for stage in range(4)] == [
        {"desk": 0}, {"desk": 1, "mail": 1}, {"desk": 1, "mail": 1, "phone": 2}, {"desk": 1, "mail": 1, "phone": 3},
    ]  # fmt: skip
    assert routed(5, AlertSettings()) == {}


def test_a_life_of_a_break():
    assert dues(condition(), minutes=0.5) == []
    assert dues(condition(), minutes=1) == [("k", "desk", 0)]
    already = [sent()]
    assert dues(condition(), minutes=14, already=already) == []
    assert dues(condition(), minutes=15, already=already) == [("k", "desk", 1), ("k", "mail", 1)]
    already += [sent(stage=1), sent(channel="mail", stage=1)]
    assert dues(condition(), minutes=60, already=already) == [("k", "phone", 2)]
    assert dues(minutes=61, already=already) == [("k", "desk", RESOLVED), ("k", "mail", RESOLVED)]
    already += [sent(stage=RESOLVED)]
    assert dues(minutes=61, already=already) == [("k", "mail", RESOLVED)]
    already += [sent(channel="mail", stage=RESOLVED)]
    assert dues(minutes=62, already=already) == []


def test_an_alerter_that_starts_late_sends_each_channel_one_notice():
    assert dues(condition(), minutes=100) == [("k", "desk", 1), ("k", "mail", 1), ("k", "phone", 2)]


def test_what_ends_within_the_grace_period_is_never_reported():
    assert dues(condition(), minutes=0.9) == dues(minutes=2) == []


@pytest.mark.parametrize("ending", [Ending.UNKNOWN, Ending.SUPERSEDED])
def test_what_may_go_on_is_not_resolved(ending):
    assert dues(already=[sent()], ending=lambda _: ending) == []
    found = superseded([sent()], set(), lambda _: ending)
    assert found == ([("k", "desk")] if ending is Ending.SUPERSEDED else [])


def test_the_end_of_what_a_removed_channel_got_is_not_sent_to_it():
    assert dues(already=[sent(channel="gone")]) == []


def test_what_was_resolved_is_not_sent_again_under_the_same_key():
    ended = [sent(), sent(stage=RESOLVED)]
    assert dues(condition(has_grace=False), already=ended) == []


def test_what_began_first_comes_first_and_ends_come_before_it():
    found = dues(condition("b", since_us=T0 - MINUTE), condition("a"), minutes=1, already=[sent("z")])
    assert [key for key, _, _ in found] == ["z", "b", "a"]


# ---- servers


def syncs(count, begin=T0, server="S"):
    return [condition(f"{server}{n}", kind="sync", server=server, since_us=begin + n * SECOND) for n in range(count)]


@pytest.mark.parametrize(
    ("degraded", "total", "is_server"),
    [(4, 4, False), (1, 5, False), (2, 5, True), (3, 10, False), (4, 10, True), (5, 5, True)],
)
def test_above_30_per_cent_of_at_least_5_accounts_the_server_is_reported(degraded, total, is_server):
    found = with_servers("j", syncs(degraded), {"S": total}, {})
    assert [one.kind for one in found if not one.is_inhibited] == (["server"] if is_server else ["sync"] * degraded)
    assert {one.key for one in found} >= {f"S{n}" for n in range(degraded)}  # inhibited is not over


def test_a_server_notice_begins_when_the_share_was_crossed_and_stays_the_same():
    (one,) = (one for one in with_servers("j", syncs(6), {"S": 10}, {}) if one.kind == "server")
    assert (one.since_us, one.key) == (T0 + 3 * SECOND, f"ledger:j:S:server:{T0 + 3 * SECOND}")
    (later,) = (one for one in with_servers("j", syncs(5, T0 + MINUTE), {"S": 10}, {"S": one.key}) if one.kind == "server")
    assert later.key == one.key


def test_servers_are_apart():
    found = with_servers("j", syncs(5) + syncs(1, server="T"), {"S": 5, "T": 9}, {})
    assert [one.key for one in found if not one.is_inhibited] == [f"ledger:j:S:server:{T0 + SECOND}", "T0"]


def test_accounts_of_a_server_that_recovers_have_the_grace_period_once_more():
    one = condition(quiet_until_us=T0 + 100 * MINUTE)
    assert stage_of(one, SETTINGS, T0 + 100 * MINUTE + 59 * SECOND) is None
    assert stage_of(one, SETTINGS, T0 + 101 * MINUTE) == 2  # by its age
