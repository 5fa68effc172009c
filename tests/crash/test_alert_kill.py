"""An alerter that is killed between sending and recording repeats that stage once, and nothing else."""

from __future__ import annotations

import pytest

from ledger import BreakClosed, Ledger
from ledger.service import utc_now_us
from tests.support.alerts import WEBHOOK, Receiver, ghost_opened, health_of, settings_file
from tests.support.commands import run
from tests.support.journals import ACCOUNT, START_MSC, opened

#: The command itself, with a journal that reports that it is about to record, and goes no further.
STOPS_BEFORE_RECORDING = """
from ledger.cli import main
from ledger.journal.sql.journal import SqlJournal

def save_notice(self, sent):
    report_and_stop("accepted", sent.stage)

SqlJournal.save_notice = save_notice
main(["alert", "--journal", url, "--config", sys.argv[2], *sys.argv[3:]])
"""


@pytest.fixture
def desk(url, tmp_path):
    with Receiver() as receiver, Ledger.open(url) as ledger:
        settings_file(tmp_path, f"[alerts]\ngrace_sec = 0\n{WEBHOOK}", desk=receiver.url)
        ledger.journal.append(ACCOUNT, [opened(), ghost_opened(), ghost_opened(8)])
        ledger.journal.save_sync_health(health_of(ACCOUNT, utc_now_us(), verified_sec=86_400.0))
        yield ledger, receiver, str(tmp_path / "ledger.toml")


@pytest.mark.parametrize(("url", "how"), [("sqlite", "daemon"), ("postgres", "--once")], indirect=["url"])
def test_a_kill_between_sending_and_recording_repeats_that_stage_once(desk, url, start, how):
    ledger, receiver, config = desk
    words = [] if how == "daemon" else [how]

    def killed():
        child = start(STOPS_BEFORE_RECORDING, url, config, *words)
        line = child.read_line()
        child.kill()
        return line

    def once():
        return run("alert", "--once", "--config", config, "--json", journal=url).json()

    assert killed() == "accepted 0"
    assert receiver.notices == [("open", 0)]  # the first of two, and not the second
    assert [one["state"] for one in once()["sent"]] == ["open", "open"]
    assert once()["sent"] == []
    assert sorted(one.json()["subject"] for one in receiver.got) == ["7 EURUSD", "7 EURUSD", "8 EURUSD"]
    assert len({one.headers["Idempotency-Key"] for one in receiver.got}) == 2  # a receiver can drop what it has

    ledger.journal.append(ACCOUNT, [closed(2, 7)])
    assert killed() == "accepted -1"
    assert [one["state"] for one in once()["sent"]] == ["resolved"]
    assert once()["sent"] == []
    assert receiver.notices[3:] == [("resolved", None)] * 2


def closed(version, position):
    return BreakClosed(kind="ghost", end="explained", time_msc=START_MSC, caused_by=version, position_id=position)
