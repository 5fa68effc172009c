"""What every journal promises of orders: at any moment, from any checkpoint, after any copy, they are the same."""

from __future__ import annotations

import json
from datetime import datetime

import attrs
import pytest

from ledger import Ledger, TradingHalted
from ledger.clock import ClockRule
from ledger.codec import decode_posting, posting
from ledger.exporter import export, import_json_lines
from ledger.folds import FOLDS, ORDERS, PORTFOLIO
from ledger.journal import Selection, checkpoints
from ledger.journal.checkpoints import replayed
from ledger.journal.verify.walk import verify_account
from ledger.orders.states import OrderState
from tests.support.commands import run
from tests.support.journals import (
    ACCOUNT,
    OTHER,
    START_MSC,
    START_US,
    Clock,
    Intruder,
    cash,
    everything,
    fill,
    new_url,
    opened,
    revised,
)
from tools.testkit.orders import TOKEN, answered, history, intended, seen

INTERVAL = 5


@pytest.fixture
def book(journal):
    """A journal in which each event was recorded by itself."""
    for event in history():
        journal.append(ACCOUNT, [event])
    return journal


def folded(journal, selection=None, interval=INTERVAL):
    selection = selection or everything(journal)
    terms = journal.terms(ACCOUNT, selection.version) or journal.terms(ACCOUNT, 1)
    return replayed(journal, ACCOUNT, selection, terms, fold=ORDERS, interval=interval)[0]


def kept(journal):
    return [one for one in journal.checkpoints(ACCOUNT) if one.fold.startswith("orders")]


# --------------------------------------------------------------------------------------------------------------- the laws


def test_a_fold_from_any_checkpoint_is_the_fold_from_the_start(book):
    version = book.head(ACCOUNT).version
    whole = folded(book, interval=None).state()
    assert folded(book).state() == whole
    places = [one.mark.reading.newest for one in kept(book)]
    assert len(places) > 3
    assert folded(book).state() == whole
    for known in range(1, version + 1):
        selection = Selection(version=known)
        assert folded(book, selection).state() == folded(book, selection, None).state()


def test_a_deal_of_before_a_checkpoint_may_be_revised_behind_it(book):
    folded(book)
    book.append(ACCOUNT, [revised(fill(2, 11, order=2, volume="0.25"))])
    assert folded(book).state() == folded(book, interval=None).state()
    assert [str(one.filled.normalize()) for one in folded(book).orders()[:2]] == ["1", "0.75"]


@pytest.mark.parametrize("interval", [1, INTERVAL, None])
def test_an_order_that_is_adopted_later_has_the_deals_of_before_all_orders(journal, interval):
    """The journal was restored from a backup: deals are booked first, and the orders are seen again with their tokens."""
    account = Ledger(journal).account(ACCOUNT)
    journal.append(ACCOUNT, [opened(), fill(1, 1, order=9), fill(2, 2, order=9, volume="0.5"), fill(3, 3, order=8)])
    assert account.current_orders()[1].orders() == folded(journal, interval=interval).orders() == ()
    assert kept(journal) == []  # deals alone leave none: without orders nothing is read
    journal.append(ACCOUNT, [seen(9, 4, 4), revised(fill(2, 2, order=9, volume=1))])
    adopted = folded(journal, interval=interval)
    assert [(one.client_id, one.filled, one.state) for one in adopted.orders()] == [("c-9", 2, OrderState.FILLED)]
    assert account.current_orders()[1].state() == adopted.state() == folded(journal, interval=interval).state()
    for known in (4, 5, 6):
        selection = Selection(version=known)
        assert folded(journal, selection, interval).state() == folded(journal, selection, None).state()


def test_a_deal_that_was_cancelled_fills_no_order(book):
    folded(book)
    book.append(ACCOUNT, [revised(cash(2, 11, type=13, profit=0))])
    assert folded(book).state() == folded(book, interval=None).state()
    assert folded(book).orders()[0].filled == 1


def test_a_checkpoint_is_begun_at_and_the_rows_before_it_are_not_read(book, monkeypatch):
    folded(book)
    newest = max(one.mark.reading.newest for one in kept(book))
    read: list[int] = []
    rows = book.order_rows

    def counted(*asked, **how):
        for block in rows(*asked, **how):
            read.extend(row[2] for row in block)
            yield block

    monkeypatch.setattr(book, "order_rows", counted)
    folded(book)
    assert min(read) > newest


