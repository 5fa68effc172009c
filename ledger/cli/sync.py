"""The commands that compare accounts with their gateways, sync and drift: their options. ``reconciling`` carries them out."""

from __future__ import annotations

from typing import Any, Final

import click

from ledger.cli.gateway_options import gateway_options, server_tz_option, terminal_option
from ledger.cli.metrics import textfile_option
from ledger.cli.options import account_option, accounts_option, journal_option, json_option


@click.command("sync", short_help="Reconcile with the gateway: once, or as a daemon.")
@journal_option
@account_option
@gateway_options
@terminal_option
@server_tz_option
@click.option("--once", "how", flag_value="once", default="once", help="Sync once (default).")
@click.option("--watch", "how", flag_value="watch", help="Sync now, then at every interval, until stopped.")
@click.option("--fleet", is_flag=True, help="Sync the accounts of ledger fleet, until stopped.")
@click.option("--workers", type=click.IntRange(1, 64), metavar="N", help="With --fleet: worker processes (default: 1).")
@click.option("--attended", is_flag=True, hidden=True)
@click.option("--startup", is_flag=True, help="Take all confirming snapshots now, not one per cycle.")
@click.option("--dry-run", is_flag=True, help="Say what would be done; append nothing.")
@click.option("--interval", type=float, metavar="SEC", help="Between two syncs of --watch; else $SYNC_INTERVAL_SEC, 15.")
@click.option("--health", metavar="FILE", help="Also write sync health to this file, after every sync.")
@click.option("--metrics", "address", metavar="HOST:PORT", help="With --watch: serve metrics at http://HOST:PORT/metrics.")
@textfile_option
@json_option
def sync(**given: Any) -> int:
    """Compare an account with the broker's snapshot and append what follows: deals, corrections, breaks.

    \b
    Examples:
      ledger sync --gateway tcp://127.0.0.1:5555
      ledger sync --startup --account Broker-Live/70113
      ledger sync --dry-run --json
      ledger sync --watch --interval 15       (a unit file is in deploy/)
      ledger sync --fleet --workers 4         (the accounts of ledger fleet)

    \b
    ledger.toml in the folder of a SQLite journal, or another file with --config (for
    Postgres always), takes the settings that do not change:
      journal = "sqlite:///desk.db"           where nothing else names it
      [gateway]
      url = "tcp://10.0.0.7:5555"             form, timeout_ms, insecure,
      server_key = "keys/gateway.key"         client_key
      [gateways."Broker-Live/70113"]          the same for one of several accounts
      url = "tcp://10.0.0.8:5555"
      [sync]
      interval_sec = 15
      [marks]
      keep_days = 30                          what the account was worth, sync by sync
      [fleet]
      threads = 8                             for the workers of --fleet
      [metrics]
      journal = false                         where ledger metrics serves the journal's
      [derived]
      follow = false                          no tables for reports beside --watch
      [policy]
      magics = [20260101]                     and any other setting of the policy

    \b
    With --watch: SIGTERM and SIGINT end it after what is under way, SIGHUP has the
    settings read anew (the file, not the journal's URL); one that is wrong is reported,
    and the settings before stay in force. An account whose worker fails is restarted,
    the others go on. The state of all: ledger status.

    \b
    Exit codes: 0 SUCCESS, 1 PARTIAL (something is held), 3 DEGRADED or FAILED; of
    several accounts the highest.
    """
    from ledger.cli.reconciling import run_sync

    return run_sync(**given)


@click.command("drift", short_help="Compare with the gateway; change nothing.")
@journal_option
@accounts_option
@gateway_options
@terminal_option
@json_option
def drift(**given: Any) -> int:
    """Compare accounts with the broker's snapshots. Nothing is appended.

    All accounts of the settings are compared at once; one whose gateway gives no usable snapshot does not hide the others.

    \b
    Example:
      ledger drift --gateway tcp://127.0.0.1:5555 --json

    Exit codes: 0 both agree, 1 they do not, 3 there is no usable snapshot; of several accounts the highest.
    """
    from ledger.cli.reconciling import run_drift

    return run_drift(**given)


COMMANDS: Final = {"sync": sync, "drift": drift}
