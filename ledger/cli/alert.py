"""The command that notifies people of what is wrong: a daemon, one round for a scheduler, or a test of the channels."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Final

import click

from ledger.alerts.alerter import Alerter
from ledger.alerts.delivery import Log
from ledger.alerts.sources import causes_of, limits_of
from ledger.alerts.survey import Survey
from ledger.alerts.trial import send_tests, tried_json
from ledger.cli.options import configuration, configuration_note, journal_option, json_option, open_ledger
from ledger.cli.output import print_json, print_line, print_table, warn
from ledger.cli.signals import stopping_event
from ledger.cli.streams import OutputClosed, complain, library_log
from ledger.clock import utc_text_us
from ledger.errors import BadValue
from ledger.service import Ledger, utc_now_us
from ledger.systemd import SystemdNotifier
from ledger.text import json_text

if TYPE_CHECKING:
    from ledger.alert_settings import AlertSettings

_UNDELIVERED: Final = 3
_FINISH_SEC: Final = 30.0
_ONCE_SEC: Final = 600.0


@click.command("alert", short_help="Notify people of what is wrong: as a daemon, or once.")
@journal_option
@click.option("--once", is_flag=True, help="Look once, send what is due, and end: for a scheduler.")
@click.option("--test", is_flag=True, help="Send a marked test notice through every channel, and report what became of it.")
@click.option("--channel", "channels", multiple=True, metavar="C", help="With --test: only this channel (repeatable).")
@click.option("--metrics", "address", metavar="HOST:PORT", help="As a daemon: serve its metrics at http://HOST:PORT/metrics.")
@json_option
def alert(
    journal: str | None,
    address: str | None,
    once: bool,  # noqa: FBT001
    test: bool,  # noqa: FBT001
    channels: tuple[str, ...],
    as_json: bool,  # noqa: FBT001
) -> int:
    """Follow the journal and notify people: of breaks, of accounts that are not synced, of limits, the disk and verify.

    Each break is one notice: after a grace period, then to further channels as it gets older, then that it is over, to
    every channel that got it. What was sent is in the journal's database: a restart repeats nothing.

    \b
    Examples:
      ledger alert --test                     try the channels
      ledger alert                            as a daemon (a unit file is in deploy/)
      ledger alert --once                     every minute by cron

    \b
    ledger.toml in the folder of a SQLite journal, or another file with --config:
      [alerts]
      grace_sec = 60                          what is over sooner is not reported
      escalate_min = [15, 60, 240]            ages at which it goes on to the next stage
      routes = [["desk"], ["desk", "mail"], ["phone"]]      channels by stage
      accounts = ["Broker-Live/70113"]        only these; all without it
      [alerts.channels.desk]
      type = "webhook"                        or smtp, command, alertmanager, apprise
      url_file = "/run/secrets/desk"          or url_env = "DESK_URL"
      secret_file = "/run/secrets/desk-hmac"  signs what is sent (HMAC-SHA256)
      [alerts.deadman]                        a sign of life while all is verified
      url_file = "/run/secrets/ping"
      every_sec = 60

    \b
    Exit codes: 0 all that was due was delivered, 3 something was not, or the journal
    cannot be read.
    """
    if (once and test) or (channels and not test):
        raise click.UsageError("--once and --test exclude one another, and --channel goes with --test")
    if address is not None and (once or test):
        raise click.UsageError("--metrics goes with neither --once nor --test: only a daemon is there to be scraped")
    if as_json and not (once or test):
        raise click.UsageError("--json goes with --once or --test: the daemon writes JSON lines anyway")
    settings = configuration().alerts
    if not settings.channels and (test or settings.deadman is None):
        raise BadValue(
            "expected a channel in the settings, found none: write a table [alerts.channels.NAME] into ledger.toml beside the "
            "journal, or into the file of --config; ledger alert --help has an example"
        )
    if test:
        return _test(settings, channels, as_json=as_json)
    with open_ledger(journal) as ledger:
        if once:
            return _once(ledger, settings, as_json=as_json)
        return _watch(ledger, settings, address)


# ---- a test of the channels


def _test(settings: AlertSettings, names: tuple[str, ...], *, as_json: bool) -> int:
    unknown = [name for name in names if name not in settings.channels]
    if unknown:
        raise BadValue(f"there is no channel {unknown[0]!r}; there are: {', '.join(settings.channels)}")
    found = send_tests([settings.channels[name] for name in dict.fromkeys(names or settings.channels)], utc_now_us())
    if as_json:
        print_json([tried_json(one) for one in found])
    else:
        print_table(
            "test notices",
            ["channel", "type", ">took", "result"],
            [[one.channel.name, one.channel.type, f"{one.took_sec:.1f} s", one.error or "delivered"] for one in found],
            empty="none",
        )
    return _UNDELIVERED if any(one.error is not None for one in found) else 0


# ---- one round


class _Results(Log):
    """What one round has sent, and what it could not."""

    def __init__(self) -> None:
        self.lines: list[dict[str, Any]] = []

    def __call__(self, level: str, event: str, **fields: object) -> None:
        self.lines.append({"level": level, "event": event, **fields})

    def of(self, event: str) -> list[dict[str, Any]]:
        return [one for one in self.lines if one["event"] == event]


def _once(ledger: Ledger, settings: AlertSettings, *, as_json: bool) -> int:
    log = _Results()
    alerter = _alerter(ledger, settings, log)
    made = alerter.round()
    is_finished = alerter.wait(_ONCE_SEC)
    alerter.close(0 if is_finished else _FINISH_SEC)
    sent, failed = log.of("sent"), [one for one in log.lines if one["event"] != "sent"]
    if as_json:
        wanted = ("channel", "state", "stage", "title", "key", "why")
        sent, failed = ([{name: one[name] for name in wanted if name in one} for one in each] for each in (sent, failed))
        print_json({"conditions": len(made.look.conditions), "due": len(made.dues), "sent": sent, "failed": failed})
    else:
        for one in sent:
            print_line(f"{one['channel']}: {one['state'].upper()} {one['title']}")
        for one in failed:
            warn(f"{one.get('channel', 'dead-man switch')}: {one['event']}: {one['why']}")
        if not sent and not failed:
            print_line(f"nothing to send; what is wrong ({len(made.look.conditions)}) is reported, or within its grace period")
    if not is_finished:
        complain(f"a channel has not finished within {_ONCE_SEC:.0f} s")
    return _UNDELIVERED if failed or not is_finished else 0


# ---- the daemon


class _Lines(Log):
    """Lines for programs on standard error: one JSON object each."""

    def __call__(self, level: str, event: str, **fields: object) -> None:
        line = {"ts": utc_text_us(utc_now_us()), "level": level, "event": event} | fields
        with suppress(OutputClosed):  # nobody reads it: that is no reason to stop
            sys.stderr.write(json_text(line, is_ascii=True) + "\n")
            sys.stderr.flush()

    def record(self, record: logging.LogRecord) -> None:
        """Write what the library logs."""
        self(record.levelname.lower(), "library", logger=record.name, why=record.getMessage())


def _watch(ledger: Ledger, settings: AlertSettings, address: str | None) -> int:
    """Notify until a signal comes; the notices that are under way then are finished."""
    stopping, log, notifier = stopping_event(), _Lines(), SystemdNotifier()
    if (handler := library_log()) is not None:
        handler.emit = log.record  # type: ignore[method-assign]
    for channel in settings.channels.values():
        for secret in channel.secrets.values():
            try:
                secret.read()
            except BadValue as error:  # it may be there later
                log("error", "no secret", channel=channel.name, why=str(error))
    alerter = _alerter(ledger, settings, log)
    log("info", "watching", channels=list(settings.channels), settings=configuration_note() or "no file")
    is_ready = False

    def on_pass() -> None:
        nonlocal is_ready
        if not is_ready:
            is_ready = True
            notifier.send("READY=1")
        notifier.alive()

    with _served(address, alerter, log):
        alerter.run(stopping, on_pass=on_pass)
    notifier.send("STOPPING=1")
    alerter.close(_FINISH_SEC)
    log("info", "stopped")
    return 0


@contextmanager
def _served(address: str | None, alerter: Alerter, log: Log) -> Iterator[None]:
    """Serve what became of notices, where an address is given."""
    if address is None:
        yield
        return
    from ledger.metrics.of_alerts import AlertMetrics
    from ledger.metrics.server import MetricsServer

    collectors = [AlertMetrics(alerter.deliveries.values)]
    with MetricsServer(address, collectors, log=lambda why: log("warning", "metrics", why=why)) as served:
        log("info", "metrics", at=served.url)
        yield


def _alerter(ledger: Ledger, settings: AlertSettings, log: Log) -> Alerter:
    found = configuration()
    survey = Survey(
        ledger, accounts=settings.accounts, attempts_max=found.policy.attempts_max, limits=limits_of(found), causes=causes_of,
        upkeep=found.upkeep,
    )  # fmt: skip
    return Alerter(ledger, survey, settings, log=log)


COMMANDS: Final = {"alert": alert}