@pytest.mark.parametrize("second", [0, 9, 10, 11, 25, 42, 43, 44, 60, 95, 10**5])
def test_at_a_moment_there_is_what_had_happened_by_then(book, second):
    until_msc = START_MSC + second * 1000
    selection = Selection(version=book.head(ACCOUNT).version, time_msc=until_msc)
    folded(book)  # checkpoints of all: those that know too much are left aside
    direct = ORDERS.begin(book.terms(ACCOUNT, selection.version))
    for row in book.rows(ACCOUNT):
        is_read = row.kind.startswith("Order") or row.order_ticket is not None
        if is_read and row.time_msc <= until_msc:
            direct.fold([posting(row)], decode_posting)
    assert folded(book, selection).state() == direct.state()


def test_a_replay_of_a_moment_leaves_no_checkpoint_that_lacks_what_came_later(book):
    early = attrs.evolve(intended(99, 0), time_msc=START_MSC - 1000)
    book.append(ACCOUNT, [early])
    selection = Selection(version=book.head(ACCOUNT).version, time_msc=START_MSC + 60_000)
    folded(book, selection)
    assert kept(book) == []
    assert {one.client_id for one in folded(book).orders()} >= {"c-12", "c-99"}


def test_what_is_known_at_a_moment_are_the_orders_recorded_by_then(book, clock):
    account = Ledger(book, clock).account(ACCOUNT)
    rows = list(book.rows(ACCOUNT))
    for version in (3, 4, 5, 8, 20):
        moment = datetime.fromtimestamp(rows[version - 1].recorded_us / 1e6).astimezone()
        assert account.orders(known_at=moment) == account.orders(version=version)
        assert account.orders(version=version, checkpoints=False) == account.orders(version=version)
    assert account.orders(version=3) == ()
    assert [one.state.value for one in account.orders()[:4]] == ["filled", "cancelled", "absent", "filled"]
    assert [str(one.filled.normalize()) for one in account.orders()[:4]] == ["2", "0.5", "0", "2"]


def test_an_account_without_orders_has_none_and_no_deal_is_read_for_them(journal):
    journal.append(ACCOUNT, [opened(), *(fill(number, number) for number in range(1, 9))])
    assert list(journal.order_rows(ACCOUNT, everything(journal))) == []
    assert folded(journal).orders() == ()
    assert kept(journal) == []


def test_the_two_accounts_of_a_journal_have_orders_of_their_own(book):
    book.append(OTHER, [opened(OTHER), intended(77, 1)])
    assert "c-77" not in {one.client_id for one in folded(book).orders()}
    assert [one.client_id for one in Ledger(book).account(OTHER).orders()] == ["c-77"]


