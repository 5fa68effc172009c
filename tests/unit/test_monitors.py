"""Monitors: what may be lost, what is used up, and what is not known; a breach is derived from what is stored."""

from __future__ import annotations

from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import attrs
import pytest

from ledger import AccountId, BalanceAsserted, Ledger
from ledger.clock import utc_text_us
from ledger.config import read
from ledger.errors import BadValue, CorruptEvent, JournalUnavailable
from ledger.journal.health import from_columns, to_columns
from ledger.journal.memory import MemoryJournal
from ledger.marks import Mark
from ledger.monitors import MonitorState, State, breaches, states
from ledger.orders.monitor_values import Drawdown, MonitorRules
from ledger.safety import judge, seen_of
from tests.support.broker import Desk, reconciler
from tests.support.journals import Intruder
from tools.testkit.facts import ACCOUNT, OTHER, START_MSC, START_US, cash, completion, fill, opened

SECOND, HOUR = 1_000_000, 3_600_000_000
DAY = 24 * HOUR
#: The next day begins fourteen hours after everything.
MIDNIGHT = START_US + 14 * HOUR
RULES = {"daily_loss": "5%", "max_drawdown": "10%"}


class Book:
    """An account with 100,000 and an open position, looked at some time later. The clock is UTC."""

    def __init__(self, ledger: Ledger | None = None) -> None:
        self.now_us = START_US + HOUR
        self.ledger = ledger or Ledger(MemoryJournal(lambda: START_US + 99 * DAY), now_us=lambda: self.now_us)
        self.journal = self.ledger.journal
        self.journal.append(ACCOUNT, [opened()])
        self.account = self.ledger.account(ACCOUNT)
        self.record(cash(1, profit=100_000), BalanceAsserted(balance=100_000, time_msc=START_MSC), fill(2, 1))

    def record(self, *events: Any) -> None:
        for event in events:
            self.account.record(event)

    def close(self, deal: int, at_us: int, profit: int | None, position_id: int = 2) -> None:
        second = (at_us - START_US) / SECOND
        self.record(fill(deal, second, side="sell", entry="out", position_id=position_id, profit=profit))

    def sample(self, at_us: int, equity: Any, **known: Any) -> None:
        exact = None if equity is None else Decimal(equity)
        mark = Mark(at_us=at_us, balance=Decimal(100_000), credit=Decimal(0), equity=exact, is_equity_reported=True, **known)
        self.journal.save_mark(ACCOUNT, mark)

    def look(self, at_us: int, **settings: Any) -> dict[str, MonitorState]:
        self.now_us = at_us
        found = states(self.ledger, monitored(settings or RULES), at_us)
        return {one.limit: one for one in found}


def monitored(table: dict[str, Any]) -> Any:
    return SimpleNamespace(monitors={ACCOUNT: MonitorRules.of_table(table)})


@pytest.fixture
def book():
    return Book()


def test_a_day_that_began_with_unknown_money_is_unknown_until_it_is_known(book):
    book.close(3, MIDNIGHT - HOUR, None)
    book.sample(MIDNIGHT - SECOND, 100_000)
    book.sample(MIDNIGHT + HOUR, 100_000)
    for base in ("balance", "equity", "higher"):
        day = book.look(MIDNIGHT + HOUR + SECOND, daily_loss="5%", daily_base=base)["daily_loss"]
        assert (day.state, day.base) == ("unknown", None)
        assert day.reason.startswith("the money of a deal before the day began")
    book.record(completion(3, profit=500))
    assert book.look(MIDNIGHT + HOUR + SECOND)["daily_loss"].base == 100_500


@pytest.mark.parametrize(
    ("equity", "state", "used", "left"),
    [
        ("100400", "ok", 0, 5400),
        ("96000.01", "ok", "3999.99", "1000.01"),
        ("96000", "near", 4000, 1000),
        ("95000", "near", 5000, 0),  # exactly as much is allowed
        ("94999.99", "breached", "5000.01", "-0.01"),
    ],
)
def test_a_day_has_the_state_of_its_newest_sample(book, equity, state, used, left):
    book.sample(MIDNIGHT - SECOND, 100_000)
    book.sample(MIDNIGHT + HOUR, equity)
    day = book.look(MIDNIGHT + HOUR + SECOND)["daily_loss"]
    assert (day.state, day.used, day.left) == (state, Decimal(used), Decimal(left))
    assert (day.allowed, day.level, day.base, day.equity) == (5000, 95_000, 100_000, Decimal(equity))
    assert (day.day, day.day_start_us, day.day_end_us) == (utc_text_us(MIDNIGHT)[:10], MIDNIGHT, MIDNIGHT + DAY)
    assert (day.as_of_us, day.is_equity_reported, day.currency) == (MIDNIGHT + HOUR, True, "USD")


