"""The channel ``alertmanager``: what is wrong as alerts of Alertmanager, which routes, groups and silences them.

Alertmanager forgets an alert at its end, and all of them when it restarts. So each is given an end far enough ahead, and is
sent again long before. To send one again is harmless: its labels are what it is known by.
"""

from __future__ import annotations

from typing import Any, Final

from ledger.alert_settings import Alertmanager, Channel
from ledger.alerts.channels.http import request
from ledger.alerts.conditions import Condition
from ledger.alerts.notices import Notice, State
from ledger.clock import SECOND_US, utc_text_us
from ledger.text import json_text, visible

#: So long an alert goes on without being sent again.
_ENDS_US: Final = 24 * 3600 * SECOND_US

#: Kind -> name of the alert and its severity: those that the rules for Prometheus have.
_NAMES: Final = {
    "sync": ("LedgerSyncDegraded", "page"),
    "server": ("LedgerServerDegraded", "page"),
    "disk": ("LedgerDiskFillingUp", "ticket"),
    "journal": ("LedgerVerifyFailed", "page"),
    "verify": ("LedgerVerifyFailed", "page"),
    "verify-old": ("LedgerVerifyOld", "ticket"),
    "test": ("LedgerTest", "none"),
}
_BREAK: Final = ("LedgerBreakOpen", "page")


class AlertmanagerSender:
    """Sends notices as alerts."""

    refresh_sec: float | None = 300.0

    def __init__(self, channel: Channel, settings: Alertmanager) -> None:
        self._secrets = channel.secrets
        self._settings = settings

    def send(self, notice: Notice) -> None:
        """Send a notice. Raises as ``Sender.send``."""
        secret = self._secrets.get("url")
        url = (self._settings.url or "") if secret is None else secret.read()
        body = json_text([alert_json(notice)], is_ascii=True).encode()
        request(
            f"{url.rstrip('/')}/api/v2/alerts", timeout_sec=self._settings.timeout_sec, body=body,
            headers={"Content-Type": "application/json"},
        )  # fmt: skip


def alert_json(notice: Notice) -> dict[str, Any]:
    """Return a notice as an alert. The labels of one condition are always the same: they are what it is known by."""
    one, name = notice.condition, _named(notice.condition)
    labels = {
        "alertname": name[0],
        "severity": name[1],
        "kind": one.kind,
        "key": one.key,
        "source": "ledger alert",
        **({} if one.server is None else {"server": one.server}),
        **({} if one.account is None else {"login": str(one.account.login)}),
    }
    begins_us = min(notice.now_us, notice.now_us if one.since_us is None else one.since_us)
    is_over = notice.state in (State.RESOLVED, State.TEST)
    return {
        "labels": {label: visible(content) for label, content in labels.items()},
        "annotations": {"summary": notice.title, "description": notice.text(), "next": visible(one.command)},
        "startsAt": utc_text_us(begins_us),
        "endsAt": utc_text_us(max(begins_us, notice.now_us if is_over else notice.now_us + _ENDS_US)),
    }


def _named(one: Condition) -> tuple[str, str]:
    if one.kind == "limit":
        return ("LedgerLimitBreached", "page") if one.subject.endswith("breached") else ("LedgerLimitNear", "ticket")
    return _NAMES.get(one.kind, _BREAK)
