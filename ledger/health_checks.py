"""Everything that syncing and trading rest on, one check a line: programs, journal, accounts, keys, gateways.

For ``ledger doctor`` and the page. What is wrong is a line, never an exception.
"""

from __future__ import annotations

import os
import platform
import shutil
import stat
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from attrs import frozen

from ledger.alert_settings import Channel
from ledger.clock import utc_text, utc_text_us
from ledger.config import Configuration
from ledger.errors import AccountUnknown, BadValue, JournalError, LedgerError, SnapshotRefused
from ledger.events import DealOrder
from ledger.fold_order import falling_tickets
from ledger.gateway import Gateway
from ledger.gateway_forms import form_of
from ledger.gateway_settings import GatewaySettings, SyncSettings, reconciler_of
from ledger.journal import Difference, Selection
from ledger.order_checks import account_lines, gateway_lines
from ledger.portfolio import Portfolio
from ledger.postings import NO_DEAL
from ledger.reconciler import StateReconciler
from ledger.safety import age_text, judge, seen_of
from ledger.segments.native import native_loop
from ledger.service import Account, Ledger, utc_now_us
from ledger.snapshot import Snapshot
from ledger.upkeep import UpkeepRules, ages
from ledger.values import AccountId

OK: Final = "ok"
WARNING: Final = "warning"
FAILED: Final = "failed"
UNAVAILABLE: Final = "unavailable"
_ORDER_EVENTS_MAX: Final = 200_000  # about half a second
#: So many events the derived tables may be behind: a daemon catches that up in a second.
_LAG_MAX: Final = 10_000
_FREE_BYTES_MIN: Final = 1024**3
_CLOCKS_APART_SEC: Final = 60
_LIBRARIES: Final = ("sqlalchemy", "alembic", "attrs", "pyzmq")


@frozen
class Check:
    """One thing that was looked at: what, how it is, what was seen, what to do, of which account or gateway, and of when."""

    name: str
    state: str
    seen: str
    advice: str = ""
    account: str | None = None
    gateway: str | None = None
    at_us: int | None = None

    def json_row(self) -> dict[str, str | None]:
        """Return it as JSON."""
        return {
            "check": self.name, "state": self.state, "seen": self.seen, "advice": self.advice or None, "account": self.account,
            "gateway": self.gateway, "at": None if self.at_us is None else utc_text_us(self.at_us),
        }  # fmt: skip

    def title(self) -> str:
        """Name it for people: of several accounts each has its own."""
        return f"{self.name} of {self.account}" if self.account not in (None, self.name) else self.name


# ---- programs


def program_checks() -> Iterator[Check]:
    """Look at the programs that this one is made of."""
    import sqlite3

    from ledger.gateway.curve import has_curve, zmq_version

    versions = ", ".join(f"{name} {version(name)}" for name in _LIBRARIES)
    seen = f"Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}, {versions}, {native_loop()}"
    yield Check("versions", OK, seen)
    if has_curve():
        yield Check("keys library", OK, f"ZeroMQ {zmq_version()} with CURVE")
    else:
        yield Check("keys library", WARNING, f"ZeroMQ {zmq_version()} without CURVE", "gateways on this machine only")


# ---- the journal


