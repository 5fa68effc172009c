"""Whatever is killed, and whenever: what was acknowledged is there once, and nothing is there by half."""

from __future__ import annotations

import random

import pytest

from ledger import Ledger, Outcome
from ledger.journal.chain import genesis
from tests.support.journals import ACCOUNT, Clock, empty_postgres_url, fill, open_journal, opened
from tools.testkit.postgres import start_postgres

ROUNDS = 12
BULK = 3000


def deals(url):
    """The deals of the journal, which must be whole."""
    journal = open_journal(url, Clock())
    rows = list(journal.rows(ACCOUNT))
    journal.close()
    assert [row.version for row in rows] == list(range(1, len(rows) + 1))
    assert [row.prev_hash for row in rows] == [genesis(ACCOUNT), *(row.hash for row in rows[:-1])]
    with Ledger.open(url) as ledger:
        assert ledger.verify().problems == ()
        assert ledger.account(ACCOUNT).portfolio.totals.deals == len(rows) - 1
    found = [row.deal for row in rows[1:]]
    assert len(found) == len(set(found))
    return found


def record(url, *events):
    with Ledger.create(url, now_us=Clock()) as ledger:
        return ledger.journal.append(ACCOUNT, list(events)).outcomes


@pytest.fixture
def url(url):
    record(url, opened())
    return url


ONE_BY_ONE = """
account = Ledger.open(url, now_us=Clock()).account(ACCOUNT)
report("ready")
for deal in range(int(read_line()), 10**9):
    account.record(fill(deal, deal / 1000))
    report(deal)
"""


def test_every_acknowledged_deal_survives_a_kill(url, start):
    chance = random.Random(7)
    acknowledged: list[int] = []
    for _ in range(ROUNDS):
        child = start(ONE_BY_ONE, url)
        assert child.read_line() == "ready"
        first = len(acknowledged) + 1
        child.send(first)
        heard = [int(child.read_line()) for _ in range(chance.randint(1, 40))]
        heard += map(int, child.kill())
        assert heard == list(range(first, first + len(heard)))
        acknowledged += heard
        there = deals(url)
        # The one that was under way may have made it, unacknowledged; nothing else may.
        assert there in (acknowledged, [*acknowledged, len(acknowledged) + 1])
        # The producer records again what was not acknowledged, and the last that was, to be sure.
        again = record(url, *(fill(deal, deal / 1000) for deal in acknowledged[-1:]))
        assert again == (Outcome.DUPLICATE,)
        retried = len(acknowledged) + 1
        record(url, fill(retried, retried / 1000))
        acknowledged.append(retried)
        assert deals(url) == acknowledged
    assert len(acknowledged) > ROUNDS


IN_BULK = """
from ledger.journal.sql import append
from ledger.journal.sql.append import Appender

point, bulk = sys.argv[2], int(sys.argv[3])
journal = open_journal(url, Clock())

class Stopping(Clock):
    def __call__(self):
        if point == "locked":
            report_and_stop("there")
        return super().__call__()

journal._now_us = Stopping()
if point == "half":
    seen = 0
    def trace(statement):  # a statement inserts some rows
        global seen
        seen += statement.startswith("INSERT INTO events") * statement.count("'FillRecorded'")
        if seen >= bulk // 2:
            report_and_stop("there")
    with journal.engine.reading() as session:
        session.driver.set_trace_callback(trace)
if point == "inserted" and not url.startswith("postgresql"):
    insert = append._insert_sqlite
    def inserted(*given):
        insert(*given)
        report_and_stop("there")
    append._insert_sqlite = inserted
execute = Appender._execute
def watched(appender, driver, text, *rows):
    execute(appender, driver, text, *rows)
    if url.startswith("postgresql"):
        with driver.pipeline():
            pass  # the end of an inner pipeline waits until the server has done all that was sent so far
    if point == "inserted" and text.startswith("INSERT INTO events"):
        report_and_stop("there")
    if point == "before the commit" and text.startswith("UPDATE heads"):
        report_and_stop("there")
Appender._execute = watched
journal.append(ACCOUNT, [fill(n, n / 1000) for n in range(1, bulk + 1)])
report_and_stop("there")
"""


