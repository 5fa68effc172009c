"""The overview reads no events: what it counts and lists is what ``ledger status`` decides of each account."""

from __future__ import annotations

import itertools
from types import SimpleNamespace
from typing import Any

import pytest
from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger import AccountId, Event, Ledger
from ledger.account_status import look, look_at_all, verdict_of_summary
from ledger.events import BreakOpened, SyncDegraded, TradingHalted
from ledger.journal.health import HeldBack
from ledger.journal.location import Location
from ledger.journal.sql.journal import SqlJournal
from ledger.journal.sql.moving import begin, cancel
from ledger.journal.sql.overview import DOUBTFUL, SAFE, STALE, briefs, fulls, with_breaks
from ledger.metrics.of_journal import JournalMetrics
from ledger.metrics.textfile import exposition
from ledger.page.desk import Desk
from ledger.page.endpoints import Call
from ledger.page.overview import overview
from ledger.page.principals import Principal, Role
from ledger.page.source import Source
from ledger.safety import INTERVALS_MAX, Danger, seen_of
from tests.support.alerts import health_of
from tests.support.journals import DURABLE, new_url
from tools.testkit.orders import intended
from tools.testkit.stories import START_MSC

NOW_US = (START_MSC + 3_600_000) * 1000
SECOND_US = 1_000_000
#: What an account recorded beside being opened.
STORIES: dict[str, list[Event]] = {
    "quiet": [],
    "break": [BreakOpened(kind="ghost", time_msc=START_MSC, position_id=7, symbol="EURUSD", ours="buy 1 EURUSD @ 1")],
    "money": [BreakOpened(kind="balance", time_msc=START_MSC, field="balance", ours="1", theirs="2")],
    "degraded": [SyncDegraded(reason="timeout", time_msc=START_MSC)],
    "halted": [TradingHalted(scope="account", mode="all", number=1, operator="ann", reason="news", time_msc=START_MSC)],
    "unknown": [intended(1, 0, valid_until_utc_msc=START_MSC + 1000)],
}
ages = st.sampled_from([-5.0, -0.5, 0.0, 1.0, 44.9, 45.0, 45.1, 59.9, 60.0, 60.1, 200.0, 10_000.0])
HEALTHY = {
    "status": "SUCCESS", "seen": 1.0, "verified": 1.0, "interval": 15, "verified_sec": 60.0, "held": False, "breached": False,
    "balance_halts": False,
}  # fmt: skip
#: What may be otherwise than in an account that is well.
TROUBLES = {
    "status": st.sampled_from(["PARTIAL", "DEGRADED", "FAILED"]),
    "seen": ages,
    "verified": st.one_of(st.none(), ages),
    "interval": st.sampled_from([1, 100]),
    "verified_sec": st.just(45.0),
    "held": st.just(True),
    "breached": st.just(True),
    "balance_halts": st.just(True),
}
#: Each of them alone, in accounts where nothing else is wrong.
ALONE: list[dict[str, Any]] = [
    {}, {"status": "PARTIAL"}, {"status": "DEGRADED"}, {"status": "FAILED"}, {"seen": 200.0}, {"seen": -5.0},
    {"verified": 61.0}, {"verified": None}, {"verified": -5.0}, {"held": True}, {"breached": True},
    {"seen": 200.0, "interval": 100},
    {"seen": 50.0, "verified": 50.0, "verified_sec": 45.0}, {"seen": 301.0, "verified": 50.0, "interval": 100},
]  # fmt: skip
#: Mostly one thing is wrong, so that nothing else hides it.
troubles = st.lists(st.sampled_from(sorted(TROUBLES)), max_size=2, unique=True)
healths = st.one_of(
    st.just(HEALTHY),
    troubles.flatmap(lambda names: st.fixed_dictionaries({name: TROUBLES[name] for name in names})).map(
        lambda one: HEALTHY | one
    ),
    st.none(),
)


@pytest.fixture(scope="module", params=DURABLE)
def ledger(request, tmp_path_factory):
    with Ledger.open(new_url(request.param, tmp_path_factory.mktemp("overview")), now_us=lambda: NOW_US) as ledger:
        stories = [*itertools.product(STORIES.values(), (True, False)), *[([], True)] * len(ALONE)]
        for number, (events, is_derived) in enumerate(stories, 1):
            account = ledger.account("Broker-Live" if number % 2 else "Prop-2", number)
            account.open(currency="USD", mode="hedging", time_msc=START_MSC)
            if is_derived:
                account.record_many(events)
                account.derived.catch_up()
            else:  # the summary is behind, or there is none
                if number % 4 < 2:
                    account.derived.catch_up()
                account.record_many(events)
        yield ledger