@pytest.mark.parametrize(
    ("base", "counted"), [("balance", 100_000), ("equity", 102_000), ("higher", 102_000)]
)  # fmt: skip
def test_a_day_counts_from_what_it_began_with(book, base, counted):
    book.sample(MIDNIGHT - SECOND, 102_000)
    book.sample(MIDNIGHT + HOUR, 101_000)
    day = book.look(MIDNIGHT + HOUR, daily_loss="5%", daily_base=base)["daily_loss"]
    assert (day.base, day.used) == (counted, max(0, counted - 101_000))


def sampled(*at: int, equity: Any = 100_000) -> Any:
    def prepare(book: Book) -> None:
        for at_us in at:
            book.sample(at_us, equity)

    return prepare


@pytest.mark.parametrize(
    ("prepare", "limit", "reason"),
    [
        (sampled(), "max_drawdown", "there is no mark"),
        (sampled(MIDNIGHT - SECOND), "daily_loss", "the newest mark is 1 h old"),
        (
            sampled(MIDNIGHT - SECOND, MIDNIGHT + HOUR + SECOND),
            "max_drawdown",
            "the newest mark is 1 h old",
        ),  # of the future
        (sampled(MIDNIGHT + HOUR), "daily_loss", "no mark shows what open positions came to when the day began"),
        (sampled(MIDNIGHT - SECOND, MIDNIGHT + HOUR, equity=None), "max_drawdown", "the newest mark has no equity"),
    ],
)
def test_what_is_not_known_is_never_ok(book, prepare, limit, reason):
    prepare(book)
    state = book.look(MIDNIGHT + HOUR)[limit]
    assert state.state == "unknown"
    assert reason in str(state.reason)
    assert (state.used, state.left, state.equity) == (None, None, None)


def test_an_account_that_cannot_be_judged_is_unknown():
    ledger = Ledger(MemoryJournal(lambda: START_US))
    table = SimpleNamespace(monitors={AccountId("Prop-2", 7): MonitorRules.of_table(RULES)})
    assert {(one.state, one.reason) for one in states(ledger, table, START_US)} == {
        (State.UNKNOWN, "account Prop-2/7 is not in this journal")
    }
    ledger.journal.append(ACCOUNT, [opened()])
    ledger.account(ACCOUNT).record(cash(1))  # a deposit alone shows no balance: it may not be the first
    reasons = [str(one.reason) for one in states(ledger, monitored(RULES), START_US)]
    assert reasons[0].startswith("the journal has no balance of when the day began")
    assert reasons[1].startswith("the initial balance is not known")


def test_an_account_that_cannot_be_read_is_unknown_and_hides_no_other(tmp_path):
    url, rules = f"sqlite:///{tmp_path}/desk.db", MonitorRules.of_table(RULES | {"unsafe_on_breach": True})
    with Ledger.create(url, now_us=lambda: START_US + 99 * DAY) as ledger:
        Book(ledger).sample(START_US + HOUR, 99_000)
        ledger.journal.append(OTHER, [opened(OTHER), BalanceAsserted(balance=100_000, time_msc=START_MSC)])
    intruder = Intruder(url)
    intruder.disarm()
    intruder("UPDATE events SET data = '{' WHERE kind = 'BalanceAsserted' AND version = 3")
    with Ledger.open(url) as ledger:
        found = states(ledger, SimpleNamespace(monitors=dict.fromkeys((ACCOUNT, OTHER), rules)), START_US + HOUR)
        assert [(one.account, one.state) for one in found[:2]] == [(ACCOUNT, State.UNKNOWN)] * 2
        assert str(found[0].reason).startswith("the account cannot be read: version 3: BalanceAsserted cannot be read")
        assert (found[3].account, found[3].limit, found[3].base) == (OTHER, "max_drawdown", 100_000)
        with pytest.raises(CorruptEvent):
            breaches(ledger.account(ACCOUNT), rules, START_US + HOUR)


def test_a_breach_of_a_day_lasts_until_the_day_ends_and_one_of_the_drawdown_for_good(book):
    book.sample(MIDNIGHT - SECOND, 100_000)
    book.sample(MIDNIGHT + HOUR, 89_000)  # for one sample
    for at_us in (MIDNIGHT + 2 * HOUR, MIDNIGHT + DAY - SECOND):
        book.sample(at_us, 100_000)
        now = book.look(at_us)
        assert [(one.state, one.breached_us) for one in now.values()] == [("breached", MIDNIGHT + HOUR)] * 2
        assert [one.left for one in now.values()] == [5000, 10_000]  # what is left now is another question
    book.sample(MIDNIGHT + DAY, 100_000)
    assert [one.state for one in book.look(MIDNIGHT + DAY).values()] == ["ok", "breached"]
    later = book.look(MIDNIGHT + 60 * DAY)
    assert [one.state for one in later.values()] == ["unknown", "breached"]
    assert "for good; the newest mark is 59 d old" in str(later["max_drawdown"].reason)