@pytest.mark.parametrize("point", ["locked", "half", "inserted", "before the commit", "after the commit"])
def test_a_bulk_append_is_there_whole_or_not_at_all(point, url, start):
    if point == "half" and url.startswith("postgresql"):
        point = "inserted"  # its rows go out in one stream: there is no half to stop at from outside
    child = start(IN_BULK, url, point, str(BULK))
    assert child.read_line() == "there"
    child.kill()
    bulk = list(range(1, BULK + 1))
    is_there = point == "after the commit"
    assert deals(url) == (bulk if is_there else [])
    outcomes = record(url, *(fill(n, n / 1000) for n in bulk))
    assert set(outcomes) == {Outcome.DUPLICATE if is_there else Outcome.APPENDED}
    assert deals(url) == bulk


BULK_FREELY = """
journal = open_journal(url, Clock())
base, bulk = int(sys.argv[2]), int(sys.argv[3])
report("ready")
for batch in range(10**6):
    first = base + batch * bulk
    journal.append(ACCOUNT, [fill(n, n / 1000) for n in range(first, first + bulk)])
    report(first)
"""


def test_bulk_appends_killed_anywhere_are_there_whole_or_not_at_all(url, start):
    chance = random.Random(11)
    bulk, base = 200, 1
    for _ in range(ROUNDS // 2):
        child = start(BULK_FREELY, url, str(base), str(bulk))
        assert child.read_line() == "ready"
        heard = [int(child.read_line()) for _ in range(chance.randint(0, 5))]
        heard += map(int, child.kill())
        there = deals(url)
        assert len(there) % bulk == 0
        assert there == list(range(1, len(there) + 1))
        recorded = base - 1 + bulk * len(heard)
        assert len(there) in (recorded, recorded + bulk)
        base = len(there) + 1


INIT = """
from ledger.journal.sql.engine import open_engine
from ledger.journal.sql.migrate import migrate
engine = open_engine(url)
event.listen(engine.alchemy, "commit", lambda _: report_and_stop("there"))
migrate(engine)
"""


CREATE = """
from ledger.journal.sql import create
made = create._made

def stopped_before_its_commit(engine):
    engine._connection_class.commit = lambda _: report_and_stop("there")
    return made(engine)

create._made = stopped_before_its_commit
create.create_journal(url)
"""


@pytest.mark.parametrize(("kind", "how"), [("sqlite", INIT), ("postgres", INIT), ("sqlite", CREATE)])
def test_a_killed_init_leaves_no_half_of_a_journal(kind, how, tmp_path, start):
    url = f"sqlite:///{tmp_path}/new.db" if kind == "sqlite" else empty_postgres_url()
    for _ in range(2):
        child = start(how, url)
        assert child.read_line() == "there"
        child.kill()
    record(url, opened(), fill(1, 1))
    assert deals(url) == [1]


# ------------------------------------------------------------------------------------------------ the server is killed

AGAINST_A_SERVER = """
from ledger.journal.sql import append

append._LOCK_WAIT_SEC = 0.5  # the server is restarted after the writer gave up
account = Ledger.open(url, now_us=Clock()).account(ACCOUNT)
report("ready")
deal = 1
while True:
    try:
        account.record(fill(deal, deal / 1000))
    except LedgerError as error:
        assert error.retryable, error
        report("failed", type(error).__name__)
        read_line()
        continue
    report(deal)
    deal += 1
"""


def test_a_killed_postgres_keeps_what_was_acknowledged_and_the_writer_goes_on(start):
    chance = random.Random(3)
    with start_postgres() as server:
        url = server.create_database()
        record(url, opened())
        child = start(AGAINST_A_SERVER, url)
        assert child.read_line() == "ready"
        acknowledged = 0
        for _ in range(4):
            for _ in range(chance.randint(5, 60)):
                acknowledged += 1
                assert child.read_line() == str(acknowledged)
            server.kill()
            while (line := child.read_line()) != "failed JournalUnavailable":
                acknowledged += 1
                assert line == str(acknowledged)
            server.restart()
            there = deals(url)
            assert there in (list(range(1, acknowledged + 1)), list(range(1, acknowledged + 2)))
            child.send("go on")
            # The writer records the same deal again over a new connection, and goes on.
            acknowledged += 1
            assert child.read_line() == str(acknowledged)
        acknowledged += len(child.kill())
        assert len(deals(url)) - acknowledged in (0, 1)


def test_a_bulk_append_whose_server_is_killed_before_the_commit_is_not_there(start):
    with start_postgres() as server:
        url = server.create_database()
        record(url, opened())
        child = start(IN_BULK, url, "before the commit", str(BULK))
        assert child.read_line() == "there"
        server.kill()
        child.kill()
        server.restart()
        assert deals(url) == []
        record(url, *(fill(n, n / 1000) for n in range(1, BULK + 1)))
        assert len(deals(url)) == BULK
