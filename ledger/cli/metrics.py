"""The command ``metrics``; the metrics that a daemon serves, and those that other commands leave in a file."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from ledger.cli.chosen import chosen
from ledger.cli.options import configuration, journal_option, open_ledger
from ledger.cli.signals import stopping_event
from ledger.cli.streams import complain, print_text

if TYPE_CHECKING:  # prometheus_client belongs to an extra
    from ledger.daemon import Daemon
    from ledger.metrics.of_process import ProcessMetrics
    from ledger.metrics.textfile import TextFile
    from ledger.reconciler import StateReconciler, SyncResult
    from ledger.service import Account, Ledger
    from ledger.values import AccountId

_TEXTFILE_HELP: Final = "Leave metrics in this file (*.prom), for the textfile collector of Prometheus' node exporter."

textfile_option: Final = click.option(
    "--metrics-textfile", "textfile", metavar="FILE", type=click.Path(dir_okay=False, path_type=Path), help=_TEXTFILE_HELP
)


@click.command("metrics", short_help="Show metrics for Prometheus, or serve them.")
@click.option("--listen", metavar="HOST:PORT", help="Serve them at http://HOST:PORT/metrics until stopped.")
@journal_option
def metrics(journal: str | None, listen: str | None) -> None:
    """Print the metrics of all accounts of the journal once, or serve them until stopped.

    They are read from the journal and its tables, so that they outlive the daemon that syncs. A journal is to be scraped
    once: where this command serves it, write journal = false into [metrics] of the daemon's ledger.toml.

    \b
    Examples:
      ledger metrics | promtool check metrics
      ledger metrics --listen 127.0.0.1:9464
    """
    from ledger.metrics.textfile import exposition

    with open_ledger(journal) as ledger:
        of_journal = journal_metrics(ledger)
        text = exposition(of_journal.collect()).decode()  # all accounts are read before anybody may ask
        if listen is None:
            print_text(text)
            return
        from ledger.metrics.server import MetricsServer

        stopping = stopping_event()
        with MetricsServer(listen, [of_journal], log=complain) as server:
            complain(f"metrics are at {server.url}")
            while not stopping.wait(1):
                pass


def journal_metrics(ledger: Ledger, accounts: Callable[[], Sequence[AccountId]] | None = None) -> Any:
    """Return what collects the metrics of a journal, by the settings of the command."""
    from ledger.fleet.worker import FleetSettings
    from ledger.metrics.of_journal import JournalMetrics

    found = configuration()
    return JournalMetrics(
        ledger, accounts=accounts, attempts_max=found.policy.attempts_max, limits=_limit_states(), lags=_lags(ledger),
        late_sec=FleetSettings(**found.fleet).lease_sec,
    )  # fmt: skip


#: The states of ``ledger.monitors`` -> what is exported.
_LIMIT_STATES: Final = {"ok": 0, "near": 1, "breached": 2}
_UNKNOWN: Final = -1
_FOLLOWER: Final = "derived"


def _limit_states() -> Callable[[Account, int], dict[str, int]] | None:
    """Return what finds the states of an account's limits, None where the settings have no monitors."""
    rules = configuration().monitors
    if not rules:
        return None
    from ledger.monitors import account_states

    def found(account: Account, now_us: int) -> dict[str, int]:
        if account.name not in rules:
            return {}
        states = account_states(account, rules[account.name], now_us)
        return {one.limit: _LIMIT_STATES.get(one.state.value, _UNKNOWN) for one in states}

    return found


def _lags(ledger: Ledger) -> Callable[[], dict[str, int]]:
    """Return what finds how many events the derived tables are behind."""
    from ledger.derived import lags

    def found() -> dict[str, int]:
        if not ledger.journal.derived.followers():  # nobody keeps them: that is no lag
            return {}
        return {_FOLLOWER: sum(one.events for one in lags(ledger).values())}

    return found


class DaemonMetrics:
    """What a daemon serves: the metrics of its process, and those of the journal for its accounts unless settings say no.

    Args:
        address: Where.
        ledger: Of the journal.
        log: Called with what prevents an answer.
    """

    def __init__(self, address: str, ledger: Ledger, log: Callable[[str], object]) -> None:
        from ledger.metrics.of_process import ProcessMetrics
        from ledger.metrics.server import MetricsServer

        self._daemon: Daemon | None = None
        self.of_process: ProcessMetrics = ProcessMetrics(accounts=self._accounts, clock_skews=self._clock_skews)
        self.of_process.measure_journal(ledger.journal)
        collectors: list[Any] = [self.of_process]
        if chosen().configuration().journal_metrics:
            collectors.append(journal_metrics(ledger, self._accounts))
        self._server = MetricsServer(address, collectors, log=log)
        self.url = self._server.url

    def close(self) -> None:
        """Stop answering."""
        self._server.close()

    def watch(self, daemon: Daemon) -> None:
        """Serve the accounts of a daemon from now on, instead of those of another."""
        self._daemon = daemon

    def measured(self, reconciler: StateReconciler) -> StateReconciler:
        """Measure the requests of a reconciler to its gateway, and return the reconciler."""
        return self.of_process.measured(reconciler)

    def result(self, daemon: Daemon, result: SyncResult) -> None:
        """Count a sync."""
        by = _reconciler_of(daemon, result.account)
        self.of_process.synced(result, None if by is None else by.took_sec)

    def _accounts(self) -> Sequence[AccountId]:
        return () if self._daemon is None else self._daemon.accounts

    def _clock_skews(self) -> dict[str, float]:
        """Return server -> the largest difference that an account of it saw."""
        found: dict[str, float] = {}
        for one in () if self._daemon is None else self._daemon.reconcilers:
            skew, server = one.clock_skew_sec, one.account.name.server
            if skew is not None and abs(skew) >= abs(found.get(server, 0.0)):
                found[server] = skew
        return found


def _reconciler_of(daemon: Daemon, account: AccountId) -> StateReconciler | None:
    return next((one for one in daemon.reconcilers if one.account.name == account), None)


# ---- files


class NoFile:
    """Takes the metrics of a command that is asked for no file."""

    def write(self, metrics: Iterable[Any]) -> None:
        """Do nothing."""

    def write_figures(self, *figures: float) -> None:
        """Do nothing."""


def text_file(path: Path | None, command: str, ledger: Ledger) -> TextFile | NoFile:
    """Return the file that a command leaves its metrics in.

    Raises:
        BadValue: The collector would not read it, or it holds something else.
    """
    if path is None:
        return NoFile()
    from ledger.metrics.textfile import TextFile

    return TextFile(path, command, journal=ledger.journal.file())


def leave_synced(file: TextFile | NoFile, ledger: Ledger, accounts: Sequence[AccountId]) -> None:
    """Leave the metrics of accounts that were synced once."""
    if not isinstance(file, NoFile):
        file.write(journal_metrics(ledger, lambda: accounts).collect())


COMMANDS: Final = {"metrics": metrics}
