"""One sync: fetch a snapshot, let the broker's deals explain what they can, decide about the rest, append.

What is decided is appended with the version that it rests on. If another writer was faster, or something happened at the
broker meanwhile, it starts over with a fresh snapshot.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import attrs

from ledger.clock import QUARTER_MSC, SECOND_MSC, SECOND_US, ClockRule, utc_text
from ledger.codec import Stored, recorded
from ledger.errors import (
    AccountMismatch,
    AccountUnknown,
    DealConflict,
    GatewayError,
    GatewayRefused,
    InputError,
    JournalError,
    LedgerError,
    RuleError,
    SnapshotRefused,
    VersionConflict,
)
from ledger.events import (
    AccountOpened,
    BalanceAsserted,
    BreakClosed,
    BreakEnd,
    BreakKind,
    BreakOpened,
    Event,
    FillRecorded,
    GatewayIdentified,
    Origin,
    Recorded,
    SymbolSpecified,
    SyncDegraded,
    SyncRestored,
)
from ledger.gateway import Gateway
from ledger.journal import Outcome
from ledger.marks import Mark
from ledger.portfolio import Portfolio
from ledger.reconcile.compare import Difference, Disagreement, Drift, Ghost, NewTicket, Zombie, compare, compare_money
from ledger.reconcile.decide import SERVER_TIME, Decision, DecisionContext, Held, WaitsFor, decide, decide_money, gap
from ledger.reconcile.flapping import Flapping
from ledger.reconcile.policy import Action, ReconcilePolicy
from ledger.reconcile.validate import is_ahead, require_identity, validate
from ledger.reconcile.withdrawals import decide_withdrawals, open_withdrawals
from ledger.reconciler.history import Booked, History
from ledger.reconciler.listing import Listing, Lists
from ledger.reconciler.marks import mark_of
from ledger.reconciler.orders import OrdersMemory, OrdersPhase, Resolves, rows_since
from ledger.reconciler.results import SyncResult, SyncStatus
from ledger.service import Account
from ledger.snapshot import RemoteAccount, RemotePosition, RemoteSymbol, Snapshot
from ledger.terms import AccountTerms
from ledger.values import PRICE_SCALE, currency_digits

_ROUNDS_MAX: Final = 10
_FRESH_ROUNDS_MAX: Final = 4  # rounds that start over because something happened at the broker meanwhile
_OFFSET_MAX_MSC: Final = 15 * 60 * 60 * 1000
_CLOCKS_APART_MSC: Final = 10 * 1000  # a clock that does not run is as near as this one time in forty-five
_REASON_MAX: Final = 500
_CLOCK_AHEAD: Final = (
    "the server time is ahead of what the clock rule allows: the gateway's clock is wrong, or the rule is "
    "(ledger account clock); nothing is corrected meanwhile"
)
#: Answers by which a gateway reports that it does not know an action, found in code or text.
_NOT_OFFERED: Final = ("UNKNOWN", "UNSUPPORTED", "NOT_SUPPORTED", "NOT SUPPORTED", "NOT_IMPLEMENTED", "NOT IMPLEMENTED")


@attrs.define
class SyncState:
    """What a reconciler remembers from sync to sync. The journal stores what must survive it."""

    history: History
    #: What it remembers about orders.
    orders: OrdersMemory
    #: What a gateway of the engine form has listed so far.
    lists: Lists = attrs.field(factory=Lists)
    #: What came to disagree lately: read from the journal up to a version, None where nothing was read yet.
    flapping: Flapping = attrs.field(factory=Flapping)
    flapping_version: int | None = None
    #: In how many syncs in a row the gateway answered an error when asked for deals; its word that it has none to offer.
    deals_failed: int = 0
    offers_deals: bool = True
    #: Syncs that did not assert the balance, because the history did not show all yet that is in it.
    figures_put_off: int = 0
    #: Symbols whose specification was asked for.
    asked_symbols: set[str] = attrs.field(factory=set)
    #: Our clock in UTC microseconds when deals were last asked for that can confirm what an earlier answer lacked.
    listed_us: int = 0
    #: Our clock in UTC microseconds and the server's in milliseconds when the gateway last reported a plausible one.
    server_seen: tuple[int, int] | None = None
    #: How far the server's clock was ahead of ours when it was last reported, in seconds, plausible or not.
    skew_sec: float | None = None


class Sync:
    """One sync under way. Use once: ``result``."""

    def __init__(
        self,
        account: Account,
        gateway: Gateway,
        *,
        policy: ReconcilePolicy,
        memory: SyncState,
        correlation: str,
        clock: ClockRule | None = None,
        appended: Callable[[Recorded], object] = lambda _: None,
        orders: Resolves | None = None,
    ) -> None:
        self._account = account
        self._orders = OrdersPhase(account, gateway, policy, memory.orders, orders)
        self._gateway = gateway
        self._policy = policy
        self._memory = memory
        self._correlation = correlation
        self._clock = clock
        self._notify = appended
        self._events: list[Recorded] = []
        self._booked = Booked()
        self._booked_before = 0
        self._warnings: list[str] = []
        self._fresh_rounds = 0
        self._money_doubted = False
        self._deals_refused = False
        self._sight_utc_msc: int | None = None
        #: What the account was worth, by the snapshot that was believed; None where none was.
        self.mark: Mark | None = None

    def result(self) -> SyncResult:
        """Run it. Does not raise for what a gateway or another writer can do.

        Raises:
            AccountUnknown: The account is not open, and the gateway does not state which it is.
        """
        self._memory.history.begin()
        try:
            for _ in range(_ROUNDS_MAX):
                try:
                    decision = self._round()
                except VersionConflict:
                    continue
                if decision is not None:
                    if not self._deals_refused:
                        self._memory.deals_failed = 0
                    return self._finished(decision)
            why = "others kept writing to the account: try again"
            held = Held(kind="sync", position_id=None, symbol=None, why=why, waits_for=WaitsFor.SNAPSHOT)
            return self._finished(Decision(held=(held,)))
        except (GatewayError, InputError) as error:  # a number or a text from the broker that cannot be stored
            return self._degraded(error)
        except (JournalError, DealConflict, AccountMismatch) as error:
            return self._ended(SyncStatus.FAILED, str(error))

    # ---- one round

    def _round(self) -> Decision | None:
        """Look once. Returns None where it has to be looked again."""
        self._booked_before = len(self._booked.rows)
        asked_us = self._account.ledger.now_us()
        known = self._known()
        listing = self._memory.lists.ask(self._gateway, known)
        snapshot = listing.snapshot
        if known is None:
            known = self._opened(snapshot)
        ours_msc = known.terms.clock.from_utc_msc(asked_us // 1000)
        seen = self._memory.server_seen
        snapshot = validate(snapshot, known, now_msc=ours_msc, seen_msc=None if seen is None else seen[1])
        is_ahead_of_us = self._is_ahead(known, snapshot, ours_msc, asked_us)
        now_msc = ours_msc if snapshot.server_time_msc is None or is_ahead_of_us else snapshot.server_time_msc
        known = self._identified(known, snapshot, now_msc)
        self._sight_utc_msc = None if snapshot.server_time_msc is None else self._seen_utc_msc(known, now_msc, asked_us)
        if snapshot.server_time_msc is not None and not is_ahead_of_us:
            self._memory.server_seen = (asked_us, snapshot.server_time_msc)
        money, unclear = None, None
        if snapshot.is_extended:
            self._specify(known, snapshot)
            money = self._money(known)
            unclear, is_stirring = self._catch_up(known, now_msc, money)
            if is_stirring or not self._is_stated_again(known, money):
                return None
        self._orders.resolve()
        version, portfolio = self._account.current()
        found = compare(portfolio, snapshot)
        if found and snapshot.is_extended and not self._deals_refused:
            booked, unclear = self._catch_refusal(
                lambda: self._memory.history.explain(portfolio, found, now_msc, self._correlation)
            )
            if booked.rows:
                if self._has_newer_deals(booked):
                    return None
                version, portfolio = self._account.current()
                found = compare(portfolio, snapshot)
        differences = () if money is None else compare_money(portfolio, money)
        if differences and not self._money_doubted and not _is_known(portfolio, differences):
            # Money moves without positions; ask for what was missed, then look again with fresh answers.
            self._money_doubted = True
            if not self._deals_refused:
                self._catch_refusal(lambda: self._memory.history.go_back(portfolio, now_msc, self._correlation))
            return None
        if not portfolio.is_balance_known:
            differences = ()  # the first figure is asserted, not checked
        halted = _CLOCK_AHEAD if is_ahead_of_us else None
        if differences and self._policy.balance is Action.HALT:
            halted = "the policy halts while balance or credit differ"
        around = DecisionContext(
            time_msc=now_msc,
            version=version,
            touched=self._touched(asked_us) if found or differences else (),
            filled=self._filled(portfolio, found),
            flapping=self._flapping(version),
            has_deals=snapshot.is_extended and self._memory.offers_deals and not self._deals_refused,
            is_another_answer=asked_us - self._memory.listed_us >= self._policy.settle_sec * 1_000_000,
            unclear=unclear,
            halted=halted,
            updated_by=self._updated_by(found),
            simulate=lambda events: self._account.simulate(events, version),
        )
        decision = decide(portfolio, snapshot, found, policy=self._policy, around=around)
        if money is not None:
            decision = _both(
                decision,
                decide_money(portfolio, differences, policy=self._policy, around=around, evidence=snapshot.evidence),
            )
        decision = _both(decision, self._withdrawals(portfolio, version, around, snapshot.evidence))
        decision = _both(decision, self._clock_decision(portfolio, snapshot, around, is_ahead_of_us=is_ahead_of_us))
        decision = _both(decision, self._unlisted(listing))
        decision = _both(
            decision, self._about_orders(snapshot, portfolio, version, around, asked_us, is_ahead_of_us=is_ahead_of_us)
        )
        events = [*decision.events, *self._further_events(portfolio, snapshot, around)]
        if money is not None and not is_ahead_of_us:
            events += self._opening_figure(known, portfolio, snapshot, money, around, found)
        self._append(events, version, snapshot)
        self._orders.end(deals_failed=self._deals_refused)
        if around.is_another_answer:
            self._memory.listed_us = asked_us
        self.mark = mark_of(
            snapshot, money, asked_us, portfolio.terms, is_whole=listing.partial is None, is_time_doubted=is_ahead_of_us
        )
        return decision

    def _about_orders(
        self, snapshot: Snapshot, portfolio: Portfolio, version: int, around: DecisionContext, asked_us: int, *,
        is_ahead_of_us: bool,
    ) -> Decision:  # fmt: skip
        """Decide about orders and stops; not while the server's clock is in doubt, nor of a gateway of the base form."""
        if is_ahead_of_us or not snapshot.is_extended:
            return Decision()
        return self._orders.decide(
            snapshot, portfolio, version, asked_us=asked_us, time_msc=around.time_msc, is_unclear=around.unclear is not None,
            touched=self._touched(asked_us),
        )  # fmt: skip

    def _unlisted(self, listing: Listing) -> Decision:
        """Hold what the gateway's list does not show, where it is not of the whole account."""
        if listing.note is not None:
            self._warnings.append(listing.note)
        if listing.partial is None:
            return Decision()
        return Decision(held=(Held(kind="sync", position_id=None, symbol=None, why=listing.partial),))

    def _withdrawals(self, portfolio: Portfolio, version: int, around: DecisionContext, evidence: str) -> Decision:
        """Decide about deals that the broker's answers of this sync lack."""
        history = self._memory.history
        listed = history.listed(version)
        if not listed.missing and not open_withdrawals(portfolio):
            return Decision()
        return decide_withdrawals(
            portfolio,
            listed,
            history.known(listed.missing.keys(), version),
            policy=self._policy,
            around=around,
            evidence=evidence,
        )

    def _known(self) -> Portfolio | None:
        try:
            return self._account.portfolio
        except AccountUnknown:
            return None

    def _identified(self, known: Portfolio, snapshot: Snapshot, now_msc: int) -> Portfolio:
        """Record the first answer that states login and server; from here on every answer has to, also of this sync."""
        login, server = snapshot.login, snapshot.server
        if login is None or server is None or known.identity.seen is not None:
            return known
        seen_msc = now_msc if snapshot.server_time_msc is None else min(now_msc, snapshot.server_time_msc)
        event = GatewayIdentified(
            login=login, server=server, form="extended" if snapshot.is_extended else "base",
            time_msc=max(seen_msc, known.newest_known_msc), evidence=snapshot.evidence,
        )  # fmt: skip
        self._publish(self._account.record_many([event], correlation=self._correlation, evidence=(snapshot.raw,)).rows)
        return self._account.portfolio

    def _opened(self, snapshot: Snapshot) -> Portfolio:
        """Open the account as the gateway states it; a gateway that states no account cannot name one."""
        if not snapshot.is_extended:
            self._account.journal_head  # noqa: B018  # raises with the way to open it
        remote = self._gateway.account()
        name = self._account.name
        if (remote.login, remote.server) != (name.login, name.server):
            raise SnapshotRefused(f"expected account {name}, the gateway is of {remote.server}/{remote.login}", field="login")
        rule, goes = (self._clock, True) if self._clock else self._measured_clock(snapshot)
        now_msc = rule.from_utc_msc(self._account.ledger.now_us() // 1000)
        digits = currency_digits(remote.currency) if remote.currency_digits is None else remote.currency_digits
        opened = AccountOpened(
            server=name.server, login=name.login, currency=remote.currency, currency_digits=digits, mode=remote.mode,
            clock=rule, time_msc=now_msc,
        )  # fmt: skip
        for answer in (snapshot, remote):
            require_identity(answer, AccountTerms.of(opened))
        self._write([opened])
        if self._clock is None:
            seen = "measured at its clock" if goes else "its clock does not run"
            self._warnings.append(
                f"account {name} was opened with server clock {rule} ({seen}): "
                "name the rule with --server-tz, or correct it with ledger account clock"
            )
        return self._account.portfolio

    def _measured_clock(self, snapshot: Snapshot) -> tuple[ClockRule, bool]:
        """Return the offset that the gateway's clock has now, and whether it can be one of a clock that goes."""
        now_msc = self._account.ledger.now_us() // 1000
        ahead_msc = (snapshot.server_time_msc or 0) - now_msc
        quarters = round(ahead_msc / QUARTER_MSC)
        goes = abs(ahead_msc - quarters * QUARTER_MSC) <= _CLOCKS_APART_MSC and abs(ahead_msc) <= _OFFSET_MAX_MSC
        minutes = quarters * 15 if goes else 0
        return ClockRule(f"{'-' if minutes < 0 else '+'}{abs(minutes) // 60:02d}:{abs(minutes) % 60:02d}"), goes

    def _specify(self, known: Portfolio, snapshot: Snapshot) -> None:
        """Record the broker's specifications of symbols that are held and have none yet."""
        held = {row.symbol for row in snapshot.positions} | {position.symbol for position in known.positions.values()}
        wanted = held - self._memory.asked_symbols
        if not wanted:
            return
        reported: Sequence[RemoteSymbol] = ()
        try:
            reported = self._gateway.symbols()
        except GatewayRefused as error:
            self._warnings.append(f"{error}; without specifications volumes and prices are compared exactly")
        self._memory.asked_symbols |= wanted
        for one in reported:
            if one.symbol in wanted:
                self._specify_one(known, one)

    def _specify_one(self, known: Portfolio, one: RemoteSymbol) -> None:
        """Record a specification. Prices are stored with eight decimals, or with as many more as the symbol has."""
        spec = SymbolSpecified(
            symbol=one.symbol, digits=one.digits, volume_step=one.volume_step, contract_size=one.contract_size,
            currency=one.currency, price_scale=max(PRICE_SCALE, one.digits or 0), time_msc=max(known.newest_known_msc, 0),
        )  # fmt: skip
        try:
            self._write([spec])
        except RuleError as error:
            self._warnings.append(str(error))  # it was recorded with other scales before anybody specified it

    def _money(self, known: Portfolio) -> RemoteAccount | None:
        try:
            remote = self._gateway.account()
        except GatewayRefused as error:
            self._warnings.append(f"{error}; balance and credit are not compared")
            return None
        require_identity(remote, known.terms)
        return remote

    def _is_stated_again(self, known: Portfolio, money: RemoteAccount | None) -> bool:
        """Return whether the broker states the same money again, now that its deals were read. Asked where it is asserted.

        Then no deal that moved it is between: the money is that of the deals that were reported.
        """
        if money is None or known.is_balance_known or not self._memory.offers_deals:
            return True
        again = self._money(known)
        if again is None or (again.balance, again.credit) == (money.balance, money.credit):
            return True
        self._fresh_rounds += 1
        return self._fresh_rounds >= _FRESH_ROUNDS_MAX

    def _catch_up(self, known: Portfolio, now_msc: int, money: RemoteAccount | None) -> tuple[str | None, bool]:
        """Book the broker's deals. Returns why nothing can be concluded, and whether something happened meanwhile.

        At first contact, before a balance was stated that they could be held against, all there are.
        """
        whole = money is not None and not known.is_balance_known
        history, correlation, since_msc = self._memory.history, self._correlation, self._orders.deals_since()
        booked, unclear = self._catch_refusal(
            lambda: history.catch_up(known, now_msc, correlation, whole=whole, since_msc=since_msc)
        )
        return unclear, self._has_newer_deals(booked)

    def _catch_refusal(self, book: Callable[[], Booked]) -> tuple[Booked, str | None]:
        """Book the deals that the gateway reports when asked. Returns them, and why nothing can be concluded without them."""
        memory = self._memory
        if not memory.offers_deals:
            return Booked(), None
        try:
            return self._book(book), None
        except GatewayRefused as error:
            text = f"{error.code or ''} {error.detail or ''}".upper()
            if any(word in text for word in _NOT_OFFERED):
                memory.offers_deals = False
                return Booked(), None
            memory.deals_failed += not self._deals_refused  # once a sync, however many rounds it takes
            self._deals_refused = True
            if memory.deals_failed >= self._policy.attempts_max:
                self._warnings.append(f"{error}; after {memory.deals_failed} times, corrections are made without deals")
                return Booked(), None
            return Booked(), f"the deals that may explain it could not be read: {error}"

    def _has_newer_deals(self, booked: Booked) -> bool:
        """Return whether deals happened after the snapshot, so that it is to be taken again. Not for ever."""
        if not any(map(self._is_unseen, booked.times)):
            return False
        self._fresh_rounds += 1
        return self._fresh_rounds < _FRESH_ROUNDS_MAX

    def _seen_utc_msc(self, known: Portfolio, now_msc: int, asked_us: int) -> int:
        """Return the first moment of which the snapshot need not show everything, in UTC milliseconds.

        That is the second of its server time; of our own clock where the server's runs ahead of it.
        """
        seen_msc = known.terms.clock.nearest_utc_msc(now_msc, asked_us // 1000)
        return min(seen_msc, asked_us // 1000) // SECOND_MSC * SECOND_MSC

    def _is_ahead(self, known: Portfolio, snapshot: Snapshot, ours_msc: int, asked_us: int) -> bool:
        """Return whether the server's clock is ahead of what it can be, and note how far it is ahead of ours."""
        if snapshot.server_time_msc is not None:
            there_msc = known.terms.clock.nearest_utc_msc(snapshot.server_time_msc, asked_us // 1000)
            self._memory.skew_sec = there_msc / 1000 - asked_us / SECOND_US
        return is_ahead(snapshot, max(ours_msc, self._server_msc(asked_us)))

    def _is_unseen(self, time_msc: int) -> bool:
        """Return whether what happened at a broker time need not be in the snapshot; never where it states no time."""
        if self._sight_utc_msc is None:
            return False
        return self._account.terms.clock.nearest_utc_msc(time_msc, self._sight_utc_msc) >= self._sight_utc_msc

    def _server_msc(self, asked_us: int) -> int:
        """Return the present on the server's clock by the offset last seen; long ago if none was."""
        seen = self._memory.server_seen
        return -1 if seen is None else seen[1] + max(0, (asked_us - seen[0]) // 1000)

    def _updated_by(self, found: Sequence[Disagreement | NewTicket]) -> dict[int, int]:
        """Return position id -> ticket of the deal that last changed it, where the gateway reported it."""
        rows = [one.theirs for one in found if isinstance(one, (Zombie, Drift))]
        made = {row.position_id: self._memory.history.updated_by(row.position_id, row.updated_msc) for row in rows}
        return {position_id: deal for position_id, deal in made.items() if deal is not None}

    def _clock_decision(
        self, portfolio: Portfolio, snapshot: Snapshot, around: DecisionContext, *, is_ahead_of_us: bool
    ) -> Decision:
        """Return the break to open or to close about a server clock that is ahead of what it can be."""
        known = next((one for one in portfolio.breaks if one.field == SERVER_TIME and one.version), None)
        time_msc = max(around.time_msc, portfolio.newest_known_msc)
        if not is_ahead_of_us:
            if known is None or known.version is None or snapshot.server_time_msc is None:
                return Decision()
            end = BreakClosed(
                kind=BreakKind.CLOCK, end=BreakEnd.VANISHED, time_msc=time_msc, caused_by=known.version,
                evidence=snapshot.evidence,
            )  # fmt: skip
            return Decision(events=(end,))
        held = Held(kind=BreakKind.CLOCK.value, position_id=None, symbol=None, why=_CLOCK_AHEAD)
        if known is not None:
            return Decision(held=(held,))
        # Written as the server's wall clock shows it: what it is in UTC is what is in doubt.
        ours, theirs = (utc_text(msc).removesuffix("Z") for msc in (around.time_msc, snapshot.server_time_msc or 0))
        opened = BreakOpened(
            kind=BreakKind.CLOCK, field=SERVER_TIME, ours=ours, theirs=theirs, why=_CLOCK_AHEAD, time_msc=time_msc,
            evidence=snapshot.evidence,
        )  # fmt: skip
        return Decision(events=(opened,), held=(held,))

    # ---- what else a snapshot meets

    def _touched(self, asked_us: int) -> set[int | str]:
        """Return what the engine recorded a fill of shortly before the snapshot was asked for, or since.

        And what was booked a deal of behind the snapshot that it may be too old to show.
        """
        recent = rows_since(self._account, asked_us - round(self._policy.settle_sec * 1_000_000))
        reported = [row for row in recent if row.origin == Origin.ENGINE.value]
        reported += [row for row in self._booked.rows[self._booked_before :] if self._is_unseen(row.time_msc)]
        nets = bool(reported) and self._account.terms.opened.mode.nets
        touched: set[int | str] = set()
        for row in reported:
            if row.kind == FillRecorded.__name__ and row.symbol is not None:
                touched.add(row.symbol if nets or row.position_id is None else row.position_id)
        return touched

    def _flapping(self, version: int) -> Flapping:
        """Return what came to disagree within the policy's window, as the journal holds it up to a version."""
        memory, journal, name = self._memory, self._account.ledger.journal, self._account.name
        now_us = self._account.ledger.now_us()
        begin_us = now_us - round(self._policy.flapping_sec * 1_000_000)
        if memory.flapping_version is None:
            memory.flapping_version = journal.version_at(name, begin_us)
        if memory.flapping_version < version:  # most syncs find nothing new
            for row in journal.rows(name, after=memory.flapping_version, upto=version):
                memory.flapping.read(row)
        memory.flapping_version = version
        memory.flapping.forget(begin_us, now_us)
        return memory.flapping

    def _filled(self, portfolio: Portfolio, found: Sequence[Disagreement | NewTicket]) -> Mapping[int, int]:
        """Return position id -> version of the latest deal, behind the oldest break that this snapshot does not show."""
        shown = {(one.kind, one.position_id) for one in found if not isinstance(one, NewTicket)}
        gone = [
            one.version
            for one in portfolio.breaks
            if one.version and one.kind is not BreakKind.APPROVAL and (one.kind, one.position_id) not in shown
        ]
        if not gone:
            return {}
        rows = self._account.ledger.journal.rows(self._account.name, after=min(gone))
        return {row.position_id: row.version for row in rows if row.deal is not None and row.position_id is not None}

    def _further_events(self, portfolio: Portfolio, snapshot: Snapshot, around: DecisionContext) -> list[Event]:
        """Return what this snapshot shows beside disagreements: that all is well again."""
        if portfolio.degraded is None:
            return []
        # Its time is all that it is known by: where the broker's clock is before what is known, one moment later.
        restored_msc = max(around.time_msc, portfolio.newest_known_msc + 1)
        return [SyncRestored(time_msc=restored_msc, evidence=snapshot.evidence)]

    def _opening_figure(
        self,
        known: Portfolio,
        portfolio: Portfolio,
        snapshot: Snapshot,
        money: RemoteAccount,
        around: DecisionContext,
        found: Sequence[object],
    ) -> list[Event]:
        """Return the assertion of the balance, where it is the first and what it contains is certain."""
        if portfolio.is_balance_known or around.unclear is not None:
            return []
        stated: dict[str, Any] = {"balance": money.balance, "credit": money.credit, "evidence": snapshot.evidence}
        stated["time_msc"] = max(around.time_msc, portfolio.newest_known_msc)
        highest = self._memory.history.highest if self._memory.offers_deals and not self._deals_refused else None
        if highest is None:
            # The figure is put behind all that is known. Of what happened meanwhile it is unknown whether it is in it.
            is_old = portfolio.newest_deal_msc <= known.newest_deal_msc or not self._is_unseen(portfolio.newest_deal_msc)
            return [BalanceAsserted(**stated)] if is_old else []
        deal, deal_msc = highest
        recent_msc = max(deal_msc, around.time_msc - round(self._policy.overlap_sec * SECOND_MSC))
        lags = any(_lags(row, recent_msc) for row in snapshot.positions)
        lags = lags or portfolio.newest_deal_msc // SECOND_MSC > recent_msc // SECOND_MSC
        if (lags or any(isinstance(one, Ghost) for one in found)) and self._memory.figures_put_off < self._policy.attempts_max:
            self._memory.figures_put_off += 1  # the history does not show yet what is in the figure
            return []
        complete = (portfolio.balance, portfolio.credit) == (money.balance, money.credit)
        return [BalanceAsserted(**stated, deals_through=deal, deals_through_msc=deal_msc, complete=complete)]

    # ---- appending

    def _book(self, book: Callable[[], Booked]) -> Booked:
        booked = book()
        self._booked += booked
        self._publish(booked.rows)
        return booked

    def _write(self, events: Sequence[Event]) -> None:
        """Append what does not rest on a snapshot."""
        if events:
            self._publish(self._account.record_many(events, correlation=self._correlation).rows)

    def _append(self, events: Sequence[Event], version: int, snapshot: Snapshot) -> None:
        """Append what was decided, all or nothing.

        Raises:
            VersionConflict: Another writer was faster, or recorded the same.
        """
        if not events:
            return
        appended = self._account.record_many(
            events,
            expected_version=version,
            correlation=self._correlation,
            evidence=(snapshot.raw, *self._orders.evidence(events)),
        )
        self._publish(appended.rows)
        if any(outcome is not Outcome.APPENDED for outcome in appended.outcomes):
            raise VersionConflict(str(self._account.name), expected=version, found=appended.head.version)

    def _publish(self, rows: Sequence[Stored]) -> None:
        """Let those who listen know what is durable now."""
        if not rows:
            return
        terms = self._account.terms
        for row in rows:
            event = recorded(self._account.name, row, terms)
            self._events.append(event)
            self._notify(event)

    # ---- how it ends

    def _finished(self, decision: Decision) -> SyncResult:
        status = SyncStatus.PARTIAL if decision.held else SyncStatus.SUCCESS
        return attrs.evolve(
            self._ended(status, None),
            recovered=decision.recovered,
            closed=decision.closed,
            corrected=decision.corrected,
            reticketed=decision.reticketed,
            withdrawn=decision.withdrawn,
            held=decision.held,
        )

    def _degraded(self, error: LedgerError) -> SyncResult:
        """Note once that there is no usable snapshot. The portfolio stays as it is."""
        reason = _printable(str(error))
        try:
            for _ in range(_ROUNDS_MAX):
                if not self._account.is_open:
                    break
                version, portfolio = self._account.current()
                if portfolio.degraded is not None:
                    break
                event = SyncDegraded(reason=reason, time_msc=max(self._server_now_msc(), portfolio.newest_known_msc + 1))
                try:
                    appended = self._account.record_many([event], expected_version=version, correlation=self._correlation)
                except VersionConflict:
                    continue
                self._publish(appended.rows)
                break
        except LedgerError as failure:
            return self._ended(SyncStatus.FAILED, f"{failure} (and the gateway: {reason})")
        return self._ended(SyncStatus.DEGRADED, reason)

    def _server_now_msc(self) -> int:
        """Return the present on the broker's server clock: as it was last reported plus what has passed, else by the rule."""
        now_us = self._account.ledger.now_us()
        if self._memory.server_seen is not None:
            seen_us, server_msc = self._memory.server_seen
            return server_msc + max(0, (now_us - seen_us) // 1000)
        return self._account.terms.clock.from_utc_msc(now_us // 1000)

    def _ended(self, status: SyncStatus, reason: str | None) -> SyncResult:
        try:
            version = self._account.version
        except JournalError as error:
            status, reason, version = SyncStatus.FAILED, reason or str(error), 0
        return SyncResult(
            account=self._account.name,
            status=status,
            reason=reason,
            fills=self._booked.fills,
            revised=self._booked.revised,
            appended=len(self._events),
            version=version,
            events=tuple(self._events),
            warnings=tuple(dict.fromkeys(self._warnings)),
        )


def _is_known(portfolio: Portfolio, differences: Sequence[Difference]) -> bool:
    """Return whether breaks of the same money figures are open."""
    known = {(one.field, gap(one)) for one in portfolio.breaks if one.kind is BreakKind.BALANCE and one.version}
    return {(one.field, gap(one)) for one in differences} <= known


def _lags(row: RemotePosition, newest_msc: int) -> bool:
    """Return whether a position changed after the newest deal that was reported; to the second, where that counts seconds."""
    unit_msc = 1 if newest_msc % SECOND_MSC else SECOND_MSC
    return (row.updated_msc or 0) // unit_msc > newest_msc // unit_msc


def _both(one: Decision, other: Decision) -> Decision:
    return attrs.evolve(
        one,
        events=one.events + other.events,
        held=one.held + other.held,
        withdrawn=one.withdrawn + other.withdrawn,
    )


def _printable(text: str) -> str:
    """Return a text that any journal and any terminal can take: a gateway's text may be anything."""
    shown = "".join(letter if letter.isprintable() else "?" for letter in text)
    return shown if len(shown) <= _REASON_MAX else shown[: _REASON_MAX - 3] + "..."