def test_in_an_hour_that_the_clock_shows_twice_it_is_known_which_orders_there_were(journal, clock):
    rule = ClockRule("ny-close")
    hour = rule.repeated_hour(1_762_070_400_000)  # 2025-11-02T08:00, server time
    assert hour is not None

    def utc_us(text):
        return int(datetime.fromisoformat(f"2025-11-02T{text}+00:00").timestamp() * 1_000_000)

    def at(text):
        clock.now_us = utc_us(text)
        return rule.from_utc_msc(clock.now_us // 1000)

    account = Ledger(journal, clock).account(ACCOUNT)
    for text, make in (
        ("05:00:00", lambda msc: opened(clock="ny-close", time_msc=msc)),
        ("05:30:00", lambda msc: attrs.evolve(intended(1, 0), time_msc=msc)),
        ("05:31:00", lambda msc: attrs.evolve(answered(1, 0), time_msc=msc)),
        ("05:32:00", lambda msc: attrs.evolve(fill(1, order=1), time_msc=msc)),
        ("06:10:00", lambda msc: attrs.evolve(intended(2, 0), time_msc=msc)),
        ("06:11:00", lambda msc: attrs.evolve(fill(2, order=1), time_msc=min(msc, hour[0] + 660_000))),  # 08:11 again
    ):
        account.record(make(at(text)))
    clock.now_us = utc_us("08:00:00")
    found = {
        text: [(one.client_id, int(one.filled)) for one in account.orders(until=f"2025-11-02T{text}Z")]
        for text in ("05:29", "05:31", "05:33", "06:10", "06:11", "07:30")
    }
    assert found == {
        "05:29": [], "05:31": [("c-1", 0)], "05:33": [("c-1", 1)], "06:10": [("c-1", 1), ("c-2", 0)],
        "06:11": [("c-1", 2), ("c-2", 0)], "07:30": [("c-1", 2), ("c-2", 0)],
    }  # fmt: skip


# ------------------------------------------------------------------------------------------------- verify, copies, reading


def test_verify_compares_the_checkpoints_of_orders(book):
    assert FOLDS == (PORTFOLIO, ORDERS)
    folded(book)
    assert verify_account(book, ACCOUNT).problems == ()
    every = kept(book)
    fake = every[1]._replace(body=every[0].body)
    fake = fake._replace(digest=checkpoints._digest(fake.mark, fake.fold, fake.body))
    book.save_checkpoints(ACCOUNT, (-1, 0, 0), [every[0], fake, *every[2:]])
    assert [one.field for one in verify_account(book, ACCOUNT).problems] == ["checkpoints"]


@pytest.mark.parametrize("placement", [0, 1, 3])
def test_verify_names_an_event_about_an_order_that_was_put_into_the_fold(url, placement):
    with Ledger.create(url, now_us=Clock()) as ledger:
        ledger.account(ACCOUNT).record_many(history())
        version = next(row.version for row in ledger.journal.rows(ACCOUNT) if row.kind == "OrderAnswered")
    intruder = Intruder(url)
    intruder.disarm()
    intruder("UPDATE events SET placement = ? WHERE version = ?", placement, version)
    with Ledger.open(url) as ledger:
        assert {(one.version, one.field) for one in ledger.verify().problems} == {(version, "placement")}


def test_an_export_is_imported_with_all_orders(url, tmp_path):
    with Ledger.create(url, now_us=Clock()) as ledger, Ledger.create(new_url("sqlite", tmp_path / "other")) as copy:
        ledger.account(ACCOUNT).record_many(history())
        export(ledger, ledger.accounts(), tmp_path / "all.jsonl", "jsonl")
        import_json_lines(copy, tmp_path / "all.jsonl")
        ours, theirs = ledger.account(ACCOUNT), copy.account(ACCOUNT)
        assert theirs.orders(version=theirs.version) == ours.orders(version=ours.version) != ()
        assert (theirs.head, copy.verify().ok) == (ours.head, True)


def test_a_follower_is_given_events_about_orders(journal, clock):
    account = Ledger(journal, clock).account(ACCOUNT)
    account.record_many([opened(), intended(1, 1), TradingHalted(
        scope="account", number=1, mode="all", operator="a", reason="x", time_msc=START_MSC
    )])  # fmt: skip
    follower = account.follow()
    assert [next(follower).kind for _ in range(3)] == ["AccountOpened", "OrderIntended", "TradingHalted"]


def test_the_commands_show_the_orders_of_a_moment(tmp_path):
    url = f"sqlite:///{tmp_path}/desk.db"
    with Ledger.create(url, now_us=Clock(START_US, 1000)) as ledger:
        account = ledger.account(ACCOUNT)
        account.record_many([opened(), intended(1, 1, valid_until_utc_msc=START_MSC + 5000), answered(1, 2)])
        account.record_many([intended(2, 3, valid_until_utc_msc=START_MSC + 8000), fill(1, 4, order=1)])
    shown = run("replay", "--json", "--until", "2026-01-05T10:00:04", journal=url)
    orders = json.loads(shown.out)["orders"]
    assert orders[0] == {
        "client_id": "c-1", "token": TOKEN, "kind": "market", "symbol": "EURUSD", "side": "buy", "volume": "2",
        "state": "partial", "since": "2026-01-05T10:00:04Z", "why": "deal 1", "ticket": 1, "filled": "1",
    }  # fmt: skip
    assert (orders[1]["client_id"], orders[1]["state"], len(orders)) == ("c-2", OrderState.INTENDED.value, 2)
    assert json.loads(run("replay", "--json", "--until", "2026-01-05T10:00:02", journal=url).out)["orders"][0]["filled"] == "0"
    assert json.loads(run("replay", "--json", journal=url).out)["orders"][1]["state"] == "unknown"
    lines = run("replay", journal=url).text
    assert "c-1  PARTIAL  market buy 2 EURUSD\n  since 2026-01-05 10:00:04 UTC" in lines
    assert "c-2  UNKNOWN  market buy 2 EURUSD\n  since 2026-01-05 10:00:08 UTC" in lines
    listed = run("log", "--kind", "orders", journal=url).text
    assert listed.count("Order") == 3
    assert "FillRecorded" not in listed
