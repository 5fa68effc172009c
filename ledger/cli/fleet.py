"""The commands about a fleet: which accounts several workers sync, how they are, the workers themselves, and questions."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from ledger.cli import fleet_archive
from ledger.cli.csv_output import csv_option, print_csv, require_one_format
from ledger.cli.options import ACCOUNT_NAME, configuration, journal_option, journal_url, json_option, open_ledger
from ledger.cli.output import print_json, print_line, print_table, warn
from ledger.cli.signals import stopping_event
from ledger.clock import SECOND_US, utc_text_us
from ledger.errors import BadValue
from ledger.fleet.accounts import fleet_account, read_csv
from ledger.fleet.leases import CALLS_MAX, AccountState, FleetState, GatewayState, Leases
from ledger.fleet.leases import stop as stop_syncing
from ledger.fleet.worker import FleetSettings
from ledger.json_views import name_json
from ledger.safety import age_text

if TYPE_CHECKING:
    from threading import Event

    from ledger.clock import ClockRule
    from ledger.fleet.worker import Log
    from ledger.gateway_settings import SyncSettings
    from ledger.json_views import Json
    from ledger.reconciler import SyncResult
    from ledger.values import AccountId

_FILE: Final = click.Path(path_type=Path)
_COLUMNS: Final = ("account", "gateway", "every_sec", "due_at", "stopped", "worker", "synced_at")
_GATEWAY_COLUMNS: Final = (
    "gateway", "state", "accounts", "due", "late", "held", "stopped", "lease_losses", "calls_max", "failures", "since",
    "retry_at", "why", "oldest_due_at",
)  # fmt: skip


@click.group("fleet", short_help="Many accounts: who syncs them, how they are, what they hold.")
def fleet() -> None:
    """Say which accounts the workers of ledger sync --fleet sync, and ask about all accounts at once.

    Workers need a journal in Postgres. Questions are answered from any journal, or from an archive.

    \b
    Examples:
      ledger fleet add Broker-Live/70113 --gateway tcp://10.0.0.7:5555 --every 15s
      ledger fleet load accounts.csv
      ledger sync --fleet --workers 4
      ledger fleet status
      ledger fleet report --archive archive
      ledger fleet replay --archive archive --where 'symbol = XAUUSD'
    """


for _command in (fleet_archive.replay, fleet_archive.report, fleet_archive.breaks):
    fleet.add_command(_command)


@fleet.command("add")
@click.argument("account", type=ACCOUNT_NAME, metavar="ACCOUNT")
@click.option("--gateway", required=True, metavar="ADDRESS", help="tcp://HOST:PORT; other accounts may have the same.")
@click.option("--every", metavar="SPAN", help="How often: 15s, 2m (default: 15s).")
@journal_option
def add(journal: str | None, account: AccountId, gateway: str, every: str | None) -> None:
    """Let an account be synced by the workers, or change how it is. One that is stopped stays so."""
    one = fleet_account(account, gateway, every)
    with open_ledger(journal) as ledger:
        added = Leases(ledger.journal).add([one])
    print_line(f"{account}: synced every {one.interval_us / SECOND_US:g} s by {one.gateway}")
    if added.stopped:
        warn(f"{account} is stopped, and stays so until ledger fleet resume {account}")


@fleet.command("load")
@click.argument("file", type=_FILE, metavar="FILE")
@click.option("--replace", is_flag=True, help="Remove the accounts that are not in the file.")
@journal_option
def load(journal: str | None, file: Path, replace: bool) -> None:  # noqa: FBT001
    """Let all accounts of a CSV file be synced: columns account, gateway and every_sec, as ledger fleet list --csv has them.

    Nothing is changed where one line cannot be read, and all at once else.
    """
    found = read_csv(file)
    if replace and not found:
        raise BadValue(
            f"{file}: expected the accounts that stay, found none; nothing was changed. To remove the last: ledger fleet remove"
        )
    with open_ledger(journal) as ledger:
        added = Leases(ledger.journal).add(found, remove_others=replace)
    print_line(f"{len(found)} accounts are synced" + (f", {added.removed} no longer" if replace else ""))
    if added.stopped:
        warn(f"{added.stopped} of them are stopped, and stay so until ledger fleet resume; ledger fleet list shows which")


@fleet.command("remove")
@click.argument("accounts", type=ACCOUNT_NAME, metavar="ACCOUNT...", nargs=-1, required=True)
@journal_option
def remove(journal: str | None, accounts: tuple[AccountId, ...]) -> int:
    """Let accounts no longer be synced by the workers. Their events stay. Exit code 1: one of them was not."""
    with open_ledger(journal) as ledger:
        leases = Leases(ledger.journal)
        unknown = [one for one in accounts if not leases.remove(one)]
    for one in unknown:
        warn(f"{one} is not synced by workers: ledger fleet list shows those that are")
    print_line(f"{len(accounts) - len(unknown)} accounts are no longer synced")
    return int(bool(unknown))


@fleet.command("stop")
@click.argument("account", type=ACCOUNT_NAME, metavar="ACCOUNT")
@journal_option
def stop(journal: str | None, account: AccountId) -> None:
    """Let an account not be synced for a while, and wait until no worker syncs it."""
    with open_ledger(journal) as ledger:
        Leases(ledger.journal)  # a journal that can have no fleet is refused as such
        if not stop_syncing(ledger.journal, account):
            raise BadValue(f"expected an account of the fleet, found {account}: ledger fleet list shows them")
    print_line(f"{account}: no worker syncs it, until ledger fleet resume {account}")


@fleet.command("resume")
@click.argument("account", type=ACCOUNT_NAME, metavar="ACCOUNT")
@journal_option
def resume(journal: str | None, account: AccountId) -> None:
    """Let an account be synced again that was stopped."""
    with open_ledger(journal) as ledger:
        if not Leases(ledger.journal).resume(account):
            raise BadValue(f"expected an account that is stopped, found {account}: ledger fleet list shows those that are")
    print_line(f"{account}: it is due now")


@fleet.command("gateway")
@click.argument("gateway", metavar="ADDRESS")
@click.option("--calls", type=click.IntRange(1, 1_000), help=f"Calls at once, of all workers (default: {CALLS_MAX}).")
@click.option("--server-key", type=_FILE, metavar="FILE", help="CURVE: its public key, on the machines of the workers.")
@click.option("--no-server-key", is_flag=True, help="The key of the settings counts again.")
@journal_option
def gateway(journal: str | None, gateway: str, calls: int | None, server_key: Path | None, no_server_key: bool) -> None:  # noqa: FBT001
    """Set how many calls a gateway takes at once, and where its public key is; without one that of the settings counts.

    What is not given stays as it is, also while the gateway has no accounts. Workers use a new key from the next sync on; they
    notice it by the name of its file.
    """
    from ledger.gateway.client import checked_endpoint

    if server_key is not None and no_server_key:
        raise click.UsageError("--server-key and --no-server-key do not go together: choose one")
    endpoint = checked_endpoint(gateway, has_keys=True, allow_insecure=True)
    path = "" if no_server_key else None if server_key is None else str(server_key.absolute())
    with open_ledger(journal) as ledger:
        calls, key = Leases(ledger.journal).set_gateway(endpoint, calls_max=calls, server_key=path)
    print_line(f"{endpoint}: {calls} calls at once" + (f", key {key}" if key else ""))


@fleet.command("list")
@journal_option
@json_option
@csv_option
def list_(journal: str | None, as_json: bool, as_csv: bool) -> None:  # noqa: FBT001
    """List the accounts that workers sync. What --csv prints, ledger fleet load reads."""
    require_one_format(as_json=as_json, as_csv=as_csv)
    with open_ledger(journal) as ledger:
        items = [_account_json(one) for one in Leases(ledger.journal).accounts()]
    if as_json:
        print_json(items)
    elif as_csv:
        print_csv(_COLUMNS[:3], items)
    else:
        print_table(
            "fleet",
            ["account", "gateway", ">every", "due (UTC)", "synced (UTC)", "worker"],
            [
                [
                    f"{one['account']['server']}/{one['account']['login']}", one["gateway"], f"{one['every_sec']:g} s",
                    "stopped" if one["stopped"] else _short(one["due_at"]), _short(one["synced_at"]), one["worker"] or "-",
                ]
                for one in items
            ],
            empty="no accounts: ledger fleet add, ledger fleet load",
        )  # fmt: skip


def _account_json(one: AccountState) -> Json:
    return {
        "account": name_json(one.account),
        "gateway": one.gateway,
        "every_sec": one.interval_us / SECOND_US,
        "due_at": utc_text_us(one.due_us),
        "stopped": one.is_stopped,
        "worker": one.worker,
        "synced_at": _time(one.synced_us),
    }


@fleet.command("status")
@journal_option
@json_option
@csv_option
def status(journal: str | None, as_json: bool, as_csv: bool) -> int:  # noqa: FBT001
    """Show each gateway with its accounts: how many are due, late, held by a worker, stopped; and the workers.

    Late is what has been due for longer than a lease. An answer of a gateway that backs off is waited for by one account at
    a time, all others of it wait.

    Exit codes: 0 fine, 1 an account is late or a gateway does not answer.
    """
    require_one_format(as_json=as_json, as_csv=as_csv)
    with open_ledger(journal) as ledger:
        found = Leases(ledger.journal).state(late_us=round(settings().lease_sec * SECOND_US))
    items = [gateway_json(one) for one in found.gateways]
    if as_json:
        print_json(_state_json(found, items))
    elif as_csv:
        print_csv(_GATEWAY_COLUMNS, items)
    else:
        _print_status(found)
    return int(any(one.late or one.failures for one in found.gateways))


def gateway_json(one: GatewayState) -> Json:
    """Return a gateway as ``ledger fleet status --json`` prints it."""
    return {
        "gateway": one.gateway,
        "state": _state(one),
        "accounts": one.accounts,
        "due": one.due,
        "late": one.late,
        "held": one.held,
        "stopped": one.stopped,
        "lease_losses": one.losses,
        "calls_max": one.calls_max,
        "failures": one.failures,
        "since": _time(one.since_us),
        "retry_at": _time(one.retry_us),
        "why": one.reason,
        "oldest_due_at": _time(one.oldest_due_us),
    }


def _state(one: GatewayState) -> str:
    if one.retry_us is not None:
        return "backing off"
    return "failing" if one.failures else "answers"


def _state_json(found: FleetState, items: list[Json]) -> Json:
    workers = [
        {"worker": one.worker, "accounts": one.accounts, "held": one.held, "synced_at": _time(one.synced_us)}
        for one in found.workers
    ]
    return {
        "at": utc_text_us(found.now_us),
        "accounts": sum(one.accounts for one in found.gateways),
        "gateways": items,
        "workers": workers,
    }


def _print_status(found: FleetState) -> None:
    print_table(
        "gateways",
        ["gateway", "state", ">accounts", ">due", ">late", ">held", ">stopped", ">lost"],
        [
            [one.gateway, _state(one), *map(str, (one.accounts, one.due, one.late, one.held, one.stopped, one.losses))]
            for one in found.gateways
        ],
        empty="no accounts: ledger fleet add, ledger fleet load",
    )
    for one in found.gateways:
        if one.reason is not None:
            print_line(f"{one.gateway}: no answer to {one.failures} calls in a row: {one.reason}", "red")
    print_table(
        "workers",
        ["worker", ">accounts", ">held", ">last sync"],
        [[one.worker, str(one.accounts), str(one.held), _age(found.now_us, one.synced_us)] for one in found.workers],
        empty="none: ledger sync --fleet --workers 4",
    )


def _age(now_us: int, then_us: int | None) -> str:
    return "never" if then_us is None else age_text(max(0, now_us - then_us) / SECOND_US)


def _time(time_us: int | None) -> str | None:
    return None if time_us is None else utc_text_us(time_us)


def _short(text: str | None) -> str:
    return "never" if text is None else text[:19].replace("T", " ")


# ---- the workers


def settings() -> FleetSettings:
    """Return how workers work, by the settings. Raises as ``ledger.config.find``."""
    return FleetSettings(**configuration().fleet)


def run_workers(
    journal: str | None,
    count: int,
    *,
    sync: SyncSettings,
    gateway: dict[str, Any],
    log: Log,
    on_result: Callable[[SyncResult], object],
    is_attended: bool,
) -> int:
    """Sync the accounts of the fleet until a signal comes: in this process, or in several that it starts.

    Args:
        journal: As it was given.
        count: How many workers.
        sync: What reconcilers are made with.
        gateway: The options that name a gateway's keys.
        log: Takes what happens.
        on_result: Called with each result of a worker in this process.
        is_attended: Whether another process started this one and its input ends with that.
    """
    from ledger.systemd import SystemdNotifier

    stopping = stopping_event(is_ended_by_hangup=True)
    if count > 1:
        return _run_several(journal, count, sync.clock, gateway, log, stopping)
    from ledger.fleet.connect import Connector
    from ledger.fleet.worker import Worker
    from ledger.gateway.pool import Pools
    from ledger.gateway.sandbox.server import pipe_ended

    shared = {**configuration().gateway, **{name: value for name, value in gateway.items() if value is not None}}
    with open_ledger(journal) as ledger:
        Leases(ledger.journal)  # refused before anything is opened
        pools = Pools()
        try:
            connector = Connector(ledger, shared, sync, pools)
            worker = Worker(ledger, connector, settings=settings(), log=log, notifier=SystemdNotifier(), on_result=on_result)
            worker.run(stopping, is_orphan=pipe_ended(0) if is_attended else bool)
        finally:
            pools.close()
    return 0


def _run_several(
    journal: str | None, count: int, clock: ClockRule | None, gateway: dict[str, Any], log: Log, stopping: Event
) -> int:
    from ledger.fleet.workers import Workers
    from ledger.processes import own_command
    from ledger.systemd import SystemdNotifier

    with open_ledger(journal) as ledger:
        Leases(ledger.journal)  # it is one in Postgres, and of our schema
    given = ["--server-tz", str(clock)] if clock is not None else []
    for name in ("client_key", "server_key"):
        given += [f"--{name.replace('_', '-')}", str(Path(gateway[name]).absolute())] if gateway[name] else []
    given += ["--timeout-ms", str(gateway["timeout_ms"])] if gateway["timeout_ms"] else []
    given += ["--insecure"] if gateway["insecure"] else []
    path = configuration().path
    given += ["--config", str(path)] if path is not None else []
    command = own_command("ledger", "sync", "--fleet", "--attended", *given)
    if command is None:
        raise BadValue(
            "expected a Python interpreter to start workers with, found none: start ledger sync --fleet several times"
        )
    environment = os.environ | {"LEDGER_JOURNAL": journal_url(journal)}  # arguments can be read by others
    environment.pop("NOTIFY_SOCKET", None)
    return Workers(command, environment, count, log, SystemdNotifier()).run(stopping)


COMMANDS: Final = {"fleet": fleet}
