"""The command that checks everything that syncing and trading rest on, one line a check."""

from __future__ import annotations

import platform
import shutil
import time
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from typing import Any, Final

import click
from attrs import frozen

from ledger.cli.gateways import Way, gateway_options, way, ways
from ledger.cli.options import account_option, journal_option, journal_url, json_option
from ledger.cli.output import print_json, print_table
from ledger.clock import utc_text
from ledger.errors import GatewayError, JournalError, LedgerError
from ledger.journal import Difference
from ledger.service import Ledger, utc_now_us
from ledger.values import AccountId

OK: Final = "ok"
WARNING: Final = "warning"
FAILED: Final = "failed"
UNAVAILABLE: Final = "unavailable"
_FREE_BYTES_MIN: Final = 1024**3
_CLOCKS_APART_SEC: Final = 60
_LIBRARIES: Final = ("sqlalchemy", "alembic", "attrs", "pyzmq")


@frozen
class Check:
    """One thing that was looked at: what, how it is, what was seen, and what to do."""

    name: str
    state: str
    seen: str
    advice: str = ""


@click.command("doctor", short_help="Check everything that syncing and trading rest on.")
@journal_option
@account_option
@gateway_options
@json_option
def doctor(journal: str | None, account: AccountId | None, as_json: bool, **gateway: Any) -> int:  # noqa: FBT001
    """Check versions, journal, durability, triggers, clock, gateway, keys, disk and open breaks, one line a check.

    \b
    Examples:
      ledger doctor
      ledger doctor --gateway tcp://127.0.0.1:5555 --json

    Exit codes: 0 fine (warnings too), 1 something failed, 3 journal or gateway do not answer.
    """
    checks = list(_checks(journal, account, gateway))
    if as_json:
        print_json([{"check": one.name, "state": one.state, "seen": one.seen, "advice": one.advice or None} for one in checks])
    else:
        print_table(
            "doctor",
            ["check", "", "seen"],
            [[one.name, one.state, f"{one.seen}: {one.advice}" if one.advice else one.seen] for one in checks],
            empty="nothing",
        )
    states = {one.state for one in checks}
    return 1 if FAILED in states else 3 if UNAVAILABLE in states else 0


def _checks(journal: str | None, account: AccountId | None, gateway: dict[str, Any]) -> Iterator[Check]:
    yield from _programs()
    ledger: Ledger | None = None
    try:
        url = journal_url(journal)
        ledger = Ledger.open(url)
    except LedgerError as error:
        yield Check("journal", UNAVAILABLE if error.retryable else FAILED, str(error))
    try:
        if ledger is not None:
            yield from _journal(ledger)
            yield from _accounts(ledger, account)
        yield from _gateways(ledger, account, gateway)
    finally:
        if ledger is not None:
            ledger.close()


def _programs() -> Iterator[Check]:
    import sqlite3

    from ledger.gateway.curve import has_curve, zmq_version

    versions = ", ".join(f"{name} {version(name)}" for name in _LIBRARIES)
    yield Check("versions", OK, f"Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}, {versions}")
    if has_curve():
        yield Check("keys library", OK, f"ZeroMQ {zmq_version()} with CURVE")
    else:
        yield Check("keys library", WARNING, f"ZeroMQ {zmq_version()} without CURVE", "gateways on this machine only")


# ---- the journal


def _journal(ledger: Ledger) -> Iterator[Check]:
    from ledger.journal.connect import shown
    from ledger.journal.preflight import differences, folder, heads_apart, revisions, settings_in_force

    engine = getattr(ledger.journal, "engine")  # noqa: B009  # opened by a URL, it is one of SQL
    try:
        found, wanted = revisions(engine)
        yield Check("journal", OK, f"{shown(engine.url)}, schema {found} of {wanted}")
        parents = ledger.journal.parents()
        come_from = f", restored from {parents[0].journal_id}" if parents else ""
        yield Check("journal id", OK, f"{ledger.journal.identity()}{come_from}")
        settings = settings_in_force(engine)
        yield Check("durability", OK, ", ".join(f"{name} {value}" for name, value in settings.items()))
        yield from _schema(differences(engine))
        apart = heads_apart(engine)
        if apart:
            yield Check("heads", FAILED, f"{len(apart)} accounts whose head is not their last event", "ledger verify")
        else:
            yield Check("heads", OK, "each is its account's last event")
        yield _disk(folder(engine))
    except JournalError as error:
        yield Check("journal", UNAVAILABLE if error.retryable else FAILED, str(error))


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
    if slow:
        shown = "; ".join(f"{one.name}: {one.what}" for one in slow)
        yield Check("indexes", WARNING, shown, "reading becomes slow with a long history: make them as the migrations do")
    else:
        yield Check("indexes", OK, "as they were made")