def journal_checks(ledger: Ledger, settings: Configuration | None) -> Iterator[Check]:
    """Look at a journal: schema, durability, heads, disk, upkeep, derived tables, channels of notices.

    Args:
        ledger: Of the journal.
        settings: Those that belong to it; None where they cannot be read, which is another check's line.
    """
    from ledger.journal.sql.engine import shown
    from ledger.journal.sql.preflight import (
        differences,
        folder,
        mismatched_heads,
        partitions,
        revisions,
        settings_in_force,
    )
    from ledger.journal.sql.surroundings import pooler, text_encoding

    engine = getattr(ledger.journal, "engine")  # noqa: B009  # opened by a URL, it is one of SQL
    try:
        found, wanted = revisions(engine)
        yield Check("journal", OK, f"{shown(engine.url)}, schema {found} of {wanted}")
        parents = ledger.journal.parents()
        come_from = f", restored from {parents[0].journal_id}" if parents else ""
        yield Check("journal id", OK, f"{ledger.journal.identity()}{come_from}")
        in_force = settings_in_force(engine)
        yield Check("durability", OK, ", ".join(f"{name} {value}" for name, value in in_force.items()))
        yield from _partitions(partitions(engine))
        yield from _schema(differences(engine))
        apart = mismatched_heads(engine)
        if apart:
            yield Check("heads", FAILED, f"{len(apart)} accounts whose head is not their last event", "ledger verify")
        else:
            yield Check("heads", OK, "each is its account's last event")
        yield from _place(folder(engine))
        yield Check("encoding", OK, text_encoding(engine))
        yield from _upkeep(ledger, settings)
        yield _derived(ledger)
        yield _segments(ledger)
        yield from _alerts(ledger, settings)
        yield from _pooler(pooler(engine))
    except JournalError as error:
        yield Check("journal", UNAVAILABLE if error.retryable else FAILED, str(error))


def _upkeep(ledger: Ledger, settings: Configuration | None) -> Iterator[Check]:
    """Look at how long ago the journal was verified, sealed and backed up."""
    rules = UpkeepRules() if settings is None else settings.upkeep
    for one in ages(ledger.journal, rules, utc_now_us()):
        yield Check(one.kind, one.state, one.seen, one.advice, at_us=one.at_us)


def _segments(ledger: Ledger) -> Check:
    """Look at whether the segments of the accounts can be used."""
    segments = ledger.journal.segments
    found = [segments.coverage(name) for name in ledger.journal.accounts()]
    usable, unusable = sum(one.usable for one in found), sum(one.unusable for one in found)
    seen = f"{usable} can be used" if usable else "none: long histories are read from the journal's rows"
    if unusable:
        return Check("segments", WARNING, f"{seen}, {unusable} cannot", "damaged, or of another journal: ledger derive")
    return Check("segments", OK, seen)


def _derived(ledger: Ledger) -> Check:
    """Look at how far the derived tables are behind the journal, where anybody keeps them."""
    from ledger.derived import lags

    if not ledger.journal.derived.followers():
        return Check("derived tables", OK, "nobody keeps them: reports are made of the events", "ledger derive makes them")
    behind = sum(one.events for one in lags(ledger).values())
    seen = f"{behind:,} events behind" if behind else "up to date"
    if behind > _LAG_MAX:
        return Check("derived tables", WARNING, seen, "reports wait for them: ledger derive, or ledger sync --watch")
    return Check("derived tables", OK, seen)


def _alerts(ledger: Ledger, settings: Configuration | None) -> Iterator[Check]:
    """Look at whether the secrets of each channel of notices can be read, and when it last took a notice."""
    channels = {} if settings is None else settings.alerts.channels
    last = ledger.journal.last_deliveries() if channels else {}
    for name, channel in channels.items():
        unread = _unread_secret(channel)
        if unread is not None:
            advice = "whoever runs ledger alert has to be able to read it"
            yield Check(f"alerts by {name}", WARNING, f"{unread} (by this user, here)", advice)
        elif name in last:
            yield Check(f"alerts by {name}", OK, f"last notice {age_text((utc_now_us() - last[name]) // 1_000_000)} ago")
        else:
            advice = f"whether it works is not known: ledger alert --test --channel {name}"
            yield Check(f"alerts by {name}", WARNING, "no notice was sent yet", advice)


def _unread_secret(channel: Channel) -> str | None:
    """Return why a secret of a channel cannot be read, by whoever asks; None where all can."""
    for secret in channel.secrets.values():
        try:
            secret.read()
        except BadValue as error:
            return str(error)
    return None


