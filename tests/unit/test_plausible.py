"""Facts that cannot be are refused when they are recorded, with the likely cause; what is stored stays readable."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from attrs import evolve

from ledger import (
    Account,
    AccountOpened,
    Adjusted,
    BadValue,
    BalanceAsserted,
    CashMoved,
    DealCompleted,
    DealRevised,
    DriftCorrected,
    Event,
    FillRecorded,
    GhostClosed,
    Ledger,
    MalformedExport,
    MarginMode,
    Outcome,
    PositionRecovered,
    SymbolSpecified,
    SyncStatus,
)
from ledger.codec import Stored, encode, natural_key
from ledger.importer import ImportOptions, import_files
from ledger.journal.admission import start
from ledger.journal.chain import link
from ledger.journal.memory import MemoryJournal
from ledger.terms import AccountTerms
from ledger.values import AccountId, to_margin_mode
from tests.support.broker import Desk, ScriptedGateway, reconciler
from tools.testkit.stories import RECORDED_US, START_MSC, at, cash, fill, opened, state, ticking

SECOND = 1_704_153_600  # 2024-01-02, in seconds
DAY_MSC = 86_400_000
NOW_MSC = RECORDED_US // 1000


@pytest.mark.parametrize(("time_msc", "cause"), [
    (SECOND, "it looks like seconds: multiply by 1000"),
    (0, "give time_msc as MT5 reports it"),
    (946_684_799_999, "2000 or later"),
    (4_702_233_600_000, "at most a day ahead of now"),
    (NOW_MSC + DAY_MSC + 60_000, "is the clock of this computer right"),
])  # fmt: skip
@pytest.mark.parametrize("make", [
    lambda time_msc: fill(1, time_msc=time_msc),
    lambda time_msc: cash(1, time_msc=time_msc),
    lambda time_msc: DealRevised(now=fill(900, time_msc=time_msc), caused_by=1),
    lambda time_msc: DealCompleted(deal=900, time_msc=time_msc, caused_by=1, magic=5),
    lambda time_msc: BalanceAsserted(balance=1, time_msc=time_msc),
    lambda time_msc: GhostClosed(before=state("long 1 @ 10", 900), time_msc=time_msc),
    lambda time_msc: PositionRecovered(position=state("long 1 @ 10", opened_msc=time_msc), time_msc=at(2)),
    lambda time_msc: PositionRecovered(position=state("long 1 @ 10", updated_msc=time_msc), time_msc=at(2)),
    lambda time_msc: DriftCorrected(
        before=state("long 1 @ 10"), after=state("long 2 @ 10", opened_msc=time_msc), time_msc=at(2)
    ),
    lambda time_msc: Adjusted(operator="o", reason="r", after=state("long 2 @ 10", opened_msc=time_msc), time_msc=at(2)),
])  # fmt: skip
def test_a_fact_at_a_time_that_cannot_be_is_refused_and_the_cause_is_named(make, time_msc, cause):
    account = opened()
    account.record(fill(900, time_msc=at(1), profit=None))
    version = account.version
    with pytest.raises(BadValue, match=cause) as refused:
        account.record(make(time_msc))
    assert str(time_msc) in str(refused.value)
    assert account.version == version


@pytest.mark.parametrize(("time_msc", "cause"), [
    (SECOND * 1_000_000, "it looks like microseconds: divide by 1000"),
    (SECOND * 10**9, "it looks like nanoseconds: divide by 1000000"),
    (float(SECOND) * 1000, "whole number"),
])  # fmt: skip
def test_a_time_in_another_unit_is_refused_when_the_fact_is_made(time_msc, cause):
    with pytest.raises(BadValue, match=cause):
        fill(1, time_msc=time_msc)


def test_an_account_is_not_opened_at_a_time_that_cannot_be():
    account = Ledger.open("memory://", now_us=ticking()).account("Broker-Live", 1)
    with pytest.raises(BadValue, match="seconds"):
        account.open(currency="USD", mode="hedging", time_msc=SECOND)
    assert not account.is_open


@pytest.mark.parametrize(("clock", "ahead_hours"), [("UTC", 0), ("+03:00", 3), ("-05:00", -5), ("ny-close", 2)])
def test_a_day_ahead_is_counted_on_the_servers_clock(clock, ahead_hours):
    account = opened(clock=clock)
    latest_msc = NOW_MSC + DAY_MSC + ahead_hours * 3_600_000
    account.record(fill(1, time_msc=latest_msc))
    with pytest.raises(BadValue, match="ahead of now"):
        account.record(fill(2, time_msc=latest_msc + 2_000))


@pytest.mark.parametrize("event", [
    fill(1, time_msc=946_684_800_000), SymbolSpecified(symbol="X", time_msc=0), fill(1, time_msc=NOW_MSC + 3_600_000),
])  # fmt: skip
def test_what_can_be_is_recorded(event):
    assert opened().record(event) is Outcome.APPENDED


def test_a_computer_that_lost_its_clock_refuses_no_deal():
    account = opened(now_us=ticking(-5_000_000))
    assert account.record(fill(1, time_msc=START_MSC)) is Outcome.APPENDED
    with pytest.raises(BadValue, match="seconds"):
        account.record(fill(2, time_msc=SECOND))


def test_nothing_of_a_batch_is_recorded_if_one_time_cannot_be():
    account = opened()
    with pytest.raises(BadValue, match="deal 2"):
        account.record_many([fill(1), fill(2, time_msc=SECOND), fill(3)])
    assert account.version == 1


# ---- what an older program recorded


def recorded_before(*events: Event) -> Account:
    """Return an account whose journal was written when nothing was refused."""
    name = AccountId("Broker-Live", 70113)
    first = AccountOpened(
        server=name.server, login=name.login, currency="DOLLARS", currency_digits=2, mode="hedging", clock="UTC",
        time_msc=SECOND,
    )  # fmt: skip
    terms = AccountTerms(opened=first, clock=first.clock)
    rows: list[Stored] = []
    head = start(name).hash
    for version, event in enumerate((first, *events), 1):
        row = encode(event, terms)._replace(
            version=version,
            recorded_us=RECORDED_US + version,
            natural_key=natural_key(event),
            placement=2 if version == 1 else 0,
        )
        rows.append(link(row[: Stored._fields.index("prev_hash")], head))
        head = rows[-1].hash
    journal = MemoryJournal(ticking())
    journal.append_verbatim(name, rows)
    return Ledger(journal, ticking()).account(name)


OLD = (fill(1, time_msc=SECOND), fill(2, time_msc=4_702_233_600_000, position_id=8, profit=None))


def test_what_an_older_program_recorded_stays_readable():
    account = recorded_before(*OLD)
    assert [one.event for one in account.events()][1:] == list(OLD)
    assert account.verify().problems == ()
    assert sorted(account.portfolio.positions) == [7, 8]


def test_an_account_that_holds_a_time_that_cannot_be_goes_on():
    account = recorded_before(*OLD)
    assert account.record(OLD[0]) is Outcome.DUPLICATE
    assert account.record(evolve(OLD[1], profit=Decimal(5))) is Outcome.COMPLETED
    assert account.record(DealCompleted(deal=2, time_msc=OLD[1].time_msc, caused_by=1, magic=7)) is Outcome.COMPLETED
    assert account.record(GhostClosed(before=state("long 1 @ 10", 8), time_msc=OLD[1].time_msc + 1)) is Outcome.APPENDED
    assert account.record(DealRevised(now=evolve(OLD[0], time_msc=SECOND * 1000), caused_by=1)) is Outcome.APPENDED
    assert account.open(currency="DOLLARS", mode="hedging") is Outcome.DUPLICATE


# ---- terms


@pytest.mark.parametrize(("currency", "stored"), [
    ("USD", "USD"), ("usd", "USD"), (" Eur ", "EUR"), ("USC", "USC"), ("USDT", "USDT"), ("usdt", "USDT"), ("XBT", "XBT"),
    ("mBTC", "MBTC"), ("EUX", "EUX"), ("JPY", "JPY"), ("USD2", "USD2"),
])  # fmt: skip
def test_a_currency_is_a_code(currency, stored):
    assert opened(currency=currency).terms.opened.currency == stored


@pytest.mark.parametrize(
    "currency",
    ["dollars", "DOLLARS", "dollar", "euro", "US Dollar", "US$", "$", "U", "US", "", " ", "USD/EUR", "\uff35SD", 5, None],
)
def test_what_is_no_currency_code_is_refused(currency):
    with pytest.raises(BadValue, match="currency"):
        opened(currency=currency)


@pytest.mark.parametrize(("mode", "meant"), [("hedge", "hedging"), ("Hedge", "hedging"), ("net", "netting")])
def test_an_abbreviated_mode_is_refused_and_the_word_is_named(mode, meant):
    with pytest.raises(BadValue, match=f"did you mean '{meant}'"):
        opened(mode)
    assert to_margin_mode(mode) is MarginMode(meant)  # what a report or a gateway writes is read


@pytest.mark.parametrize("mode", ["hedged", "", "retail hedging", "0", 3, -1, 2.0, True, None, [], b"hedging"])
def test_what_is_no_mode_is_refused(mode: Any):
    with pytest.raises(BadValue, match="a mode is netting, hedging or exchange"):
        opened(mode)


def test_a_fact_names_itself_in_the_error():
    recorded = FillRecorded(deal=5, symbol="X", side="buy", entry="in", volume=1, price=1, time_msc=SECOND)
    with pytest.raises(BadValue, match=r"FillRecorded of deal 5, time_msc: expected .*found 1704153600 .1970-01-20"):
        opened().record(recorded)
    with pytest.raises(BadValue, match="CashMoved of deal 6"):
        opened().record(CashMoved(deal=6, type=2, profit=1, time_msc=SECOND))


# ---- what a gateway reports


def test_a_deal_of_the_gateway_at_a_time_that_cannot_be_degrades_by_row_and_field_until_it_is_gone():
    desk = Desk(extended=True)
    desk.broker.report(desk.fill(1, entry="in"), fill(2, time_msc=SECOND))
    result = desk.sync()
    assert result.status is SyncStatus.DEGRADED
    assert (result.reason or "").startswith("row 2, time: deal 2: expected a broker time in milliseconds")
    assert "it looks like seconds" in (result.reason or "")
    assert desk.reconciler.safe_to_trade().is_safe is False
    desk.broker._deals.clear()
    assert desk.sync().status is SyncStatus.SUCCESS


def test_a_gateway_opens_no_account_in_what_is_no_currency():
    desk = Desk(extended=True)
    gateway = ScriptedGateway(extended=True, now_us=desk.watch, name=AccountId("Other", 1)).state(100)
    account = Ledger.open("memory://", now_us=desk.watch).account("Other", 1)
    asked = gateway.account
    gateway.account = lambda: evolve(asked(), currency="DOLLARS")  # type: ignore[method-assign]
    result = reconciler(account, gateway, desk.watch).sync_positions()
    assert (result.status, account.is_open) == (SyncStatus.DEGRADED, False)
    assert "currency code" in (result.reason or "")


@pytest.mark.parametrize(("moment", "cause"), [
    ("1999.12.31 23:59:59", "2000 or later"), ("2119.01.05 10:00:00", "at most a day ahead of now"),
])  # fmt: skip
def test_a_file_with_a_time_that_cannot_be_is_refused_by_row_and_nothing_is_appended(moment, cause, tmp_path):
    head = "ticket,time,type,entry,volume,price,profit,symbol,position_id,order\n"
    good = "1,2024.01.02 10:00:00,0,0,1,1.1,0,EURUSD,7,7\n"
    (tmp_path / "good.csv").write_text(head + good)
    (tmp_path / "bad.csv").write_text(head + good.replace("1,2024", "2,2024") + f"3,{moment},1,1,1,1.1,5,EURUSD,7,8\n")
    ledger = Ledger.open("memory://", now_us=ticking())
    options = ImportOptions(account=AccountId("Tester", 1), mode=MarginMode.HEDGING, currency="USD")
    with pytest.raises(MalformedExport, match=cause) as refused:
        import_files(ledger, [tmp_path / "good.csv", tmp_path / "bad.csv"], options=options)
    assert (refused.value.row, refused.value.column) == (3, "time")
    assert ledger.accounts() == []


@pytest.mark.parametrize("currency", ["DOLLARS", "euro", "US Dollar"])
def test_an_import_opens_no_account_in_what_is_no_currency(currency, tmp_path):
    (tmp_path / "x.csv").write_text(
        "ticket,time,type,entry,volume,price,profit,symbol,position_id,order\n1,2024.01.02 10:00:00,0,0,1,1.1,0,EURUSD,7,7\n"
    )
    ledger = Ledger.open("memory://", now_us=ticking())
    steps: list[str] = []
    with pytest.raises(BadValue, match="currency code"):
        import_files(
            ledger,
            [tmp_path / "x.csv"],
            options=ImportOptions(account=AccountId("Tester", 1), mode=MarginMode.HEDGING, currency=currency),
            progress=steps.append,
        )
    assert not any(step.startswith("recording") for step in steps)  # everything is checked before anything is recorded
