"""Laws of the journal's metrics: they are what ``ledger status`` shows, and looking more often changes nothing."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from ledger import AccountId, BreakClosed, BreakOpened, Ledger, SyncDegraded, SyncRestored, TradingHalted
from ledger.account_status import look
from ledger.journal.health import HeldBack, SyncHealth
from ledger.metrics.of_journal import JournalMetrics
from tools.testkit.facts import START_MSC, START_US, fill, opened

NAMES = (AccountId("Broker-Live", 1), AccountId("Broker-Live", 2), AccountId("Other-Demo", 1))
SCRAPE = "scrape"


class Desk:
    """A ledger in memory, and what may happen to its accounts."""

    def __init__(self) -> None:
        self.now_us = START_US
        self.ledger = Ledger.open("memory://", now_us=lambda: self.now_us)
        self.number = 0

    def do(self, what, name, how) -> None:
        self.number += 1
        self.now_us += 1_000_000
        account, moment = self.ledger.account(name), START_MSC + self.number * 1000
        if what == "health":
            if account.is_open:
                self.ledger.journal.save_sync_health(health(name, self.now_us, how))
            return
        if what == "wait":
            self.now_us += (1, 50, 70, 400)[how % 4] * 1_000_000
            return
        events: list[Any] = [] if account.is_open else [opened(name)]
        if what == "fill":
            events.append(fill(self.number, self.number))
        elif what == "break":
            kinds = ("ghost", "zombie", "balance", "stops")
            events.append(BreakOpened(kind=kinds[how % 4], position_id=how, symbol="EURUSD", time_msc=moment, attempts=how % 5))
        elif what == "close" and account.is_open:
            events += [
                BreakClosed(kind=one.kind, end="explained", time_msc=moment, caused_by=one.version or 0)
                for one in account.portfolio.breaks[:1]
            ]
        elif what == "degrade":
            is_degraded = account.is_open and account.portfolio.degraded is not None
            events.append(SyncRestored(time_msc=moment) if is_degraded else SyncDegraded(reason="gone", time_msc=moment))
        elif what == "halt":
            events.append(
                TradingHalted(scope="account", mode="all", number=self.number, operator="ann", reason="x", time_msc=moment)
            )
        self.ledger.journal.append(name, events)


def health(name, now_us, how):
    status = ("SUCCESS", "PARTIAL", "DEGRADED", "FAILED")[how % 4]
    held = (HeldBack(kind="ghost", symbol="EURUSD", why="young"),) if status == "PARTIAL" else ()
    verified_us = None if status in ("DEGRADED", "FAILED") else now_us
    return SyncHealth(
        account=name, status=status, reason=None, since_us=now_us, seen_us=now_us, verified_us=verified_us, success_us=None,
        duration_us=1, interval_us=15_000_000, verified_sec=60.0, balance_halts=how % 3 == 0, held=held, gateway=None,
        host="desk", pid=1, started_us=now_us, program="1",
    )  # fmt: skip


def figures(metrics):
    return {
        (sample.name, *sorted(sample.labels.items())): float(sample.value)
        for metric in metrics.collect()
        for sample in metric.samples
    }


actions = st.lists(
    st.tuples(
        st.sampled_from(["fill", "break", "close", "degrade", "halt", "health", "health", "wait", SCRAPE]),
        st.sampled_from(NAMES),
        st.integers(1, 12),
    ),
    max_size=25,
)


@given(actions)
def test_metrics_are_what_status_shows_and_scraping_in_between_changes_nothing(done):
    desk = Desk()
    often = JournalMetrics(desk.ledger)
    for what, name, how in done:
        if what == SCRAPE:
            figures(often)
        else:
            desk.do(what, name, how)
    found = figures(often)
    assert found == figures(JournalMetrics(desk.ledger))
    unsafe = dict.fromkeys((one.server for one in desk.ledger.journal.accounts()), 0)
    for account in desk.ledger.accounts():
        shown = look(account, desk.now_us)
        row, labels = shown.json_row(), (("login", str(account.name.login)), ("server", account.name.server))
        assert found["ledger_safe_to_trade", *labels] == row["safe_to_trade"]
        assert found["ledger_account_version", *labels] == account.version
        assert found["ledger_sync_degraded", *labels] == (shown.state in ("DEGRADED", "FAILED") or is_stale_and_failed(shown))
        of_breaks = {
            key: count for key, count in found.items() if key[0] == "ledger_breaks_open" and set(labels) < set(key[1:])
        }
        assert sum(of_breaks.values()) == row["open_breaks"]
        unsafe[account.name.server] += not row["safe_to_trade"]
    assert {key[1][1]: count for key, count in found.items() if key[0] == "ledger_accounts_unsafe"} == unsafe
    assert sum(count for key, count in found.items() if key[0] == "ledger_accounts") == len(desk.ledger.journal.accounts())
    total = sum(count for key, count in found.items() if key[0] == "ledger_events_appended_total")
    assert total == sum(head.version for head in desk.ledger.journal.heads().values())


def is_stale_and_failed(shown):
    """Status replaces how the last attempt ended by STALE as soon as that is old; the metric has its own alert for it."""
    return shown.state == "STALE" and shown.health is not None and shown.health.status in ("DEGRADED", "FAILED")