def _schema(found: Sequence[Difference]) -> Iterator[Check]:
    """Report triggers, constraints and what else protects, and indexes, by their definitions."""
    protecting = [one for one in found if one.is_protecting]
    slow = [one for one in found if not one.is_protecting]
    if protecting:
        shown = "; ".join(f"{one.kind} {one.name}: {one.what}" for one in protecting)
        advice = "what is recorded can be changed: ledger verify, then restore a backup, or make them as the migrations do"
        yield Check("triggers", FAILED, shown, advice)
    else:
        yield Check("triggers", OK, "triggers, constraints and tables are as they were made")
    for name, kind, effect in (
        ("indexes", "index", "reading becomes slow with a long history"), ("views", "view", "tools that speak SQL miss them"),
    ):  # fmt: skip
        shown = "; ".join(f"{one.name}: {one.what}" for one in slow if one.kind == kind)
        if shown:
            yield Check(name, WARNING, shown, f"{effect}: make them as the migrations do")
        else:
            yield Check(name, OK, "as they were made")


def _partitions(found: int | None) -> Iterator[Check]:
    """Report how many partitions a journal on Postgres has; whether each is as it was made is a matter of its schema."""
    if found is not None:
        yield Check("partitions", OK, f"{found}, by account" if found else "none: each table is one")


def _place(folder: Path | None) -> Iterator[Check]:
    yield _disk(folder)
    if folder is None:
        return
    from ledger.journal.sql.surroundings import MEMORY, NETWORK, file_system

    kind = file_system(folder.resolve())
    if kind in NETWORK:
        advice = "SQLite's locks do not hold there: put the journal on a disk of this machine, or use Postgres"
        yield Check("file system", FAILED, f"{kind}, of another machine", advice)
    elif kind in MEMORY:
        yield Check(
            "file system", WARNING, f"{kind}, in memory", "all of it is gone after a restart: put the journal on a disk"
        )
    else:
        yield Check("file system", OK, kind or "unknown: this platform does not show it")


def _pooler(found: str | None) -> Iterator[Check]:
    if found is None:
        return
    note = ": followers ask instead of being notified, and an append takes more round trips" if found == "transaction" else ""
    yield Check("pooler", OK, f"one in {found} mode is before the database{note}")


def _disk(folder: Path | None) -> Check:
    if folder is None:
        return Check("disk", OK, "the database server's own matter")
    free = shutil.disk_usage(folder).free
    seen = f"{free / 1024**3:.1f} GiB free"
    return Check("disk", OK, seen) if free >= _FREE_BYTES_MIN else Check("disk", WARNING, seen, "make room: a full disk halts")


def account_checks(ledger: Ledger, named: Sequence[AccountId], *, with_orders: bool = False) -> Iterator[Check]:
    """Look at accounts: those that are named, all without any."""
    known = ledger.journal.accounts()
    for name in dict.fromkeys(named):
        if name not in known:
            yield Check(
                str(name), WARNING, "not in this journal", "ledger sync --startup, or import an export", account=str(name)
            )
    for found in ledger.accounts():
        if named and found.name not in named:
            continue
        try:
            yield from _account(found, with_orders=with_orders)
        except Exception as error:  # noqa: BLE001  # whatever it is, it is one account's: the others are looked at
            seen = str(error) or type(error).__name__
            yield Check(str(found.name), FAILED, seen, "ledger verify", account=str(found.name))


def _account(found: Account, *, with_orders: bool) -> Iterator[Check]:
    """Look at one account. What cannot be read raises."""
    portfolio, name = found.portfolio, str(found.name)
    yield _sync(found, portfolio)
    if portfolio.degraded is not None:
        since = utc_text(portfolio.terms.clock.to_utc_msc(portfolio.degraded.time_msc))
        yield Check(name, WARNING, f"DEGRADED since {since}", portfolio.degraded.reason, account=name)
    if portfolio.breaks:
        yield Check(name, WARNING, f"{len(portfolio.breaks)} open breaks", "ledger breaks", account=name)
    if portfolio.degraded is None and not portfolio.breaks:
        yield Check(name, OK, "no open breaks", account=name)
    yield _order(found)
    if with_orders:
        yield from (Check(*line, account=name) for line in account_lines(found))


