"""Four writers, three followers, kills at random moments: streams without gaps, everything once, everybody saw it in order."""

from __future__ import annotations

import random
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from ledger import JournalBusy, Ledger
from ledger.journal.sql.words import account_key
from tests.support import writers
from tests.support.journals import ACCOUNT, DURABLE, OTHER, Clock, Intruder, bare_postgres, fill, new_url, open_journal, opened

ROOT = Path(__file__).resolve().parents[2]
WRITERS, ACTIONS = 4, 15
GIVE_UP_SEC = 50.0  # below the sleep of the followers that have to be woken: who was not is found out


class Desk:
    """The processes around one journal, and what each noted down."""

    def __init__(self, url: str, folder: Path) -> None:
        self.url = url
        self.folder = folder
        self.commands = {f"writer-{n}": ["write", f"writer-{n}", str(n), str(ACTIONS)] for n in range(1, WRITERS + 1)}
        first = str(writers.ACCOUNTS[0])
        self.commands["woken"] = ["follow", "woken", "all", "3600", "woken"]
        self.commands["one"] = ["follow", "one", first, "3600", "woken"]
        self.commands["blind"] = ["follow", "blind", "all", "0.05", "blind"]
        self.running: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, name: str) -> None:
        role, notes, *rest = self.commands[name]
        program = [sys.executable, "-m", "tests.support.writers", role, self.url, str(self.folder / notes), *rest]
        self.running[name] = subprocess.Popen(program, cwd=ROOT)

    def kill(self, name: str) -> None:
        self.running[name].kill()
        self.running[name].wait()

    def notes(self, name: str) -> list[str]:
        path = self.folder / name
        text = path.read_text(encoding="utf-8") if path.exists() else ""
        return text[: text.rfind("\n") + 1].splitlines()

    def written(self) -> int:
        return sum(len(self.notes(name)) for name in self.commands if name.startswith("writer"))


def until(condition, what):
    """Wait for a condition; hanging is a failure."""
    give_up = time.monotonic() + GIVE_UP_SEC
    while not condition():
        assert time.monotonic() < give_up, what
        time.sleep(0.005)


