"""This script makes ``deploy/grafana.json``, the dashboard, so that its expressions can be checked like code.

python3 tools/dev/dashboard.py            # writes it
python3 tools/dev/dashboard.py --rules    # prints its expressions as recording rules, for promtool check rules
"""

import json
import sys
from pathlib import Path
from typing import Any, Final

TARGET: Final = Path(__file__).resolve().parents[2] / "deploy" / "grafana.json"
_SERVER: Final = 'server=~"$server"'
#: What Grafana puts in -> what is put in for a check.
_VARIABLES: Final = {"$__rate_interval": "1m", "$server": ".*"}


def _p99(family: str, by: str) -> str:
    rate = f"rate(ledger_{family}_duration_seconds_bucket{{{_SERVER}}}[$__rate_interval])"
    return f"histogram_quantile(0.99, sum by (le, {by}) ({rate}))"


#: Title, kind of panel, unit, expression, legend. What has no series while all is well shows 0, not "no data".
PANELS: Final = (
    ("Accounts not safe to trade", "stat", "none", f"sum(ledger_accounts_unsafe{{{_SERVER}}})", ""),
    ("Degraded accounts", "stat", "none", f'sum(ledger_accounts{{{_SERVER},state="degraded"}})', ""),
    (
        "Oldest open break", "stat", "s",
        f"max(time() - ledger_breaks_oldest_timestamp_seconds{{{_SERVER}}}) or vector(0)", "",
    ),
    ("Open breaks by kind", "timeseries", "none", f"sum by (kind) (ledger_breaks_open{{{_SERVER}}}) or vector(0)", "{{kind}}"),
    (
        "Age of the last verified sync, ten oldest", "bargauge", "s",
        f"topk(10, time() - ledger_sync_last_success_timestamp_seconds{{{_SERVER}}})", "{{server}}/{{login}}",
    ),
    ("Limits near or breached", "stat", "none", f"count(ledger_limit_state{{{_SERVER}}} >= 1) or vector(0)", ""),
    (
        "Longest waiting approval", "stat", "s",
        f"max(time() - ledger_approvals_oldest_pending_timestamp_seconds{{{_SERVER}}}) or vector(0)", "",
    ),
    (
        "Syncs per second by status", "timeseries", "ops",
        f"sum by (status) (rate(ledger_syncs_total{{{_SERVER}}}[$__rate_interval]))", "{{status}}",
    ),
    ("Sync duration, p99", "timeseries", "s", _p99("sync", "server"), "{{server}}"),
    ("Append duration, p99", "timeseries", "s", _p99("append", "server"), "{{server}}"),
    (
        "Gateway answers by result", "timeseries", "ops",
        f"sum by (result) (rate(ledger_gateway_requests_total{{{_SERVER}}}[$__rate_interval]))", "{{result}}",
    ),
    ("Gateway answers, p99", "timeseries", "s", _p99("gateway_request", "action"), "{{action}}"),
    ("Server clock ahead of ours", "timeseries", "s", f"ledger_gateway_clock_skew_seconds{{{_SERVER}}}", "{{server}}"),
    (
        "Events per second by kind", "timeseries", "ops",
        f"sum by (kind) (rate(ledger_events_appended_total{{{_SERVER}}}[$__rate_interval])) > 0", "{{kind}}",
    ),
    (
        "Corrections per hour by kind", "timeseries", "none",
        f"sum by (kind) (increase(ledger_corrections_total{{{_SERVER}}}[1h]))", "{{kind}}",
    ),
    (
        "Breaks per hour by kind", "timeseries", "none",
        f"sum by (kind) (increase(ledger_breaks_opened_total{{{_SERVER}}}[1h]))", "{{kind}}",
    ),
    ("Accounts of the fleet by state", "timeseries", "none", "ledger_fleet_accounts", "{{state}}"),
    (
        "Longest wait of an account that is due", "stat", "s",
        "max(time() - ledger_fleet_oldest_due_timestamp_seconds) or vector(0)", "",
    ),
    (
        "Gateways of the fleet that do not answer", "stat", "none",
        'sum(ledger_fleet_gateways{state!="answers"}) or vector(0)', "",
    ),
    ("Leases lost per hour", "timeseries", "none", "increase(ledger_fleet_lease_losses_total[1h])", ""),
    ("Free disk of the journal", "timeseries", "bytes", "ledger_journal_free_bytes", "free"),
    ("Age of the last seal", "stat", "s", "time() - ledger_seal_last_timestamp_seconds", ""),
    ("Age of the last verified backup", "stat", "s", "time() - ledger_backup_last_success_timestamp_seconds", ""),
)  # fmt: skip


def main() -> None:
    """Write the dashboard, or print its expressions."""
    if "--rules" in sys.argv[1:]:
        print(json.dumps(rules(), indent=1))
        return
    TARGET.write_text(text(), encoding="utf-8")
    print(f"written: {TARGET}")


def text() -> str:
    """Return what the file holds."""
    return json.dumps(dashboard(), indent=1) + "\n"


def dashboard() -> dict[str, Any]:
    """Return the dashboard as Grafana's JSON model."""
    source = {"type": "prometheus", "uid": "${source}"}
    variables = [
        {"name": "source", "label": "Prometheus", "type": "datasource", "query": "prometheus"},
        {
            "name": "server", "label": "Server", "type": "query", "datasource": source, "includeAll": True, "multi": True,
            "allValue": ".*", "query": "label_values(ledger_accounts, server)", "refresh": 2,
        },
    ]  # fmt: skip
    return {
        "title": "ledger",
        "uid": "ledger",
        "schemaVersion": 39,
        "timezone": "utc",
        "refresh": "15s",
        "time": {"from": "now-6h", "to": "now"},
        "tags": ["ledger"],
        "templating": {"list": variables},
        "panels": [
            {
                "id": number + 1, "title": title, "type": kind, "datasource": source,
                "gridPos": {"x": 8 * (number % 3), "y": 7 * (number // 3), "w": 8, "h": 7},
                "fieldConfig": {"defaults": {"unit": unit}, "overrides": []},
                "targets": [{"refId": "A", "datasource": source, "expr": expression, "legendFormat": legend}],
            }
            for number, (title, kind, unit, expression, legend) in enumerate(PANELS)
        ],
    }  # fmt: skip


def rules() -> dict[str, Any]:
    """Return the expressions as recording rules, with Grafana's variables filled in. JSON is YAML too."""
    found = []
    for number, (_, _, _, expression, _) in enumerate(PANELS):
        for name, value in _VARIABLES.items():
            expression = expression.replace(name, value)  # noqa: PLW2901  # one after another
        found.append({"record": f"panel:{number}", "expr": expression})
    return {"groups": [{"name": "dashboard", "rules": found}]}


if __name__ == "__main__":
    main()