def _order(account: Account) -> Check:
    """Look at whether tickets rise with time, as the order of the account's deals has it."""
    name, version = str(account.name), account.version
    if account.terms.order is DealOrder.TIME:
        return Check("order", OK, "deals are ordered by time", account=name)
    if version > _ORDER_EVENTS_MAX:
        return Check("order", OK, f"by ticket; not checked, there are {version} events", account=name)
    postings = account.ledger.journal.postings(account.name, Selection(version=version))
    fallen = falling_tickets((time_msc, deal) for time_msc, deal, *_ in postings if deal != NO_DEAL)
    if fallen is None:
        return Check("order", OK, "tickets rise with time", account=name)
    advice = f"was the account moved to another server? ledger account order {name} time"
    seen = f"tickets of {fallen.deals} deals do not rise with time, first of deal {fallen.first_deal}"
    return Check("order", WARNING, seen, advice, account=name)


def _sync(account: Account, portfolio: Portfolio) -> Check:
    """Look at when a sync was last seen, by whatever process."""
    health = account.ledger.journal.sync_health(account.name)
    seen = None if health is None else seen_of(health, utc_now_us())
    verdict = judge(seen, (), degraded=None if portfolio.degraded is None else portfolio.degraded.reason)
    if verdict.is_safe and seen is not None:
        return Check("sync", OK, f"last seen {age_text(seen.seen_sec)} ago, by {seen.by}", account=str(account.name))
    return Check("sync", WARNING, verdict.why or "", "ledger sync --watch", account=str(account.name))


# ---- keys


def key_checks(files: Iterable[str | None]) -> Iterator[Check]:
    """Look at the folders that keys are in: whoever can write there can put others in their place."""
    folders = {Path(one).absolute().parent for one in files if one} | {Path(one).absolute() for one in ("keys", "authorised")}
    for folder in sorted(one for one in folders if one.is_dir()):
        mode = folder.stat().st_mode
        if os.name == "posix" and mode & stat.S_IWOTH:
            yield Check(
                "key folder", FAILED, f"everybody can write to {folder}", f"chmod o-w {folder}, and look at the keys in it"
            )
        elif os.name == "posix" and mode & stat.S_IWGRP:
            yield Check("key folder", WARNING, f"its group can write to {folder}", f"chmod g-w {folder}")
        else:
            yield Check("key folder", OK, str(folder))


# ---- the gateway


def gateway_checks(
    ledger: Ledger | None, found: Sequence[GatewaySettings], settings: SyncSettings, *, with_orders: bool = False
) -> Iterator[Check]:
    """Look at gateways, all at once: what their answers are worth is decided as ``drift`` does."""
    if not found:
        yield Check("gateway", WARNING, "not checked, none is named", "--gateway tcp://127.0.0.1:5555")
        return
    with ThreadPoolExecutor(len(found), thread_name_prefix="ledger-doctor") as threads:
        for checks in threads.map(lambda each: list(_gateway(ledger, each, settings, with_orders=with_orders)), found):
            yield from checks


