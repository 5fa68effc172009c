"""The commands that hold accounts against their gateways: sync, once or as a daemon, and drift."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from threading import Event, Thread
from typing import Any, Final

import click

from ledger.cli.gateways import Way, gateway_options, interval_sec, reconciler_of, server_tz_option, way, ways
from ledger.cli.health import Health, Notifier, health_file
from ledger.cli.options import account_option, journal_option, journal_url, json_option, open_ledger
from ledger.cli.output import one_or_list, print_json, print_table, say, warn
from ledger.clock import ClockRule, utc_text_us
from ledger.errors import AccountUnknown, BadValue, GatewayError
from ledger.faces import drift_face, sync_face
from ledger.reconcile.compare import NewTicket
from ledger.reconciler import StateReconciler, SyncResult, SyncStatus, described, sync_all
from ledger.service import Ledger, utc_now_us
from ledger.values import AccountId

_EXITS: Final = {SyncStatus.SUCCESS: 0, SyncStatus.PARTIAL: 1, SyncStatus.DEGRADED: 3, SyncStatus.FAILED: 3}
_UNAVAILABLE: Final = 3
_LISTEN_SEC: Final = 0.2


@click.command("sync", short_help="Reconcile with the gateway: once, or as a daemon.")
@journal_option
@account_option
@gateway_options
@server_tz_option
@click.option("--once", "how", flag_value="once", default="once", help="One sync (what happens without a word).")
@click.option("--watch", "how", flag_value="watch", help="Sync at once and then continuously, until it is told to stop.")
@click.option("--startup", is_flag=True, help="Take the snapshots that a decision needs one after another, at once.")
@click.option("--dry-run", is_flag=True, help="Say what would be done; append nothing.")
@click.option("--interval", type=float, metavar="SEC", help="Between two syncs of --watch; else $SYNC_INTERVAL_SEC, 15.")
@click.option("--health", metavar="FILE", help="Where to write how it stands; beside a SQLite journal without.")
@json_option
def sync(
    journal: str | None,
    account: AccountId | None,
    server_tz: ClockRule | None,
    how: str,
    startup: bool,  # noqa: FBT001
    dry_run: bool,  # noqa: FBT001
    interval: float | None,
    health: str | None,
    as_json: bool,  # noqa: FBT001
    **gateway: Any,
) -> int:
    """Compare an account with the broker's snapshot and append what follows: deals, corrections, breaks.

    \b
    Examples:
      ledger sync --gateway tcp://127.0.0.1:5555
      ledger sync --startup --account Broker-Live/70113
      ledger sync --dry-run --json
      ledger sync --watch --interval 15       (a unit file is in deploy/)

    \b
    ledger.toml in this folder takes the settings that do not change:
      journal = "sqlite:///desk.db"
      [gateway]
      url = "tcp://10.0.0.7:5555"             form, timeout_ms, insecure,
      server_key = "keys/gateway.key"         client_key
      [gateways."Broker-Live/70113"]          the same for one of several accounts
      url = "tcp://10.0.0.8:5555"
      [sync]
      interval_sec = 15
      [policy]
      magics = [20260101]                     and any other setting of the policy

    \b
    Exit codes: 0 SUCCESS, 1 PARTIAL (something is held), 3 DEGRADED or FAILED.
    """
    with open_ledger(journal) as ledger, ExitStack() as stack:
        state = health_file(health, journal_url(journal))
        state.require_own(ledger.journal.file())
        every_sec = interval_sec(interval)
        if how == "watch":
            if dry_run:
                raise BadValue("--watch appends and --dry-run does not: choose one")
            return _watch(lambda: _reconcilers(ledger, stack, account, gateway, server_tz, every_sec), state, every_sec)
        try:
            reconcilers = _reconcilers(ledger, stack, account, gateway, server_tz, every_sec)
        except GatewayError as error:
            if not error.retryable:
                raise
            return _unreachable(error, as_json=as_json)
        if dry_run:
            results = tuple(one.dry_run(startup=startup) for one in reconcilers)
        else:
            results = _synced(reconcilers, startup=startup)
            _write_health(state, reconcilers)
        _show(ledger, results, as_json=as_json, dry_run=dry_run)
    return max(_EXITS[result.status] for result in results)


def _synced(reconcilers: Sequence[StateReconciler], *, startup: bool) -> tuple[SyncResult, ...]:
    """Sync; where one account is meant, what is wrong with the command is told as such."""
    if len(reconcilers) == 1:
        (one,) = reconcilers
        return (one.startup_recovery() if startup else one.sync_positions(),)
    return sync_all(reconcilers, startup=startup)


def _reconcilers(
    ledger: Ledger,
    stack: ExitStack,
    account: AccountId | None,
    gateway: dict[str, Any],
    clock: ClockRule | None,
    interval: float,
) -> list[StateReconciler]:
    """Return a reconciler for each account that is meant; the stack closes their gateways."""
    found: Sequence[Way] = []
    if account is None and not gateway["gateway"]:
        found = ways()
    one = None if found else way(account, **gateway)
    found = found or ([one] if one else [])
    if not found:
        raise BadValue(
            "which gateway? Name it with --gateway tcp://127.0.0.1:5555, or set GTW_HOST and GTW_PORT, or write a "
            "[gateway] table with its url into ledger.toml"
        )
    reconcilers = []
    for each in found:
        reconcilers.append(reconciler_of(ledger, each if account is None else _of(each, account), clock, interval))
        stack.callback(reconcilers[-1].gateway.close)
    return reconcilers


def _of(found: Way, account: AccountId) -> Way:
    import attrs

    return attrs.evolve(found, account=account)


def _unreachable(error: GatewayError, *, as_json: bool) -> int:
    """Say that it is not even known which account a gateway is of."""
    if as_json:
        print_json({"account": None, "status": "DEGRADED", "reason": str(error), "appended": 0})
    else:
        warn(f"DEGRADED: {error}")
    return _UNAVAILABLE


# ---- for people and programs


def _show(ledger: Ledger, results: Sequence[SyncResult], *, as_json: bool, dry_run: bool) -> None:
    for result in results:
        for warning in result.warnings:
            warn(warning)
    if as_json:
        print_json(one_or_list([sync_face(result, _standing(ledger, result), dry_run=dry_run) for result in results]))
        return
    for result in results:
        _say(result, dry_run=dry_run)


def _standing(ledger: Ledger, result: SyncResult) -> Any:
    found = ledger.account(result.account)
    return found.standing if found.is_open else None


def _say(result: SyncResult, *, dry_run: bool) -> None:
    would = "would be " if dry_run else ""
    say(f"{result.account}: {result.status.value}{' (dry run)' if dry_run else ''}", style="bold")
    if result.reason:
        say(f"  {result.reason}")
        say("  the portfolio is untouched: it is unknown what the broker has")
    for tickets, words in (
        (result.fills, f"deals {would}booked"),
        (result.revised, f"deals {would}revised: the broker shows them otherwise now"),
        (result.recovered, f"positions {would}recovered: the broker had them, we had not"),
        (result.closed, f"positions {would}closed: the broker has them no more, no deal tells how"),
        (result.corrected, f"positions {would}corrected"),
        (result.reticketed, f"positions {would}given their new ticket"),
    ):
        if tickets:
            shown = ", ".join(map(str, tickets[:6])) + (f" and {len(tickets) - 6} more" if len(tickets) > 6 else "")
            say(f"  {len(tickets)} {words}: {shown}")
    if result.held:
        print_table(
            "  held",
            ["kind", ">position", "symbol", "why"],
            [[held.kind, str(held.position_id or ""), held.symbol or "", held.why] for held in result.held],
            empty="nothing",
        )
    events = f"{result.appended} events {would}appended" if result.appended else "nothing to append"
    say(f"  {events}, version {result.version}")


# ---- the daemon


def _watch(open_all: Callable[[], Sequence[StateReconciler]], state: Health, every_sec: float) -> int:
    """Sync until a signal comes; whatever is under way is finished first."""
    stopping = Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopping.set())
    notify = Notifier()
    log = _Log()
    reconcilers = _opened_in_time(open_all, stopping, log, every_sec)

    def seen(result: SyncResult) -> None:
        log.result(result)
        _write_health(state, reconcilers)
        notify.send(f"READY=1\nSTATUS={result.account}: {result.status.value}, version {result.version}")

    threads = [Thread(target=_keep_up, args=(one, stopping, seen), name=str(one.account.name)) for one in reconcilers]
    log.write("info", "watching", accounts=[str(one.account.name) for one in reconcilers])
    for thread in threads:
        thread.start()
    while not stopping.wait(_LISTEN_SEC):
        notify.alive()
        if not any(thread.is_alive() for thread in threads):
            break
    stopping.set()
    notify.send("STOPPING=1")
    for thread in threads:
        thread.join()
    log.write("info", "stopped")
    failed = [one for one in reconcilers if one.get_status().state is None]
    return _UNAVAILABLE if failed else 0


def _opened_in_time(
    open_all: Callable[[], Sequence[StateReconciler]], stopping: Event, log: _Log, every_sec: float
) -> Sequence[StateReconciler]:
    """Return the reconcilers, as soon as their gateways tell which accounts they are of; none where a signal came first."""
    while not stopping.is_set():
        try:
            return open_all()
        except GatewayError as error:
            if not error.retryable:
                raise
            log.write("error", "unreachable", reason=str(error))
            stopping.wait(every_sec)
    return ()


def _keep_up(one: StateReconciler, stopping: Event, seen: Callable[[SyncResult], object]) -> None:
    """Sync one account: with all the snapshots it needs at the start, then whenever it is due."""
    try:
        seen(one.startup_recovery())
        while not stopping.is_set():
            result = one.sync_continuous()
            if result is not None:
                seen(result)
            stopping.wait(min(_LISTEN_SEC, one.sync_interval_sec))
    except AccountUnknown as error:
        warn(str(error))


def _write_health(state: Health, reconcilers: Sequence[StateReconciler]) -> None:
    try:
        state.write([one.get_status() for one in reconcilers])
    except OSError as error:
        warn(f"the health file {state.path} cannot be written: {error.strerror or error}")


class _Log:
    """Lines for programs on standard error: one JSON object for each sync that did something or ended otherwise."""

    def __init__(self) -> None:
        self._ended: dict[AccountId, tuple[object, ...]] = {}

    def write(self, level: str, event: str, **fields: object) -> None:
        line = {"ts": utc_text_us(utc_now_us()), "level": level, "event": event} | fields
        print(json.dumps(line), file=sys.stderr, flush=True)  # noqa: T201  # this is what a daemon says

    def result(self, result: SyncResult) -> None:
        ended = (result.status, result.reason, result.held)
        if not result.appended and self._ended.get(result.account) == ended:
            return
        self._ended[result.account] = ended
        level = {SyncStatus.SUCCESS: "info", SyncStatus.PARTIAL: "warning"}.get(result.status, "error")
        face = sync_face(result, None, dry_run=False)
        self.write(level, "sync", **{name: value for name, value in face.items() if value not in (None, [], False)})
        for warning in result.warnings:
            self.write("warning", "look", account=str(result.account), why=warning)


# ------------------------------------------------------------------------------------------------------------- drift


@click.command("drift", short_help="Compare with the gateway; change nothing.")
@journal_option
@account_option
@gateway_options
@json_option
def drift(journal: str | None, account: AccountId | None, as_json: bool, **gateway: Any) -> int:  # noqa: FBT001
    """Compare an account with the broker's snapshot. Nothing is appended.

    \b
    Example:
      ledger drift --gateway tcp://127.0.0.1:5555 --json

    Exit codes: 0 both agree, 1 they do not, 3 there is no usable snapshot.
    """
    with open_ledger(journal) as ledger, ExitStack() as stack:
        try:
            reconcilers = _reconcilers(ledger, stack, account, gateway, None, interval_sec(None))
            pairs = [(one, one.differences()) for one in reconcilers]
        except GatewayError as error:
            click.echo(f"ledger: it is unknown whether both agree: {error}", err=True)
            return _UNAVAILABLE
        faces = [drift_face(one.account.standing, found) for one, found in pairs]
    if as_json:
        print_json(one_or_list(faces))
    else:
        for one, found in pairs:
            say(f"{one.account.name}: {'differs' if any(not isinstance(each, NewTicket) for each in found) else 'agrees'}")
            for each in found:
                say(f"  {described(each)}")
    return 0 if all(face["agrees"] for face in faces) else 1


COMMANDS: Final = {"sync": sync, "drift": drift}
