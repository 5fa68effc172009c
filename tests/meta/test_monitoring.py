"""What ``deploy/`` has for Prometheus, Alertmanager and Grafana is checked by their own programs, and names what we export."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest

from ledger import AccountId, Ledger
from ledger.metrics import families, textfile
from ledger.metrics.of_alerts import AlertMetrics
from ledger.metrics.of_journal import JournalMetrics
from ledger.metrics.of_process import ProcessMetrics
from tools.dev import dashboard
from tools.testkit import prometheus

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
TESTS = (DEPLOY / "rules_test.yml", DEPLOY / "rules_days_test.yml")
#: Fires always, so that there is no moment when it does not.
ALWAYS = {"LedgerWatchdog"}
#: Of Prometheus itself.
FOREIGN = {"up"}


def checked(name: prometheus.Name, *words: str | Path) -> str:
    run = prometheus.run(name, *words)
    assert run.returncode == 0, run.stdout + run.stderr
    return run.stdout


def exported() -> set[str]:
    """Return the names of all series that some part of the ledger exports, by what it writes."""
    ledger = Ledger.open("memory://")
    of_process = ProcessMetrics(accounts=lambda: [AccountId("Broker", 1)])
    collected: list[Any] = [
        *JournalMetrics(ledger, limits=lambda *_: {}, lags=dict).collect(),
        *of_process.collect(),
        *AlertMetrics(tuple).collect(),
        *(family.metric([]) for command in ("verify", "seal", "backup") for family in textfile.FAMILIES[command]),
    ]
    found: set[str] = set()
    for name, kind in re.findall(r"^# TYPE (\S+) (\S+)$", textfile.exposition(collected).decode(), re.MULTILINE):
        found |= {f"{name}_bucket", f"{name}_sum", f"{name}_count"} if kind == "histogram" else {name}
    return found


def rules() -> list[tuple[str, str]]:
    """Return name and expression of each rule, as promtool understands them."""
    text = (DEPLOY / "rules.yml").read_text("utf-8")
    return re.findall(r"- (?:alert|record): (\S+)\n\s+expr: (.*)\n", text)


def test_the_rules_are_rules_and_their_tests_pass():
    assert f"{len(rules())} rules found" in checked("promtool", "check", "rules", DEPLOY / "rules.yml")
    checked("promtool", "test", "rules", *TESTS)


def test_a_test_of_a_rule_can_fail(tmp_path):
    text = (DEPLOY / "rules_test.yml").read_text("utf-8")
    (tmp_path / "rules.yml").write_text((DEPLOY / "rules.yml").read_text("utf-8").replace("> 120", "> 600"), "utf-8")
    (tmp_path / "rules_test.yml").write_text(text, "utf-8")
    run = prometheus.run("promtool", "test", "rules", tmp_path / "rules_test.yml")
    assert run.returncode != 0
    assert "LedgerBreakOpen" in run.stdout + run.stderr


def test_every_alert_is_tested_firing_and_not_firing():
    text = "".join(one.read_text("utf-8") for one in TESTS)
    outcomes: dict[str, set[bool]] = defaultdict(set)
    for name, expected in re.findall(r"alertname: (\w+)(?:, |\n\s+)exp_alerts:(.*)", text):
        outcomes[name].add(expected.strip(" }") != "[]")
    for alert in (name for name, _ in rules() if ":" not in name):
        assert outcomes[alert] == ({True} if alert in ALWAYS else {True, False}), alert


def test_every_alert_has_a_section_in_the_runbook():
    page = (ROOT / "docs" / "how-to" / "runbook.md").read_text("utf-8")
    sections = set(re.findall(r"^### (\w+)$", page, re.MULTILINE))
    alerts = {name for name, _ in rules() if ":" not in name}
    assert sections == alerts
    linked = re.findall(r"runbook: docs/how-to/runbook\.md#(\w+)", (DEPLOY / "rules.yml").read_text("utf-8"))
    assert linked == [name.lower() for name, _ in rules() if ":" not in name]
    for section in page.split("\n### ")[1:]:
        assert all(f"**{part}**" in section for part in ("Means.", "Look.", "Do.")), section.partition("\n")[0]


def test_the_examples_of_configurations_are_some():
    checked("amtool", "check-config", DEPLOY / "alertmanager.yml")
    checked("promtool", "check", "config", DEPLOY / "prometheus.yml")


@pytest.mark.parametrize(
    ("alert", "receiver"),
    [
        ({"alertname": "LedgerBreakOpen", "severity": "page"}, "page"),
        ({"alertname": "LedgerSealOld", "severity": "ticket"}, "desk"),
        ({"alertname": "LedgerWatchdog", "severity": "none"}, "deadman"),
    ],
)
def test_an_alert_reaches_its_receiver(alert, receiver):
    words = [f"{name}={value}" for name, value in alert.items()]
    assert (
        checked("amtool", "config", "routes", "test", f"--config.file={DEPLOY / 'alertmanager.yml'}", *words) == f"{receiver}\n"
    )


def test_the_dashboard_is_the_one_that_the_script_makes_and_its_expressions_are_some(tmp_path):
    stored: dict[str, Any] = json.loads((DEPLOY / "grafana.json").read_text("utf-8"))
    assert stored == dashboard.dashboard(), "run: python3 tools/dev/dashboard.py"
    panels = tmp_path / "panels.yml"
    panels.write_text(json.dumps(dashboard.rules()), "utf-8")
    assert f"{len(stored['panels'])} rules found" in checked("promtool", "check", "rules", panels)


def test_rules_and_dashboard_name_only_metrics_that_are_exported():
    expressions = [expression for _, expression in rules()] + [panel[3] for panel in dashboard.PANELS]
    used = {name for expression in expressions for name in re.findall(r"\bledger_\w+", expression)}
    assert len(used) > 15
    assert used <= exported()
    assert {families.PREFIX + one.name for one in vars(families).values() if isinstance(one, families.Family)} <= {
        *exported(), *(name.removesuffix("_count") for name in exported()),
    }  # fmt: skip
    assert not {name for _, expression in rules() for name in re.findall(r"\bup\b", expression)} - FOREIGN


def test_no_label_names_what_would_never_end_or_nobody_may_see():
    known = {"server", "login", "kind", "end", "state", "status", "limit", "follower", "error", "action", "result", "channel"}
    for one in vars(families).values():
        if isinstance(one, families.Family) and one is not families.BUILD_INFO:
            assert set(one.labels) <= known, one.name