def store(ledger, given):
    for account, one in zip(ledger.accounts(), given, strict=True):
        with ledger.journal.write_in_turn(5) as session:
            session.execute("DELETE FROM sync_health WHERE account_id = ?", key_of(account.name))
        if one is not None:
            seen_us = NOW_US - round(one["seen"] * SECOND_US)
            verified_us = None if one["verified"] is None else NOW_US - round(one["verified"] * SECOND_US)
            health = evolve(
                health_of(account.name, seen_us), status=one["status"], reason="why", verified_us=verified_us,
                interval_us=one["interval"] * SECOND_US, verified_sec=one["verified_sec"], balance_halts=one["balance_halts"],
                held=(HeldBack(kind="ghost", symbol="EURUSD", why="missing"),) if one["held"] else (),
                breached=("daily loss",) if one["breached"] else (),
            )  # fmt: skip
            ledger.journal.save_sync_health(health)


def key_of(name):
    from ledger.journal.sql.words import account_key

    return account_key(name)


def asked(desk, **query):
    known = {"server": None, "state": "all", "sort": "safety", "q": None, "page": 1} | query
    return overview(Call(desk=desk, principal=Principal("ann", Role.VIEWER, "link"), path={}, query=known))


def is_plain(full):
    """Return whether nothing about an account has to be weighed: no break, no order, no age at what is allowed."""
    health, summary = full.health, full.summary
    edges = {*(NOW_US - one * SECOND_US for one in (45, 60)), NOW_US + SECOND_US // 2}
    return summary.breaks == summary.orders == "[]" and not health.breached and not edges & {health.seen_us, health.verified_us}


@settings(max_examples=12, deadline=None)
@given(st.data())
def test_it_agrees_with_what_status_decides_of_each_account(ledger, data):
    store(ledger, [data.draw(healths) for _ in ledger.accounts()])
    compare(ledger)


def test_the_status_of_many_accounts_is_that_of_each(ledger, monkeypatch):
    store(ledger, [HEALTHY, None] * (len(ledger.accounts()) // 2) + [HEALTHY] * (len(ledger.accounts()) % 2))
    accounts, folded = ledger.accounts(), []
    each = [look(one, NOW_US).json_row() for one in accounts]
    monkeypatch.setattr("ledger.account_status.MANY", 5)

    def noted(one, now_us):
        folded.append(one)
        return look(one, now_us)

    monkeypatch.setattr("ledger.account_status.look", noted)
    assert [one.json_row() for one in look_at_all(ledger, accounts, NOW_US)] == each
    behind = [one for one in accounts if one.derived.lag().events]
    assert folded == behind
    assert 0 < len(behind) < len(accounts)


def test_an_account_that_is_being_moved_is_not_safe_by_its_summary(ledger, monkeypatch):
    """Nothing is recorded of it meanwhile, whatever its summary is."""
    monkeypatch.setattr("ledger.account_status.MANY", 5)
    store(ledger, [HEALTHY] * len(ledger.accounts()))
    safe = [
        one
        for one, status in zip(ledger.accounts(), look_at_all(ledger, ledger.accounts(), NOW_US), strict=True)
        if status.verdict.is_safe
    ]
    leaving = safe[-1].name
    begin(ledger.journal, leaving, Location(other="asia", other_id="ab"))
    try:
        found = {one.name: one.verdict for one in look_at_all(ledger, ledger.accounts(), NOW_US)}
        listed = {one.name: one.certainty for one in briefs(ledger.journal, NOW_US, intervals_max=INTERVALS_MAX)}
        compare(ledger)
        exported = exposition(JournalMetrics(ledger).collect()).decode()
    finally:
        cancel(ledger.journal, leaving)
    assert [name for name, verdict in found.items() if verdict.is_safe] == [one.name for one in safe[:-1]]
    assert "asia" in str(found[leaving].why)
    assert listed[leaving] != SAFE
    named = f'ledger_safe_to_trade{{login="{leaving.login}",server="{leaving.server}"}}'
    assert f"{named} 0.0" in exported


def of_accounts(metrics):
    """Return what is exported, without the space on the disk, which others use too."""
    lines = exposition(metrics.collect()).decode().splitlines()
    return [line for line in lines if not line.startswith(("ledger_journal_size", "ledger_journal_free"))]


def test_metrics_of_many_accounts_are_those_of_each(ledger, monkeypatch):
    store(ledger, [HEALTHY, None] * (len(ledger.accounts()) // 2) + [HEALTHY] * (len(ledger.accounts()) % 2))
    each = of_accounts(JournalMetrics(ledger))
    folded = []
    read = JournalMetrics._read

    def noted(self, *one):
        if self._is_new(*one):
            folded.append(one)
        read(self, *one)

    monkeypatch.setattr("ledger.metrics.of_journal.MANY", 5)
    monkeypatch.setattr(JournalMetrics, "_read", noted)
    many = JournalMetrics(ledger)
    assert of_accounts(many) == each
    assert 0 < len(folded) < len(ledger.accounts())
    assert of_accounts(many) == each


def test_what_many_accounts_recorded_since_the_last_look_is_counted(tmp_path, monkeypatch):
    monkeypatch.setattr("ledger.metrics.of_journal.MANY", 2)
    with Ledger.open(new_url("sqlite", tmp_path), now_us=lambda: NOW_US) as one:
        accounts = [one.account("Broker-Live", login) for login in (1, 2, 3)]
        metrics = JournalMetrics(one)
        for event in (None, *STORIES["degraded"], *STORIES["break"]):
            for account in accounts:
                if event is None:
                    account.open(currency="USD", mode="hedging", time_msc=START_MSC)
                else:
                    account.record(event)
                account.derived.catch_up()
            assert of_accounts(metrics) == of_accounts(JournalMetrics(one))


def test_it_agrees_where_one_thing_alone_is_wrong(ledger):
    first = len(STORIES) * 2
    of_number = {number: HEALTHY | ALONE[number - first - 1] for number in range(first + 1, first + len(ALONE) + 1)}
    for of_others in (HEALTHY, HEALTHY | {"seen": 200.0, "interval": 100}):
        store(ledger, [of_number.get(one.name.login, of_others) for one in ledger.accounts()])
        compare(ledger)


def compare(ledger):
    assert isinstance(ledger.journal, SqlJournal)
    desk = Desk(Source(ledger), SimpleNamespace(allow_writes=False), lambda: NOW_US)
    statuses = {str(one.name): look(one, NOW_US) for one in ledger.accounts()}
    listed = briefs(ledger.journal, NOW_US, intervals_max=INTERVALS_MAX)
    certain = [one.name for one in listed if one.certainty == SAFE]
    for one in listed:
        danger = statuses[str(one.name)].verdict.danger
        assert one.certainty == DOUBTFUL or danger == {SAFE: Danger.NONE, STALE: Danger.STALE}[one.certainty]
    for name, full in fulls(ledger.journal, [one.name for one in ledger.accounts()]).items():
        if full.newest is not None:
            seen = None if full.health is None else seen_of(full.health, NOW_US)
            assert verdict_of_summary(full.newest, seen, NOW_US) == statuses[str(name)].verdict
            if statuses[str(name)].verdict.is_safe and is_plain(full):  # it is not even looked at closely
                assert name in certain
    found = asked(desk)
    rows = {row["name"]: row for row in found["rows"]}
    for named, status in statuses.items():
        added = ("name", "version", "behind", "summary", "summary_reason")
        assert {key: value for key, value in rows[named].items() if key not in added} == status.json_row()
    totals = found["totals"]
    assert totals["accounts"] == len(statuses)
    assert totals["safe"] == sum(one.verdict.is_safe for one in statuses.values())
    assert totals["never"] == sum(one.health is None for one in statuses.values())
    assert sum(totals[name] for name in ("safe", "unsafe", "degraded", "stale", "never")) == len(statuses)
    is_safe = [row["safe_to_trade"] for row in found["rows"]]
    assert is_safe == sorted(is_safe)
    unsafe = asked(desk, state="unsafe", server="Prop-2")["rows"]
    assert {row["name"] for row in unsafe} == {
        name for name, one in statuses.items() if not one.verdict.is_safe and one.name.server == "Prop-2"
    }
    desk.limits.close()


def test_accounts_that_may_have_breaks_are_found_without_their_events(ledger):
    found = with_breaks(ledger.journal)
    assert found == sorted(one.name for one in ledger.accounts() if one.portfolio.breaks)
    assert found
    assert all(isinstance(one, AccountId) for one in found)