def _disk(folder: Any) -> Check:
    if folder is None:
        return Check("disk", OK, "the database server's own matter")
    free = shutil.disk_usage(folder).free
    seen = f"{free / 1024**3:.1f} GiB free"
    return Check("disk", OK, seen) if free >= _FREE_BYTES_MIN else Check("disk", WARNING, seen, "make room: a full disk halts")


def _accounts(ledger: Ledger, account: AccountId | None) -> Iterator[Check]:
    for found in ledger.accounts():
        if account is not None and found.name != account:
            continue
        try:
            portfolio = found.portfolio
        except LedgerError as error:
            yield Check(str(found.name), FAILED, str(error))
            continue
        if portfolio.degraded is not None:
            since = utc_text(portfolio.standing.clock.to_utc_msc(portfolio.degraded.time_msc))
            yield Check(str(found.name), WARNING, f"DEGRADED since {since}", portfolio.degraded.reason)
        if portfolio.breaks:
            yield Check(str(found.name), WARNING, f"{len(portfolio.breaks)} open breaks", "ledger breaks")
        if portfolio.degraded is None and not portfolio.breaks:
            yield Check(str(found.name), OK, "no open breaks")


# ---- the gateway


def _gateways(ledger: Ledger | None, account: AccountId | None, given: dict[str, Any]) -> Iterator[Check]:
    try:
        found = [] if account or given["gateway"] else ways()
        one = None if found else way(account, **given)
    except LedgerError as error:
        yield Check("gateway", FAILED, str(error))
        return
    found = found or ([one] if one else [])
    if not found:
        yield Check("gateway", WARNING, "not checked, none is named", "--gateway tcp://127.0.0.1:5555")
    for each in found:
        yield from _gateway(ledger, each)


def _gateway(ledger: Ledger | None, found: Way) -> Iterator[Check]:
    name = f"gateway {found.url}"
    try:
        gateway = found.opened()
    except LedgerError as error:
        yield Check(name, FAILED, str(error))
        return
    try:
        began = time.monotonic()
        snapshot = gateway.positions()
        took_msc = (time.monotonic() - began) * 1000
        form = "extended form" if snapshot.is_extended else "base form: neither account nor clock nor deals are told"
        yield Check(name, OK, f"answers in {took_msc:.0f} ms, {len(snapshot.positions)} positions, {form}")
        if snapshot.connected is False:
            yield Check("terminal", FAILED, "not connected to its broker", "look at the terminal")
        yield Check("keys", OK, "CURVE, server key pinned") if found.client_key else _without_keys(found)
        if snapshot.server_time_msc is not None and ledger is not None:
            yield from _clock(ledger, found, snapshot.login, snapshot.server, snapshot.server_time_msc)
    except GatewayError as error:
        yield Check(name, UNAVAILABLE if error.retryable else FAILED, str(error))
    finally:
        gateway.close()


def _without_keys(found: Way) -> Check:
    if found.insecure:
        return Check("keys", WARNING, "none, and --insecure", "whoever is between can show any position: ledger keys")
    return Check("keys", OK, "none needed on this machine")


def _clock(ledger: Ledger, found: Way, login: int | None, server: str | None, told_msc: int) -> Iterator[Check]:
    name = found.account or (AccountId(server, login) if server and login is not None else None)
    if name is None or not ledger.account(name).is_open:
        yield Check("clock", WARNING, "not checked: the account is not in the journal", "ledger sync --startup")
        return
    rule = ledger.account(name).standing.clock
    ahead_sec = rule.to_utc_msc(told_msc) / 1000 - utc_now_us() / 1_000_000
    seen = f"rule {rule}, the server's clock is {abs(ahead_sec):.0f} s {'ahead of' if ahead_sec > 0 else 'behind'} ours"
    if ahead_sec > _CLOCKS_APART_SEC:
        yield Check("clock", FAILED, seen, "the rule is wrong: ledger account clock")
    elif ahead_sec < -_CLOCKS_APART_SEC:
        yield Check("clock", WARNING, seen, "the market may be closed; if it is open, the rule is wrong")
    else:
        yield Check("clock", OK, seen)


COMMANDS: Final = {"doctor": doctor}
