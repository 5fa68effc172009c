"""What the commands ``sync`` and ``drift`` do: one run for all accounts that are meant, a daemon, a comparison."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, suppress
from functools import partial
from pathlib import Path
from threading import Event, Thread
from typing import Any, Final, Self

import attrs
import click

from ledger.cli import exit_code
from ledger.cli.chosen import chosen
from ledger.cli.gateways import (
    GatewaySettings,
    SyncSettings,
    all_gateway_settings,
    gateway_settings,
    interval_sec,
    keep_marks_days,
    monitor_rules,
    policy,
    reconciler_of,
)
from ledger.cli.health import HealthFile
from ledger.cli.metrics import DaemonMetrics, leave_synced, text_file
from ledger.cli.options import configuration, configuration_note, open_ledger
from ledger.cli.output import one_or_list, print_json, print_line, print_table, warn
from ledger.cli.signals import hangup_event, stopping_event
from ledger.cli.streams import OutputClosed, complain, library_log
from ledger.clock import ClockRule, utc_text_us
from ledger.daemon import Daemon, End, Job
from ledger.errors import BadValue, GatewayError, LedgerError
from ledger.json_views import Json, account_json, drift_json, name_json, no_drift_json, sync_json
from ledger.reconcile.compare import Disagreement, NewTicket
from ledger.reconciler import StateReconciler, SyncResult, SyncStatus, describe, sync_all
from ledger.service import Ledger, utc_now_us
from ledger.systemd import SystemdNotifier
from ledger.text import json_text
from ledger.values import AccountId

_EXITS: Final = {SyncStatus.SUCCESS: 0, SyncStatus.PARTIAL: 1, SyncStatus.DEGRADED: 3, SyncStatus.FAILED: 3}
_UNAVAILABLE: Final = 3
_DERIVE_AGAIN_SEC: Final = 30.0


def run_sync(
    *,
    journal: str | None,
    account: AccountId | None,
    server_tz: ClockRule | None,
    how: str,
    fleet: bool,
    workers: int | None,
    attended: bool,
    startup: bool,
    dry_run: bool,
    interval: float | None,
    health: str | None,
    address: str | None,
    textfile: Path | None,
    as_json: bool,
    **gateway: Any,
) -> int:
    """Sync once, or until stopped; return the exit code. The arguments are the options of ``ledger sync``."""
    if fleet or workers is not None:
        _require_fleet_alone(account, gateway, is_fleet=fleet, others=(startup, dry_run, health, address, textfile, interval))
        return _run_fleet(journal, server_tz, gateway, workers or 1, is_attended=attended)
    with open_ledger(journal) as ledger, ExitStack() as stack:
        file = None if health is None else HealthFile(Path(health), ledger.journal.file())
        if how == "watch":
            if dry_run:
                raise BadValue("--watch appends and --dry-run does not: choose one")
            if textfile is not None:
                raise BadValue("a daemon serves metrics: use --metrics HOST:PORT in place of --metrics-textfile")
            served = None if address is None else stack.enter_context(closing(_served(address, ledger)))
            return _watch(ledger, lambda: _jobs(ledger, account, gateway, server_tz, interval, served), file, served)
        if address is not None:
            raise BadValue("only a daemon is there to be scraped: use --metrics with --watch, else --metrics-textfile")
        left = text_file(textfile, "sync", ledger)
        note_configuration()
        targets = _targets(account, gateway)
        opened = _opened(ledger, targets, _settings(server_tz, interval), stack)
        if len(opened) == 1 and opened[0].error is not None:
            return _unreachable(opened[0], as_json=as_json)
        results = _synced(opened, startup=startup, dry_run=dry_run)
        if file is not None and not dry_run:
            _write_health(file, [one.reconciler for one in opened if one.reconciler is not None])
        if not dry_run:
            leave_synced(left, ledger, [result.account for result in results])
        _show(ledger, results, as_json=as_json, dry_run=dry_run)
    return max(_EXITS[result.status] for result in results)


def _require_fleet_alone(
    account: AccountId | None, gateway: dict[str, Any], *, is_fleet: bool, others: tuple[object, ...]
) -> None:
    """Refuse what does not go with a fleet.

    Raises:
        click.UsageError: It was given.
    """
    if not is_fleet:
        raise click.UsageError("--workers goes with --fleet")
    if account is not None or any(gateway[name] for name in ("gateway", "terminal", "form")) or any(others):
        raise click.UsageError(
            "--fleet syncs the accounts of ledger fleet by their own gateways and intervals: leave the other options out. "
            "ledger metrics serves its metrics"
        )


def _run_fleet(
    journal: str | None, clock: ClockRule | None, gateway: dict[str, Any], workers: int, *, is_attended: bool
) -> int:
    from ledger.cli.fleet import run_workers

    log = _Log()
    _log_library(log)
    sync = _settings(clock, None)
    return run_workers(journal, workers, sync=sync, gateway=gateway, log=log, on_result=log.result, is_attended=is_attended)


def note_configuration() -> None:
    """Print beside the output which file the settings are from."""
    note = configuration_note()
    if note is not None:
        complain(note)


# ---- which accounts, and their gateways


@attrs.frozen(kw_only=True)
class _Opened:
    """A gateway that a command speaks to: the reconciler of its account, or why there is none."""

    target: GatewaySettings
    reconciler: StateReconciler | None = None
    error: LedgerError | None = None

    @property
    def name(self) -> AccountId | None:
        return self.target.account if self.reconciler is None else self.reconciler.account.name


def _settings(clock: ClockRule | None, interval: float | None) -> SyncSettings:
    return SyncSettings(
        policy=policy(),
        interval_sec=interval_sec(interval),
        keep_marks_days=keep_marks_days(),
        monitors=monitor_rules(),
        clock=clock,
    )


def _targets(account: AccountId | None, gateway: dict[str, Any]) -> list[GatewaySettings]:
    """Return the gateways that are meant: all of the settings, or one.

    Raises:
        BadValue: None is named.
    """
    is_named = account is not None or gateway["gateway"] or gateway["terminal"]
    found = [] if is_named else all_gateway_settings()
    one = None if found else gateway_settings(account, **gateway)
    found = found or ([one] if one else [])
    if not found:
        raise BadValue(
            "which gateway? Name it with --gateway tcp://127.0.0.1:5555, or set GTW_HOST and GTW_PORT, or write a "
            "[gateway] table with its url into ledger.toml beside the journal, or into the file of --config"
        )
    return [one if account is None else attrs.evolve(one, account=account) for one in found]


def _opened(ledger: Ledger, targets: Sequence[GatewaySettings], settings: SyncSettings, stack: ExitStack) -> list[_Opened]:
    """Return a reconciler for each gateway, asked at once; the stack closes them. Of several, one that fails is reported.

    Raises:
        LedgerError: There is one, and something else than that it does not answer is wrong.
    """

    def open_one(target: GatewaySettings) -> _Opened:
        try:
            return _Opened(target=target, reconciler=reconciler_of(ledger, target, settings))
        except LedgerError as error:
            return _Opened(target=target, error=error)

    with ThreadPoolExecutor(len(targets), thread_name_prefix="ledger-open") as threads:
        opened = list(threads.map(open_one, targets))
    for one in opened:
        if one.reconciler is not None:
            stack.callback(one.reconciler.gateway.close)
    (error,) = (opened[0].error,) if len(opened) == 1 else (None,)
    if error is not None and not (isinstance(error, GatewayError) and error.retryable):
        raise error
    return opened


def _synced(opened: Sequence[_Opened], *, startup: bool, dry_run: bool) -> tuple[SyncResult, ...]:
    """Sync all accounts at once; where one is meant, what is wrong with the command is raised as such."""
    reconcilers = [one.reconciler for one in opened if one.reconciler is not None]
    if len(opened) == 1:
        (one,) = reconcilers
        if dry_run:
            return (one.dry_run(startup=startup),)
        return (one.startup_recovery() if startup else one.sync_positions(),)
    done = iter(sync_all(reconcilers, startup=startup, dry_run=dry_run))
    return tuple(_not_opened(one) if one.reconciler is None else next(done) for one in opened)


def _not_opened(one: _Opened) -> SyncResult:
    assert one.name is not None, "of several gateways each has its account"
    status = SyncStatus.DEGRADED if isinstance(one.error, GatewayError) else SyncStatus.FAILED
    return SyncResult(account=one.name, status=status, reason=str(one.error))


def _unreachable(one: _Opened, *, as_json: bool) -> int:
    """Print that it is not even known which account a gateway is of."""
    if as_json:
        account = None if one.name is None else name_json(one.name)
        print_json({"account": account, "status": "DEGRADED", "reason": str(one.error), "appended": 0})
    else:
        warn(f"DEGRADED: {one.error}")
    return _UNAVAILABLE


# ---- for people and programs


def _show(ledger: Ledger, results: Sequence[SyncResult], *, as_json: bool, dry_run: bool) -> None:
    for result in results:
        for warning in result.warnings:
            warn(warning)
    if as_json:
        print_json(one_or_list([sync_json(result, _terms(ledger, result), dry_run=dry_run) for result in results]))
        return
    for result in results:
        _print_result(result, dry_run=dry_run)


def _terms(ledger: Ledger, result: SyncResult) -> Any:
    found = ledger.account(result.account)
    return found.terms if found.is_open else None


def _print_result(result: SyncResult, *, dry_run: bool) -> None:
    would = "would be " if dry_run else ""
    print_line(f"{result.account}: {result.status.value}{' (dry run)' if dry_run else ''}", style="bold")
    if result.reason:
        print_line(f"  {result.reason}")
        print_line("  the portfolio is untouched: it is unknown what the broker has")
    for tickets, words in (
        (result.fills, f"deals {would}booked"),
        (result.revised, f"deals {would}revised: the broker shows them otherwise now"),
        (result.withdrawn, "deals that the broker no longer lists"),
        (result.recovered, f"positions {would}recovered: the broker had them, we had not"),
        (result.closed, f"positions {would}closed: the broker no longer has them, and no deal explains it"),
        (result.corrected, f"positions {would}corrected"),
        (result.reticketed, f"positions {would}given their new ticket"),
    ):
        if tickets:
            shown = ", ".join(map(str, tickets[:6])) + (f" and {len(tickets) - 6} more" if len(tickets) > 6 else "")
            print_line(f"  {len(tickets)} {words}: {shown}")
    if result.held:
        print_table(
            "  held",
            ["kind", ">position", "symbol", "why"],
            [[held.kind, str(held.position_id or ""), held.symbol or "", held.why] for held in result.held],
            empty="nothing",
        )
    events = f"{result.appended} events {would}appended" if result.appended else "nothing to append"
    print_line(f"  {events}, version {result.version}")


# ---- the daemon


def _served(address: str, ledger: Ledger) -> DaemonMetrics:
    log = _Log()
    return DaemonMetrics(address, ledger, lambda why: log("warning", "metrics", reason=why))


def _jobs(
    ledger: Ledger,
    account: AccountId | None,
    gateway: dict[str, Any],
    clock: ClockRule | None,
    interval: float | None,
    served: DaemonMetrics | None,
) -> list[Job]:
    """Return the accounts that a daemon syncs. No gateway is asked anything yet.

    Raises:
        LedgerError: A setting, a URL or a file of keys is wrong.
    """
    settings = _settings(clock, interval)
    targets = _targets(account, gateway)
    for target in targets:
        target.connect().close()

    def opened(target: GatewaySettings) -> StateReconciler:
        reconciler = reconciler_of(ledger, target, settings)
        return reconciler if served is None else served.measured(reconciler)

    return [
        Job(
            name=str(target.account or target.url),
            account=target.account,
            interval_sec=settings.interval_sec,
            open=partial(opened, target),
        )
        for target in targets
    ]


class _Beside:
    """The thread that keeps the derived tables up beside the syncs. Whatever goes wrong in it is logged and ends no sync."""

    def __init__(self, ledger: Ledger, log: _Log) -> None:
        self._ledger = ledger
        self._log = log
        self._stopping = Event()
        self._thread: Thread | None = None

    def __enter__(self) -> Self:
        if configuration().follow_derived:
            self._thread = Thread(target=self._run, name="ledger-derive", daemon=True)
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        from ledger.derived import keep_up

        while not self._stopping.is_set():
            try:
                keep_up(self._ledger, self._stopping)
            except Exception as error:  # noqa: BLE001  # whatever it is, the syncs go on
                self._log("error", "derived tables", reason=f"{type(error).__name__}: {error}", restart_sec=_DERIVE_AGAIN_SEC)
                self._stopping.wait(_DERIVE_AGAIN_SEC)


def _watch(ledger: Ledger, read_jobs: Callable[[], list[Job]], file: HealthFile | None, served: DaemonMetrics | None) -> int:
    """Sync until a signal comes; whatever is under way is finished first. SIGHUP has the settings read anew."""
    stopping, hangups = stopping_event(), hangup_event()
    notifier, log = SystemdNotifier(), _Log()
    _log_library(log)
    fresh = read_jobs()

    def is_reloading() -> bool:
        nonlocal fresh
        if not hangups.is_set():
            return False
        hangups.clear()
        try:
            chosen().fresh_configuration()
            fresh = read_jobs()
        except LedgerError as error:
            log("error", "reload refused", reason=str(error))
            return False
        notifier.reloading()
        return True

    while True:
        daemon = Daemon(fresh, log=log, notifier=notifier, on_result=partial(_report, log, file, served))
        if served is not None:
            served.watch(daemon)
            log("info", "metrics", at=served.url)
        log("info", "settings", **{"from": configuration_note() or "no file"})
        with _Beside(ledger, log):
            end = daemon.run(stopping, is_reloading)
        if end is End.STOPPED:
            break
        log("info", "reloaded")
    log("info", "stopped")
    return 0


def _log_library(log: _Log) -> None:
    if (handler := library_log()) is not None:
        handler.emit = log.record  # type: ignore[method-assign]


def _report(log: _Log, file: HealthFile | None, served: DaemonMetrics | None, daemon: Daemon, result: SyncResult) -> None:
    if served is not None:
        served.result(daemon, result)
    if file is not None:
        _write_health(file, daemon.reconcilers)
    log.result(result)


def _write_health(file: HealthFile, reconcilers: Sequence[StateReconciler]) -> None:
    try:
        file.write([one.get_status() for one in reconcilers])
    except OSError as error:
        logging.getLogger("ledger.health").warning(
            "the health file %s cannot be written: %s", file.path, error.strerror or error
        )


class _Log:
    """Lines for programs on standard error: one JSON object for each sync that did something or ended otherwise."""

    def __init__(self) -> None:
        self._ended: dict[AccountId, tuple[object, ...]] = {}

    def __call__(self, level: str, event: str, **fields: object) -> None:
        line = {"ts": utc_text_us(utc_now_us()), "level": level, "event": event} | fields
        with suppress(OutputClosed):  # nobody reads it: that is no reason to stop
            sys.stderr.write(json_text(line, is_ascii=True) + "\n")
            sys.stderr.flush()

    def record(self, record: logging.LogRecord) -> None:
        """Write what the library logs."""
        self(record.levelname.lower(), "library", logger=record.name, why=record.getMessage())

    def result(self, result: SyncResult) -> None:
        ended = (result.status, result.reason, result.held)
        if not result.appended and self._ended.get(result.account) == ended:
            return
        self._ended[result.account] = ended
        level = {SyncStatus.SUCCESS: "info", SyncStatus.PARTIAL: "warning"}.get(result.status, "error")
        item = sync_json(result, None, dry_run=False)
        self(level, "sync", **{name: value for name, value in item.items() if value not in (None, [], False)})
        for warning in result.warnings:
            self("warning", "look", account=str(result.account), why=warning)


# ------------------------------------------------------------------------------------------------------------- drift

_Found = tuple[Disagreement | NewTicket, ...] | LedgerError


def run_drift(*, journal: str | None, accounts: tuple[AccountId, ...], as_json: bool, **gateway: Any) -> int:
    """Compare accounts with their gateways; return the exit code. The arguments are the options of ``ledger drift``."""
    note_configuration()
    with open_ledger(journal) as ledger, ExitStack() as stack:
        opened = _opened(ledger, _drift_targets(accounts, gateway), _settings(None, None), stack)
        with ThreadPoolExecutor(len(opened), thread_name_prefix="ledger-drift") as threads:
            found = list(threads.map(_differences, opened))
        if len(found) == 1 and isinstance(found[0], LedgerError) and not isinstance(found[0], GatewayError):
            raise found[0]
        items = [_drift_json(ledger, one, each) for one, each in zip(opened, found, strict=True)]
    if as_json:
        print_json(one_or_list(items))
    else:
        for one, each in zip(opened, found, strict=True):
            _print_drift(one, each)
    return max(_drift_exit(each) for each in found)


def _drift_targets(accounts: Sequence[AccountId], gateway: dict[str, Any]) -> list[GatewaySettings]:
    """Return the gateways that are compared: of the accounts that are named, else of all.

    Raises:
        BadValue: An account has no gateway, or one gateway is named for several accounts.
    """
    named: list[AccountId | None] = list(dict.fromkeys(accounts))
    if len(named) > 1 and (gateway["gateway"] or gateway["terminal"]):
        raise BadValue("one gateway is of one account: name one --account with --gateway, or none")
    return [one for account in named or [None] for one in _targets(account, gateway)]


def _differences(one: _Opened) -> _Found:
    """Compare one account; what prevents the comparison is its result."""
    if one.reconciler is None:
        assert one.error is not None
        return one.error
    try:
        return one.reconciler.differences()
    except LedgerError as error:
        return error


def _drift_json(ledger: Ledger, one: _Opened, found: _Found) -> Json:
    if not isinstance(found, LedgerError):
        assert one.reconciler is not None
        return drift_json(one.reconciler.account.terms, found)
    return no_drift_json(None if one.name is None else _account_json(ledger, one.name), one.target.url, found)


def _account_json(ledger: Ledger, name: AccountId) -> Json:
    with suppress(LedgerError):
        return account_json(ledger.account(name).terms)
    return name_json(name)


def _print_drift(one: _Opened, found: _Found) -> None:
    name = one.name or one.target.url
    if isinstance(found, LedgerError):
        complain(f"{name}: it is unknown whether both agree: {found}")
        return
    print_line(f"{name}: {'differs' if _differ(found) else 'agrees'}")
    for each in found:
        print_line(f"  {describe(each)}")


def _differ(found: Sequence[Disagreement | NewTicket]) -> bool:
    return any(not isinstance(each, NewTicket) for each in found)


def _drift_exit(found: _Found) -> int:
    if isinstance(found, LedgerError):
        return _UNAVAILABLE if isinstance(found, GatewayError) else exit_code(found)
    return int(_differ(found))
