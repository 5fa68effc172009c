"""The families of metrics: their names, what they mean, their labels. The only place that names any of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from attrs import frozen
from prometheus_client import Metric
from prometheus_client.samples import Sample

from ledger.events import BreakEnd, BreakKind
from ledger.reconciler import SyncStatus
from ledger.text import visible

PREFIX: Final = "ledger_"
_TOTAL: Final = "_total"
_OF_ACCOUNT: Final = ("server", "login")


@frozen
class Family:
    """A family of gauges, or of a counter where its name ends in ``_total``."""

    name: str
    help: str
    labels: tuple[str, ...] = ()

    def metric(self, samples: Iterable[tuple[Sequence[str], float]]) -> Metric:
        """Return the family with its samples: the values of the labels, in their order, and the figure."""
        kind = "counter" if self.name.endswith(_TOTAL) else "gauge"
        metric = Metric(PREFIX + self.name.removesuffix(_TOTAL), self.help, kind)
        name, labels = PREFIX + self.name, self.labels
        metric.samples = [
            Sample(name, dict(zip(labels, map(visible, values), strict=True)), figure) for values, figure in samples
        ]
        return metric


# ---- of the journal

BUILD_INFO: Final = Family("build_info", "Versions of the program, the schema and the fold.", ("version", "schema", "fold"))
ACCOUNT_VERSION: Final = Family("account_version", "Version of the account's latest event.", _OF_ACCOUNT)
POSITIONS_OPEN: Final = Family("positions_open", "Open positions.", _OF_ACCOUNT)
UNEXPLAINED: Final = Family("unexplained", "Volumes and results that no deal explains.", _OF_ACCOUNT)
SAFE_TO_TRADE: Final = Family("safe_to_trade", "1 if it is safe to trade.", _OF_ACCOUNT)
SYNC_DEGRADED: Final = Family("sync_degraded", "1 while the gateway gives no usable snapshot.", _OF_ACCOUNT)
LAST_SUCCESS: Final = Family(
    "sync_last_success_timestamp_seconds", "When the account was last verified; missing if it never was.", _OF_ACCOUNT
)
LAST_ATTEMPT: Final = Family(
    "sync_last_attempt_timestamp_seconds", "When a sync was last attempted, successful or not.", _OF_ACCOUNT
)
ACCOUNTS: Final = Family("accounts", "Accounts by how their last sync ended; never: there was none.", ("server", "state"))
ACCOUNTS_UNSAFE: Final = Family("accounts_unsafe", "Accounts that are not safe to trade.", ("server",))
BREAKS_OPEN: Final = Family("breaks_open", "Open breaks, by kind, as long as there are any.", (*_OF_ACCOUNT, "kind"))
BREAKS_OLDEST: Final = Family(
    "breaks_oldest_timestamp_seconds", "When the oldest open break of the kind was opened.", (*_OF_ACCOUNT, "kind")
)
BREAKS_ESCALATED: Final = Family("breaks_escalated", "Open breaks that are left to people.", _OF_ACCOUNT)
BREAKS_OPENED: Final = Family("breaks_opened_total", "Breaks opened; one that is seen again is not.", ("server", "kind"))
BREAKS_CLOSED: Final = Family("breaks_closed_total", "Breaks closed, by how they ended.", ("server", "kind", "end"))
CORRECTIONS: Final = Family("corrections_total", "Corrections appended, by rules and by people.", ("server", "kind"))
EVENTS_APPENDED: Final = Family("events_appended_total", "Events in the journal.", ("server", "kind"))
LIMIT_STATE: Final = Family("limit_state", "Monitored limits: 0 ok, 1 near, 2 breached, -1 unknown.", (*_OF_ACCOUNT, "limit"))
APPROVALS_PENDING: Final = Family("approvals_pending", "Corrections that wait for a second person's approval.", ("server",))
APPROVALS_OLDEST: Final = Family(
    "approvals_oldest_pending_timestamp_seconds", "When the one that waits longest was proposed; missing if none waits.",
    ("server",),
)  # fmt: skip
FOLLOWER_LAG: Final = Family("follower_lag_events", "Events that a derived table is behind the journal.", ("follower",))
FLEET_ACCOUNTS: Final = Family(
    "fleet_accounts", "Accounts that workers sync: waiting for their time, due, held by a worker, stopped.", ("state",)
)
FLEET_LATE: Final = Family("fleet_accounts_late", "Accounts that have been due for longer than a lease.")
FLEET_GATEWAYS: Final = Family("fleet_gateways", "Gateways of those accounts, by whether they answer.", ("state",))
FLEET_LOSSES: Final = Family("fleet_lease_losses_total", "Leases that lapsed and went to another worker.")
FLEET_OLDEST: Final = Family(
    "fleet_oldest_due_timestamp_seconds", "When the account was due that waits longest; missing if none waits."
)
JOURNAL_SIZE: Final = Family("journal_size_bytes", "Space that the journal takes.")
JOURNAL_FREE: Final = Family("journal_free_bytes", "Free space where a SQLite journal is stored.")

OF_JOURNAL: Final = (
    BUILD_INFO, ACCOUNT_VERSION, POSITIONS_OPEN, UNEXPLAINED, SAFE_TO_TRADE, SYNC_DEGRADED, LAST_SUCCESS, LAST_ATTEMPT,
    ACCOUNTS, ACCOUNTS_UNSAFE, BREAKS_OPEN, BREAKS_OLDEST, BREAKS_ESCALATED, BREAKS_OPENED, BREAKS_CLOSED, CORRECTIONS,
    EVENTS_APPENDED, LIMIT_STATE, APPROVALS_PENDING, APPROVALS_OLDEST, FOLLOWER_LAG, FLEET_ACCOUNTS,
    FLEET_LATE, FLEET_GATEWAYS, FLEET_LOSSES, FLEET_OLDEST, JOURNAL_SIZE, JOURNAL_FREE,
)  # fmt: skip

# ---- of a process

SYNCS: Final = Family("syncs_total", "Syncs, by how they ended.", (*_OF_ACCOUNT, "status"))
DEAL_CONFLICTS: Final = Family("deal_conflicts_total", "Deals that were reported again with other content.", ("server",))
CLOCK_SKEW: Final = Family(
    "gateway_clock_skew_seconds", "The server's clock, read by the account's rule, less the host's clock.", ("server",)
)
APPEND_DURATION: Final = Family("append_duration_seconds", "Duration of an append, commit included.", ("server",))
SYNC_DURATION: Final = Family("sync_duration_seconds", "Duration of a sync.", ("server",))
APPEND_ERRORS: Final = Family("journal_append_errors_total", "Appends that failed.", ("error",))
REQUEST_DURATION: Final = Family(
    "gateway_request_duration_seconds", "Duration of a request to a gateway, its answer included.", ("server", "action")
)
REQUESTS: Final = Family("gateway_requests_total", "Requests to gateways, by result.", ("server", "action", "result"))

# ---- of commands that run once

VERIFY_PROBLEMS: Final = Family("verify_problems", "Problems that the last verification found.")
VERIFY_LAST: Final = Family("verify_last_timestamp_seconds", "When the last verification ended.")
SEAL_LAST: Final = Family("seal_last_timestamp_seconds", "When the last seal was made.")
BACKUP_LAST: Final = Family("backup_last_success_timestamp_seconds", "When the last backup was made and verified.")

# ---- of the alerter

NOTICES: Final = Family("alert_notices_total", "Notices, by channel and result.", ("channel", "result"))
LAST_DELIVERY: Final = Family("alert_last_delivery_timestamp_seconds", "When a channel last accepted a notice.", ("channel",))

# ---- closed sets of label values

STATES: Final = (*(one.value.lower() for one in SyncStatus), "never")
FLEET_STATES: Final = ("waiting", "due", "held", "stopped")
GATEWAY_STATES: Final = ("answers", "failing", "backing_off")
STATUSES: Final = tuple(one.value for one in SyncStatus)
BREAK_KINDS: Final = tuple(one.value for one in BreakKind)
BREAK_ENDS: Final = tuple(one.value for one in BreakEnd)
CORRECTION_KINDS: Final = ("PositionRecovered", "GhostClosed", "DriftCorrected", "PositionReticketed", "Adjusted")
#: Upper bounds of the histograms' buckets, in seconds.
BUCKETS: Final = (0.001, 0.005, 0.025, 0.1, 0.5, 2.5, 10.0)


def zeros(*sets: Iterable[str]) -> dict[tuple[str, ...], float]:
    """Return 0 for each combination of label values: a counter that began at 1 would hide its first event from ``increase``."""
    found: list[tuple[str, ...]] = [()]
    for one in sets:
        found = [(*before, value) for before in found for value in one]
    return dict.fromkeys(found, 0.0)


def counted(family: Family, figures: Mapping[tuple[str, ...], float], *sets: Iterable[str]) -> Metric:
    """Return a family of figures with 0 for what is not counted of the closed sets."""
    return family.metric((zeros(*sets) | dict(figures)).items())