def test_a_breach_survives_a_restart_and_the_end_of_its_samples(tmp_path):
    url = f"sqlite:///{tmp_path / 'journal.db'}"
    with Ledger.create(url, now_us=lambda: START_US + DAY) as ledger:
        book = Book(ledger)
        book.sample(START_US + 70 * SECOND, 103_000)
        book.sample(START_US + 71 * SECOND, 92_999)  # the same minute: the drop is from its own highest
        book.sample(START_US + 72 * SECOND, 103_000)
        assert book.journal.delete_marks(ACCOUNT, START_US + HOUR) == 3
    with Ledger.open(url) as ledger:
        (one,) = states(ledger, monitored({"max_drawdown": "10%", "drawdown": "trailing"}), START_US + HOUR)
        assert (one.state, one.breached_us, one.base, one.level) == ("breached", START_US + 71 * SECOND, 103_000, 93_000)


def test_what_was_lowest_before_it_was_highest_is_no_drop(book):
    for second, equity in ((70, 92_000), (71, 103_000)):
        book.sample(START_US + second * SECOND, equity)
    for drawdown, level in (("static", 90_000), ("trailing", 93_000), ("trailing-until-start", 93_000)):
        one = book.look(START_US + 72 * SECOND, max_drawdown="10%", drawdown=drawdown)["max_drawdown"]
        assert (one.state, one.level) == ("ok", level)


def test_the_level_of_each_drawdown(book):
    book.close(3, START_US + HOUR, 15_000)
    book.sample(START_US + 2 * HOUR, 118_000)
    levels = {}
    for drawdown in Drawdown:
        one = book.look(START_US + 2 * HOUR, max_drawdown="10%", drawdown=drawdown.value)["max_drawdown"]
        levels[drawdown.value] = (one.level, one.left)
    assert levels == {
        "static": (90_000, 28_000),
        "trailing": (108_000, 10_000),
        "trailing-balance": (105_000, 13_000),
        "trailing-until-start": (100_000, 18_000),
    }


def test_a_loss_between_two_samples_is_seen_where_nothing_was_open_then(book):
    book.sample(START_US + 90 * SECOND, 100_000)
    book.close(3, START_US + 100 * SECOND, -11_000)
    book.record(fill(4, 200))
    book.close(5, START_US + 300 * SECOND, 11_000, position_id=4)
    book.sample(START_US + 400 * SECOND, 100_000)
    now = book.look(START_US + 400 * SECOND)
    assert [(one.state, one.breached_us) for one in now.values()] == [("breached", START_US + 100 * SECOND)] * 2


def test_a_balance_without_the_money_of_a_deal_is_no_equity(book):
    book.sample(START_US + HOUR, 102_000)
    book.close(3, START_US + 60 * SECOND, None)
    book.record(fill(4, 70))
    book.close(5, START_US + 80 * SECOND, -6000, position_id=4)
    assert book.look(START_US + HOUR)["daily_loss"].state == "ok"
    book.record(completion(3, profit=500))
    assert book.look(START_US + HOUR)["daily_loss"].state == "breached"


def test_what_is_paid_in_or_out_is_no_gain_and_no_loss_of_a_day(book):
    book.sample(MIDNIGHT - SECOND, 100_000)
    hour = MIDNIGHT + HOUR
    book.record(cash(3, (hour - START_US) / SECOND, profit=-20_000))
    for after_us, equity in ((-5 * SECOND, 80_000), (5 * SECOND, 100_000), (HOUR, 79_000)):  # of clocks that differ
        book.sample(hour + after_us, equity)
    day = book.look(hour + HOUR)["daily_loss"]
    assert (day.state, day.used, day.level) == ("ok", 1000, 75_000)
    book.record(cash(4, (hour + 2 * HOUR - START_US) / SECOND, profit=50_000))
    book.sample(hour + 2 * HOUR + 5 * SECOND, 79_000)  # which does not have it yet
    assert book.look(hour + 2 * HOUR + 5 * SECOND)["daily_loss"].state == "ok"
    book.sample(hour + 3 * HOUR, 124_000)  # a deposit does not hide a loss
    assert book.look(hour + 3 * HOUR)["daily_loss"].state == "breached"


