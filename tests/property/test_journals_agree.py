"""The law of the journals: in memory, in SQLite and in Postgres they agree under any sequence of calls."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any

from attrs import evolve
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from ledger import AccountId, Adjusted, BalanceAsserted, LedgerError, SyncDegraded
from ledger.codec import decode_posting
from ledger.folds import ORDERS, PORTFOLIO
from ledger.journal import Journal, Selection
from ledger.journal.checkpoints import replayed
from ledger.journal.memory import MemoryJournal
from ledger.journal.verify.walk import verify_account
from ledger.json_views import replay_json
from ledger.portfolio import Portfolio
from tests.support.journals import (
    START_MSC,
    START_US,
    cash,
    completion,
    digest_of,
    fill,
    ghost,
    new_partitioned_url,
    new_postgres_url,
    new_url,
    open_journal,
    opened,
    revised,
    specified,
)
from tools.testkit.orders import absent, answered, intended, seen

#: The raw answers that corrections rest on; all of them are offered every time.
ANSWERS = (b"", b'{"status": "SUCCESS", "positions": []}', bytes(5000))

# Few tickets, few seconds and few values, so that records meet.
tickets = st.integers(1, 5)
times = st.sampled_from([0, 0.5, 1, 2, 2.25, 3, 4])
money = st.sampled_from([None, 0, 5])
fills = st.builds(
    fill, tickets, times, volume=st.sampled_from([1, 2]), side=st.sampled_from(["buy", "sell"]),
    entry=st.sampled_from(["in", "in", "out", "in/out"]), position_id=st.sampled_from([None, 1, 2]), profit=money,
    commission=money, symbol=st.sampled_from(["EURUSD", "X#2"]),
)  # fmt: skip
poor = fills.map(lambda deal: evolve(deal, position_id=None, profit=None, commission=None))
moved = st.builds(cash, tickets, times, profit=st.integers(-3, 3), type=st.sampled_from([2, 3, 13]))
deals = fills | poor | moved
others = st.one_of(
    st.builds(completion, tickets, profit=money, commission=money, position_id=st.sampled_from([None, 1])),
    deals.map(revised),
    st.builds(ghost, st.integers(1, 2), times, evidence=st.sampled_from([None, *map(digest_of, ANSWERS)])),
    st.builds(specified, st.sampled_from(["EURUSD", "X", "X#2", "X#"]), digits=st.integers(1, 3)),
    st.builds(specified, st.sampled_from(["EURUSD", "X"]), price_scale=st.integers(1, 3)),
    st.builds(lambda at: SyncDegraded(reason="r", time_msc=START_MSC + int(at * 1000)), times),
    st.builds(
        lambda at, balance: BalanceAsserted(balance=balance, time_msc=START_MSC + int(at * 1000)), times, st.integers(0, 5)
    ),
    st.builds(
        lambda at, rule: Adjusted(
            operator="o", reason="r", time_msc=START_MSC + int(at * 1000), clock_before="UTC", clock_after=rule
        ),
        times,
        st.sampled_from(["UTC", "+02:00", "ny-close"]),
    ),
)
seconds = st.integers(0, 4)
of_orders = st.one_of(
    st.builds(intended, st.integers(1, 2), seconds, volume=st.sampled_from([2, 2, 3]), symbol=st.just("EURUSD")),
    st.builds(answered, tickets, seconds, st.sampled_from(["accepted", "accepted", "unknown"])),
    st.builds(seen, tickets, seconds, st.sampled_from([1, 2, 4])),
    st.builds(absent, tickets, seconds),
)
batches = st.lists(deals | others | of_orders, max_size=6)

_examples = count(1)


@cache
def shared_urls() -> tuple[str, ...]:
    folder = Path(tempfile.mkdtemp(prefix="ledger-agree-"))
    atexit.register(shutil.rmtree, folder)
    return new_url("sqlite", folder), new_postgres_url()


@cache
def partitioned_urls() -> tuple[str, ...]:
    return (new_partitioned_url(),)


class Journals(RuleBasedStateMachine):
    """The same calls to three journals at the same moments; two accounts that no other example uses."""

    urls = staticmethod(shared_urls)

    def __init__(self) -> None:
        super().__init__()
        number = next(_examples)
        self.accounts = [AccountId("One", number), AccountId("Two", number)]
        self.now = START_US
        self.last: tuple[AccountId, list[Any]] | None = None
        self.durable = [open_journal(url, self.look) for url in self.urls()]
        self.memory = MemoryJournal(self.look)

    def look(self) -> int:
        return self.now

    @property
    def journals(self) -> list[Journal]:
        return [self.memory, *self.durable]

    def teardown(self) -> None:
        try:
            for journal in self.journals:
                for account in self.accounts:
                    if journal.head(account) is not None:
                        assert verify_account(journal, account).problems == ()
        finally:
            for journal in self.journals:
                journal.close()

    def same(self, ask: Any) -> Any:
        """Ask all of them; they must answer the same."""
        first, *rest = [ask(journal) for journal in self.journals]
        for other in rest:
            assert other == first
        return first

    def record(self, account: AccountId, events: list[Any], **words: Any) -> None:
        def append(journal: Journal) -> Any:
            try:
                appended = journal.append(account, events, evidence=ANSWERS, **words)
            except LedgerError as error:
                return type(error), str(error)
            outcomes = [str(outcome) for outcome in appended.outcomes]  # two errors are never equal
            return appended.head, appended.rows, outcomes

        self.same(append)

    @initialize(mode=st.sampled_from(["hedging", "netting"]))
    def open_one(self, mode: str) -> None:
        self.record(self.accounts[0], [opened(self.accounts[0], mode=mode)])

    @rule(events=batches, which=st.sampled_from([0, 0, 0, 1]), conflicts=st.sampled_from(["refuse", "keep", "keep"]))
    def append(self, events: list[Any], which: int, conflicts: str) -> None:
        self.last = (self.accounts[which], events)
        self.record(self.accounts[which], events, conflicts=conflicts, correlation="c")

    @precondition(lambda self: self.last is not None)
    @rule()
    def record_again(self) -> None:
        assert self.last is not None
        self.record(*self.last, conflicts="keep")

    @rule(deal=tickets, at=st.lists(times, min_size=2, max_size=4), fees=st.booleans())
    def record_one_deal_again_and_again(self, deal: int, at: list[float], fees: bool) -> None:
        """Record a deal poorly, then completely, then elsewhere in time, and there completely too."""
        for second in at:
            poorly = fill(deal, second, profit=None, commission=None)
            more = [completion(deal, profit=7)] + [completion(deal, commission=-1)] * fees
            self.record(self.accounts[0], [poorly, revised(poorly), *more], conflicts="keep")

    @rule(events=batches, off=st.sampled_from([0, 0, 1, -1]))
    def append_expecting(self, events: list[Any], off: int) -> None:
        head = self.memory.head(self.accounts[0])
        assert head is not None
        self.record(self.accounts[0], events, expected_version=head.version + off, conflicts="keep")

    @rule(terms=st.sampled_from([{}, {}, {"currency": "EUR"}, {"clock": "+02:00"}]), which=st.sampled_from([0, 1]))
    def open_again(self, terms: dict[str, Any], which: int) -> None:
        self.record(self.accounts[which], [opened(self.accounts[which], **terms)])

    @rule(by=st.sampled_from([0, 1, 1_000_000, -5_000_000, 3_600_000_000]))
    def let_time_pass(self, by: int) -> None:
        self.now += by

    @rule()
    def reopen(self) -> None:
        for journal in self.durable:
            journal.close()
        self.durable = [open_journal(url, self.look) for url in self.urls()]

    @rule(data=st.data())
    def replay(self, data: st.DataObject) -> None:
        account = self.accounts[0]
        head = self.memory.head(account)
        assert head is not None
        version = data.draw(st.integers(0, head.version))
        at = data.draw(st.none() | times)
        selection = Selection(version=version, time_msc=None if at is None else START_MSC + int(at * 1000))
        self.same(lambda journal: list(journal.postings(account, selection)))
        self.same(lambda journal: journal.count_outside_fold(account, selection))
        for low in (0, version // 2, max(0, version - 1)):
            self.same(lambda journal, low=low: journal.earliest_change(account, low, version))
        self.same(lambda journal: list(journal.rows(account, after=version // 2, upto=version)))
        terms = self.same(lambda journal: journal.terms(account, version))
        recorded_us = data.draw(st.sampled_from([row.recorded_us for row in self.memory.rows(account)]))
        for end in (recorded_us, recorded_us + 1):
            self.same(lambda journal, end=end: journal.version_at(account, end))
        if terms is None:
            return

        whole = Portfolio(terms)
        whole.fold(self.memory.postings(account, selection), decode_posting)
        events = sum(at is None or row.time_msc <= (selection.time_msc or 0) for row in self.memory.rows(account, upto=version))
        interval = data.draw(st.sampled_from([None, 1, 1, 2, 3]))

        def portfolio(journal: Journal) -> Any:
            """Fold from whatever checkpoint an earlier replay left, of this moment or another."""
            folded, selected = replayed(journal, account, selection, terms, fold=PORTFOLIO, interval=interval)
            assert folded.state() == whole.state()
            assert selected == events
            return replay_json(folded, until=None, known_at=None, version=version, head="", selected=selected)

        orders = self.same(lambda journal: replayed(journal, account, selection, terms, fold=ORDERS, interval=None)[0].state())

        def of_orders(journal: Journal) -> Any:
            """Fold the orders from whatever checkpoint an earlier replay left."""
            return replayed(journal, account, selection, terms, fold=ORDERS, interval=interval)[0].state()

        assert self.same(of_orders) == orders
        self.same(portfolio)
        self.same(lambda journal: list(journal.checkpoints(account)))

    @invariant()
    def agree(self) -> None:
        for account in self.accounts:
            self.same(lambda journal, account=account: journal.head(account))
            self.same(lambda journal, account=account: list(journal.rows(account)))
            self.same(lambda journal, account=account: account in journal.accounts())
            named = {row.evidence for row in self.memory.rows(account)}
            for raw in ANSWERS:
                answer = self.same(lambda journal, account=account, raw=raw: journal.evidence(account, digest_of(raw)))
                assert answer == (raw if digest_of(raw) in named else None)
        head = self.memory.head(self.accounts[0])
        for time_msc in (None, START_MSC + 1000):
            selection = Selection(version=head.version if head else 0, time_msc=time_msc)
            self.same(lambda journal, selection=selection: list(journal.postings(self.accounts[0], selection)))


TestJournals = Journals.TestCase
TestJournals.settings = settings(stateful_step_count=12)


class PartitionedJournals(Journals):
    """The same with a partitioned journal and the one in memory, which agrees with the others."""

    urls = staticmethod(partitioned_urls)


TestPartitionedJournals = PartitionedJournals.TestCase
TestPartitionedJournals.settings = settings(stateful_step_count=12, max_examples=8)