@pytest.mark.parametrize("kind", DURABLE)
@settings(
    max_examples=3,
    deadline=None,
    phases=[Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(seed=st.integers(0, 10**6))
def test_writers_followers_and_kills_lose_and_double_nothing(kind, tmp_path_factory, seed):
    folder = tmp_path_factory.mktemp("many")
    url = new_url(kind, folder)
    with Ledger.create(url) as ledger:
        for account in writers.ACCOUNTS:
            ledger.account(account).open(currency="USD", mode="hedging", time_msc=1_767_607_200_000)
    desk = Desk(url, folder)
    chance = random.Random(seed)
    try:
        for name in desk.commands:
            desk.start(name)
        for _ in range(6):
            target = min(desk.written() + chance.randint(1, 8), WRITERS * ACTIONS)
            until(lambda target=target: desk.written() >= target, "no writer goes on")
            name = chance.choice(list(desk.commands))
            desk.kill(name)
            desk.start(name)
        for name, process in desk.running.items():
            if name.startswith("writer"):
                assert process.wait(GIVE_UP_SEC) == 0
        check_streams(desk)
        check_followers(desk)
    finally:
        for name in desk.running:
            desk.kill(name)


def check_streams(desk):
    """By a bare driver: no gaps, recorded times that rise, everything acknowledged there once. And verify agrees."""
    ask = Intruder(desk.url)
    acknowledged: dict[str, set[int]] = {str(name): set() for name in writers.ACCOUNTS}
    for name in desk.commands:
        for line in desk.notes(name) if name.startswith("writer") else ():
            account, *deals = line.split(" ")
            acknowledged[account].update(map(int, deals))
    for name in writers.ACCOUNTS:
        rows = ask("SELECT version, deal, recorded_us FROM events WHERE account_id = ? ORDER BY version", account_key(name))
        assert [version for version, _, _ in rows] == list(range(1, len(rows) + 1))
        recorded = [us for _, _, us in rows]
        assert recorded == sorted(set(recorded))
        deals = Counter(deal for _, deal, _ in rows if deal is not None)
        assert max(deals.values()) == 1
        assert acknowledged[str(name)] <= deals.keys()
        for own in (deal for deal in deals if deal > 1000 and deal % 10):
            assert {own // 10 * 10 + step for step in range(5)} <= deals.keys()  # a batch is whole
    with Ledger.open(desk.url) as ledger:
        assert ledger.verify().ok


def check_followers(desk):
    with Ledger.open(desk.url) as ledger:
        streams = {
            str(account.name): [f"{account.name} {event.version} {event.head}" for event in account.events()]
            for account in ledger.accounts()
        }
    everything = sum(map(len, streams.values()))
    first = str(writers.ACCOUNTS[0])
    for name, count in (("woken", everything), ("blind", everything), ("one", len(streams[first]))):
        until(lambda name=name, count=count: len(desk.notes(name)) >= count, f"{name} does not see the end")
        seen = desk.notes(name)
        for account, lines in streams.items():
            mine = [line for line in seen if line.startswith(f"{account} ")]
            assert mine == (lines if name != "one" or account == first else [])


# ------------------------------------------------------------------------------------------------------------- waiting


def test_small_appends_get_in_between_the_batches_of_an_import(tmp_path):
    url = new_url("sqlite", tmp_path)
    engine, bulk = (open_journal(url, Clock(step_us=1)) for _ in range(2))
    for name in (ACCOUNT, OTHER):
        engine.append(name, [opened(name)])
    enough, done = threading.Event(), threading.Event()

    def import_all():
        for batch in range(500):  # an engine that had to wait for all of them would be noticed
            bulk.append(OTHER, [fill(batch * 300 + n, n) for n in range(1, 301)])
            if enough.is_set():
                break
        done.set()

    importing = threading.Thread(target=import_all)
    importing.start()
    known_deals = between = 0
    while not done.is_set():
        known_deals += 1
        before = len(list(engine.heads()))
        engine.append(ACCOUNT, [fill(known_deals, known_deals)])
        between += engine.heads()[OTHER].version > 1 and before == 2 and not done.is_set()
        if between > 5:  # batches had begun, and not all were there
            enough.set()
    importing.join()
    assert enough.is_set()
    assert sum(row.deal is not None and row.kind == "FillRecorded" for row in engine.rows(ACCOUNT)) == known_deals
    for journal in (engine, bulk):
        journal.close()


def test_when_the_waiting_is_over_it_states_what_to_do(tmp_path):
    url = new_url("sqlite", tmp_path)
    journal = open_journal(url, Clock(), busy_seconds=0.2)
    journal.append(ACCOUNT, [opened()])
    other = open_journal(url, Clock())
    with (
        other.engine.alchemy.connect().execution_options(write=True) as connection,  # type: ignore[attr-defined]
        connection.begin(),
        pytest.raises(JournalBusy, match="writing to the journal for too long: try again"),
    ):
        journal.append(ACCOUNT, [fill(1, 1)])
    journal.append(ACCOUNT, [fill(1, 1)])
    for one in (journal, other):
        one.close()


def test_accounts_do_not_wait_for_one_another_on_postgres():
    url = new_url("postgres", Path())
    journal = open_journal(url, Clock(), busy_seconds=0.3)
    for name in (ACCOUNT, OTHER):
        journal.append(name, [opened(name)])
    with bare_postgres(url) as holder:
        holder.autocommit = False
        holder.execute("SELECT * FROM heads WHERE account_id = %s FOR UPDATE", [account_key(ACCOUNT)])
        journal.append(OTHER, [fill(1, 1)])
        with pytest.raises(JournalBusy, match="writing to the account for too long"):
            journal.append(ACCOUNT, [fill(1, 1)])
        holder.rollback()
    journal.append(ACCOUNT, [fill(1, 1)])
    assert {head.version for head in journal.heads().values()} == {2}
    journal.close()
