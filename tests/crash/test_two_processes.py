"""Several processes on one journal: nothing is lost, nothing lands twice, and one decision wins."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter

import pytest

from ledger import AccountId, Ledger
from tests.crash.conftest import ROOT
from tests.support.journals import ACCOUNT, Clock, Intruder, digest_of, empty_postgres_url, open_journal, opened

PROCESSES = 4
EACH = 60

WORK = """
import json
process, each, mode = int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
journal = open_journal(url, Clock())
account = AccountId("Broker-Live", 70113 if mode != "apart" else 80000 + process)
if mode in ("apart", "from nothing"):
    names = [opened(account)]
else:
    names = []
report("ready")
read_line()
outcomes = []
for n in range(each):
    if mode in ("same deals", "from nothing"):
        deal = 1 + n
    else:
        deal = 1 + process * each + n
    appended = journal.append(account, [*names, fill(deal, n / 1000), fill(deal, n / 1000)])
    outcomes += [outcome.value for outcome in appended.outcomes[len(names):]]
report(json.dumps(outcomes))
journal.close()
"""


def all_at_once(start, url, mode):
    """Let the processes begin at the same moment; return what became of what each recorded."""
    children = [start(WORK, url, str(process), str(EACH), mode) for process in range(PROCESSES)]
    for child in children:
        assert child.read_line() == "ready"
    for child in children:
        child.send("go")
    outcomes = [json.loads(child.read_line()) for child in children]
    for child in children:
        child.end()
    return outcomes


def deals(url, account=ACCOUNT):
    journal = open_journal(url, Clock())
    rows = list(journal.rows(account))
    journal.close()
    assert [row.version for row in rows] == list(range(1, len(rows) + 1))
    with Ledger.open(url) as ledger:
        assert ledger.verify().problems == ()
        assert ledger.account(account).portfolio.totals.deals == len(rows) - 1
    return [row.deal for row in rows[1:]]


@pytest.fixture
def url(url):
    with Ledger.create(url, now_us=Clock()) as ledger:
        ledger.journal.append(ACCOUNT, [opened()])
    return url


def test_deals_of_several_processes_all_land_in_one_account(url, start):
    outcomes = all_at_once(start, url, "own deals")
    assert outcomes == [["appended", "duplicate"] * EACH] * PROCESSES
    assert sorted(deals(url)) == list(range(1, 1 + PROCESSES * EACH))


def test_processes_with_accounts_of_their_own_do_not_meet(url, start):
    all_at_once(start, url, "apart")
    for process in range(PROCESSES):
        found = deals(url, AccountId("Broker-Live", 80000 + process))
        assert found == list(range(1 + process * EACH, 1 + (process + 1) * EACH))


def test_the_same_deals_recorded_by_all_land_once(url, start):
    outcomes = all_at_once(start, url, "same deals")
    assert sorted(deals(url)) == list(range(1, 1 + EACH))
    counted = Counter(outcome for one in outcomes for outcome in one)
    assert counted == {"appended": EACH, "duplicate": 2 * EACH * PROCESSES - EACH}


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_an_account_opened_by_all_at_once_is_opened_once(kind, tmp_path, start):
    url = f"sqlite:///{tmp_path}/new.db" if kind == "sqlite" else empty_postgres_url()
    Ledger.create(url).close()
    all_at_once(start, url, "from nothing")
    assert sorted(deals(url)) == list(range(1, 1 + EACH))


PROVE = """
journal = open_journal(url, Clock())
answers = [bytes([n]) * 100_000 for n in range(int(sys.argv[3]))]
report("ready")
read_line()
for n, raw in enumerate(answers):
    # The same answers, and every process rests another event on them.
    pair = [(raw, 1 + n), (answers[-1 - n], 1000 + n)]
    ghosts = [ghost(1 + int(sys.argv[2]), n, evidence=digest_of(one), caused_by=why) for one, why in pair]
    journal.append(ACCOUNT, ghosts, evidence=answers)
report("done")
journal.close()
"""


def test_an_answer_that_all_rest_on_is_stored_once(url, start):
    children = [start(PROVE, url, str(process), str(EACH)) for process in range(PROCESSES)]
    for child in children:
        assert child.read_line() == "ready"
    for child in children:
        child.send("go")
    for child in children:
        assert child.read_line() == "done"
        child.end()
    stored = Intruder(url)("SELECT digest FROM evidence ORDER BY digest")
    assert stored == sorted((digest_of(bytes([n]) * 100_000),) for n in range(EACH))
    with Ledger.open(url) as ledger:
        assert ledger.verify().problems == ()


DECIDE = """
process = int(sys.argv[2])
journal = open_journal(url, Clock())
report("ready")
while (version := read_line()) != "end":
    deal = int(version) * 100 + process
    try:
        journal.append(ACCOUNT, [fill(deal, int(version))], expected_version=int(version))
        report("won")
    except VersionConflict as conflict:
        assert conflict.found == int(version) + 1, conflict
        report("lost")
journal.close()
"""


def test_of_several_decisions_on_one_version_exactly_one_wins(url, start):
    children = [start(DECIDE, url, str(process)) for process in range(PROCESSES)]
    for child in children:
        assert child.read_line() == "ready"
    for version in range(1, 31):
        for child in children:
            child.send(version)
        output = [child.read_line() for child in children]
        assert sorted(output) == ["lost"] * (PROCESSES - 1) + ["won"]
        assert deals(url)[-1] == version * 100 + output.index("won")
    for child in children:
        child.send("end")
        child.end()


INIT = """
from ledger.cli import main
report("ready")
read_line()
main(["init", "--journal", url])
"""


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
@pytest.mark.parametrize("attempt", range(4))
def test_several_inits_at_once_make_one_journal(attempt, kind, tmp_path, start):
    url = f"sqlite:///{tmp_path}/new.db" if kind == "sqlite" else empty_postgres_url()
    children = [start(INIT, url) for _ in range(PROCESSES)]
    for child in children:
        assert child.read_line() == "ready"
    for child in children:
        child.send("go")
    for child in children:
        assert child.read_line().startswith("journal ")
        child.end()
    with Ledger.open(url) as ledger:
        assert ledger.verify().ok


def test_init_is_harmless_where_there_is_a_journal(url):
    for _ in range(2):
        run = subprocess.run(
            [sys.executable, "-m", "ledger", "init"],
            env=os.environ | {"LEDGER_JOURNAL": url},
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        assert (run.returncode, run.stderr) == (0, "")
        assert "is ready; it holds 1 account" in run.stdout
    assert deals(url) == []