def test_where_the_initial_balance_comes_from(book):
    drawdown = book.look(START_US + HOUR)["max_drawdown"]
    assert drawdown.base_from == "initial balance 100000.00, of the journal: before the first trade"
    stated = book.look(START_US + HOUR, max_drawdown="10%", initial_balance="50000")["max_drawdown"]
    assert (stated.base, stated.base_from) == (50_000, "initial balance 50000.00, of the settings")
    assert stated.allowed == 5000


def test_only_with_unsafe_on_breach_a_breach_makes_the_account_unsafe():
    desk = Desk("#7 buy 1 @ 10", "#7 long 1 @ 10", extended=True)
    desk.broker.state(10_000, 0)
    said: list[str] = []
    desk.reconciler = reconciler(desk.account, desk.broker, desk.watch, desk.policy, breaches=lambda _: tuple(said))
    desk.sync(3)
    assert desk.reconciler.safe_to_trade().is_safe
    said.append("daily_loss is breached: since noon")
    desk.sync()
    assert desk.reconciler.safe_to_trade("EURUSD").why == "daily_loss is breached: since noon"
    health = desk.account.ledger.journal.sync_health(desk.account.name)
    assert health is not None
    stored = from_columns(health.account, to_columns(health))
    assert stored == health
    assert judge(seen_of(health, desk.watch.now_us), ()).why == "daily_loss is breached: since noon"

    def fails(_: int) -> tuple[str, ...]:
        raise JournalUnavailable("away")

    desk.reconciler = reconciler(desk.account, desk.broker, desk.watch, desk.policy, breaches=fails)
    desk.sync()
    assert desk.reconciler.safe_to_trade().why == "whether a monitor is breached cannot be read: away"
    older = to_columns(attrs.evolve(health, breached=()))
    older["policy"] = '{"verified_sec": 60, "balance_halts": false, "withdrawn_halts": false}'
    assert getattr(from_columns(health.account, older), "breached", None) == ()


def test_what_a_sync_asks_is_only_breaches_of_settings_that_want_it(book):
    book.sample(START_US + HOUR, 80_000)
    for unsafe, found in ((True, 2), (False, 0)):
        rules = MonitorRules.of_table(RULES | {"unsafe_on_breach": unsafe})
        assert len(breaches(book.account, rules, START_US + HOUR)) == found
    assert breaches(book.account, None, START_US + HOUR) == ()


@pytest.mark.parametrize(
    ("table", "complaint"),
    [
        ("", "expected daily_loss, max_drawdown or both, found neither"),
        ('warn_at = "80%"', "expected daily_loss, max_drawdown or both, found neither"),
        ("daily_loss = 500.5", "daily_loss: expected a number or percent"),
        ("daily_loss = 0", "daily_loss: expected a number or percent ('500', '5%'), more than 0"),
        ('daily_los = "5%"', "there is no setting 'daily_los'. Did you mean daily_loss?"),
        ('daily_loss = "5%"\ndrawdown = "trailing"', "drawdown is of max_drawdown, found none"),
        ('max_drawdown = "5%"\nday = "UTC"', "day is of daily_loss, found none"),
        ('max_drawdown = "5%"\ndrawdown = "up"', "drawdown: expected one of static, trailing"),
        ('daily_loss = "5%"\nday = "Mars"', "day: a server clock is an IANA zone"),
        ('daily_loss = "5%"\nday_start = "24:00"', "day_start: expected a time of day ('17:00'), found '24:00'"),
        ('daily_loss = "5%"\nwarn_at = "101%"', "warn_at: expected at most 100% of what may be lost"),
        ('daily_loss = "5%"\nunsafe_on_breach = "yes"', "unsafe_on_breach: expected true or false, found 'yes'"),
    ],
)
def test_settings_are_read_strictly(tmp_path, table, complaint):
    path = tmp_path / "ledger.toml"
    path.write_text(f'[monitors."Prop-2/881"]\n{table}\n', encoding="utf-8")
    with pytest.raises(BadValue, match="monitors") as refused:
        read(path)
    assert f'[monitors."Prop-2/881"]: {complaint}' in str(refused.value)


def test_an_account_is_monitored_once(tmp_path):
    path = tmp_path / "ledger.toml"
    path.write_text('[monitors."A/1"]\ndaily_loss = 5\n[monitors."A/01"]\ndaily_loss = 6\n', encoding="utf-8")
    with pytest.raises(BadValue, match="A/01"):
        read(path)
    path.write_text('[monitors."A/1"]\ndaily_loss = 5\n', encoding="utf-8")
    assert {str(name): str(rules.daily_loss) for name, rules in read(path).monitors.items()} == {"A/1": "5"}