class _Witness:
    """A gateway whose last snapshot can be looked at, and how long it took."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self.snapshot: Snapshot | None = None
        self.took_ms = 0.0

    def positions(self) -> Snapshot:
        """Ask for the positions. Raises as ``Gateway.positions``."""
        began = time.monotonic()
        self.snapshot = self._gateway.positions()
        self.took_ms = (time.monotonic() - began) * 1000
        return self.snapshot

    def positions_of(self, symbol: str) -> Snapshot:
        """Ask for the positions of one symbol. Raises as ``SymbolGateway.positions_of``."""
        found: Snapshot = getattr(self._gateway, "positions_of")(symbol)  # noqa: B009  # asked of gateways that have it
        return found

    def __getattr__(self, name: str) -> Any:
        return getattr(self._gateway, name)


def _gateway(ledger: Ledger | None, found: GatewaySettings, settings: SyncSettings, *, with_orders: bool) -> Iterator[Check]:
    """Look at one gateway; what its answer is worth is decided as ``drift`` does."""
    name = f"gateway {found.url}"
    account = None if found.account is None else str(found.account)

    def check(what: str, state: str, seen: str, advice: str = "") -> Check:
        return Check(what, state, seen, advice, account=account, gateway=found.url)

    try:
        reconciler, unknown = _reconciler(ledger, found, settings)
        gateway = _Witness(found.connect() if reconciler is None else reconciler.gateway)
    except LedgerError as error:
        yield check(name, UNAVAILABLE if error.retryable else FAILED, str(error))
        return
    try:
        if reconciler is None:
            state, seen, advice = _plain_answer(gateway, unknown)
        else:
            reconciler.gateway = gateway
            account = str(reconciler.account.name)
            state, seen, advice = _answer(reconciler)
        snapshot = gateway.snapshot
        if snapshot is None:
            yield check(name, state, seen, advice)
            return
        yield check(name, state, f"answers in {gateway.took_ms:.0f} ms, {len(snapshot.positions)} positions; {seen}", advice)
        spoken = form_of(gateway, snapshot, url=found.url, form=found.form)
        yield check("form", WARNING if spoken.advice else OK, f"{spoken.name}: {spoken.offers}", spoken.advice)
        if snapshot.connected is False:
            yield check("terminal", FAILED, "not connected to its broker", "look at the terminal")
        yield check("keys", *((OK, "CURVE, server key pinned", "") if found.client_key else _without_keys(found)))
        if snapshot.server_time_msc is not None and ledger is not None:
            yield check("clock", *_clock(ledger, found, snapshot.login, snapshot.server, snapshot.server_time_msc))
        if with_orders:
            of_account = None if reconciler is None else reconciler.account
            yield from (check(*line) for line in gateway_lines(gateway, of_account, is_asked=snapshot.is_extended))
    except LedgerError as error:
        yield check(name, UNAVAILABLE if error.retryable else FAILED, str(error))
    finally:
        gateway.close()


def _reconciler(ledger: Ledger | None, found: GatewaySettings, settings: SyncSettings) -> tuple[StateReconciler | None, str]:
    """Return the reconciler of a gateway's account; None and why, where that is not known or not in the journal.

    Raises:
        LedgerError: The gateway does not answer, or a setting is wrong.
    """
    if ledger is None:
        return None, "not compared: there is no journal"
    try:
        reconciler = reconciler_of(ledger, found, settings)
    except AccountUnknown as error:
        return None, str(error)
    if reconciler.account.is_open:
        return reconciler, ""
    reconciler.gateway.close()
    return None, f"not compared: account {reconciler.account.name} is not in the journal"


def _plain_answer(gateway: _Witness, why: str) -> tuple[str, str, str]:
    try:
        gateway.positions()
    except LedgerError as error:
        return UNAVAILABLE if error.retryable else FAILED, str(error), ""
    return WARNING, why, "ledger sync --startup"


def _answer(reconciler: StateReconciler) -> tuple[str, str, str]:
    """Compare as ``drift`` does, and return what came of it."""
    try:
        differ = reconciler.differences()
    except SnapshotRefused as error:
        return FAILED, f"the answer is refused: {error}", "ledger drift"
    except LedgerError as error:
        return UNAVAILABLE if error.retryable else FAILED, str(error), "ledger drift"
    if differ:
        return WARNING, f"{len(differ)} positions differ from the journal's", "ledger drift"
    return OK, "they agree with the journal", ""


def _without_keys(found: GatewaySettings) -> tuple[str, str, str]:
    if found.insecure:
        return WARNING, "none, and --insecure", "whoever is between can show any position: ledger keys"
    return OK, "none needed on this machine", ""


def _clock(
    ledger: Ledger, found: GatewaySettings, login: int | None, server: str | None, server_msc: int
) -> tuple[str, str, str]:
    name = found.account or (AccountId(server, login) if server and login is not None else None)
    if name is None or not ledger.account(name).is_open:
        return WARNING, "not checked: the account is not in the journal", "ledger sync --startup"
    rule = ledger.account(name).terms.clock
    ahead_sec = rule.to_utc_msc(server_msc) / 1000 - utc_now_us() / 1_000_000
    seen = f"rule {rule}, the server's clock is {abs(ahead_sec):.0f} s {'ahead of' if ahead_sec > 0 else 'behind'} ours"
    if ahead_sec > _CLOCKS_APART_SEC:
        return FAILED, seen, "the rule is wrong: ledger account clock"
    if ahead_sec < -_CLOCKS_APART_SEC:
        return WARNING, seen, "the market may be closed; if it is open, the rule is wrong"
    return OK, seen, ""
