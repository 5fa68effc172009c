"""What every journal promises of upkeep: the last of each kind, for whoever asks; and what the commands leave of it."""

from __future__ import annotations

from hashlib import sha256

import attrs
import pytest

from ledger import Ledger
from ledger.journal.backup import copy_journal, restore_journal
from ledger.journal.memory import MemoryJournal
from ledger.journal.upkeep import BACKUP, COPY, SEAL, VERIFY, Upkeep
from ledger.upkeep import UpkeepRules, ages, note, verify_age
from tests.contract.test_roles import desk
from tests.support.commands import run
from tests.support.journals import ACCOUNT, Clock, bare_sqlite, fill, new_url, open_journal, opened

__all__ = ["desk"]
VERIFIED = Upkeep(kind=VERIFY, at_us=1_000, host="desk1")
HOUR_US = 3_600_000_000


def test_the_last_of_each_kind_is_stored_and_when_one_last_ended_well(journal):
    assert journal.upkeep() == {}
    journal.save_upkeep(VERIFIED)
    journal.save_upkeep(attrs.evolve(VERIFIED, kind=BACKUP, problems=1, problem="disk full"))
    good = attrs.evolve(VERIFIED, succeeded_us=1_000)
    assert journal.upkeep() == {VERIFY: good, BACKUP: attrs.evolve(VERIFIED, kind=BACKUP, problems=1, problem="disk full")}
    journal.save_upkeep(attrs.evolve(VERIFIED, at_us=2_000, problems=3, problem="B/1 version 2", host="desk2"))
    found = journal.upkeep()[VERIFY]
    assert (found.at_us, found.succeeded_us, found.problems, found.host, found.is_ok) == (2_000, 1_000, 3, "desk2", False)
    assert journal.heads() == {}


@pytest.mark.parametrize("damage", ["at_us = 'x'", "problems = 'x'", "host = 5", "succeeded_us = 'x'", "problem = x'ff'"])
def test_a_damaged_row_is_no_upkeep_and_hides_no_other(damage, tmp_path):
    url = new_url("sqlite", tmp_path)
    journal = open_journal(url, Clock())
    journal.save_upkeep(VERIFIED)
    journal.save_upkeep(attrs.evolve(VERIFIED, kind=SEAL))
    with bare_sqlite(url) as intruder:
        column, _, value = damage.partition(" = ")
        intruder.execute(f"UPDATE upkeep SET {column} = CAST({value} AS BLOB) WHERE kind = 'verify'")  # noqa: S608
    assert list(journal.upkeep()) == [SEAL]
    journal.save_upkeep(VERIFIED)  # the next one mends it
    assert set(journal.upkeep()) == {VERIFY, SEAL}
    journal.close()


def test_upkeep_does_not_go_along_and_a_backup_is_known_as_one_until_it_is_used(url, tmp_path):
    copy, back = f"sqlite:///{tmp_path}/copy.db", f"sqlite:///{tmp_path}/back.db"
    with Ledger.open(url, now_us=Clock()) as ledger:
        ledger.journal.append(ACCOUNT, [opened()])
        ledger.journal.save_upkeep(VERIFIED)
        copy_journal(ledger.journal, copy, Clock())
    with Ledger.open(copy, create=False) as backup:
        assert list(backup.journal.upkeep()) == [COPY]
        note(backup.journal, VERIFY, 5)
        assert list(backup.journal.upkeep()) == [COPY]
        restore_journal(backup.journal, back, Clock())
        backup.account(ACCOUNT).record(fill(1, 1))
        note(backup.journal, VERIFY, 5)
        assert set(backup.journal.upkeep()) == {COPY, VERIFY}
    with Ledger.open(back, create=False) as restored:
        assert restored.journal.upkeep() == {}
        note(restored.journal, VERIFY, 5)
        assert list(restored.journal.upkeep()) == [VERIFY]


# ---- what the commands leave


def done(url):
    with Ledger.open(url) as ledger:
        return {kind: (one.problems, one.succeeded_us is not None) for kind, one in ledger.journal.upkeep().items()}


def check(url, name):
    (found,) = (one for one in run("doctor", "--json", journal=url).json() if one["check"] == name)
    return found["state"], found["seen"].partition(" on ")[0], found["at"] is not None


def test_verify_seal_and_backup_are_noted_and_doctor_shows_their_ages(url, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with Ledger.open(url) as ledger:
        ledger.journal.append(ACCOUNT, [opened()])
    assert [check(url, name) for name in (VERIFY, SEAL, BACKUP)] == [
        ("ok", "never yet", False), ("ok", "none was made of this journal", False),
        ("ok", "none was made by this program", False),
    ]  # fmt: skip
    run("keys", "seal")
    assert run("verify", journal=url).code == 0
    assert run("seal", "--out", "a.seal", journal=url).code == 0
    assert run("backup", "copy.db", journal=url).code == 0
    assert done(url) == {VERIFY: (0, True), SEAL: (0, True), BACKUP: (0, True)}
    assert [check(url, name) for name in (VERIFY, SEAL, BACKUP)] == [
        ("ok", "no problem found, 0 s ago", True), ("ok", "1 made, the last 0 s ago", True),
        ("ok", "made and verified 0 s ago", True),
    ]  # fmt: skip
    assert run("backup", "copy.db", journal=url).code == 2
    assert done(url)[BACKUP] == (1, True)
    assert check(url, BACKUP)[0] == "warning"
    before = sha256((tmp_path / "copy.db").read_bytes()).digest()
    assert run("verify", journal=f"sqlite:///{tmp_path}/copy.db").code == 0
    assert sha256((tmp_path / "copy.db").read_bytes()).digest() == before  # a backup stays what it is


def test_what_a_verification_found_is_shown_until_one_finds_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    url = new_url("sqlite", tmp_path)
    with Ledger.open(url) as ledger:
        ledger.journal.append(ACCOUNT, [opened(), fill(1, 1)])
    with bare_sqlite(url) as intruder:
        for text in ("DROP TRIGGER events_no_update", "UPDATE events SET comment = 'x' WHERE version = 2"):
            intruder.execute(text)
    assert run("verify", journal=url).code == 1
    (found,) = (one for one in run("doctor", "--json", journal=url).json() if one["check"] == VERIFY)
    assert found["state"] == "failed"
    assert found["seen"].startswith("1 problem found 0 s ago on ")
    assert f"{ACCOUNT} version 2" in found["seen"]


def test_whoever_may_only_read_verifies_seals_and_backs_up_and_notes_nothing(desk, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with Ledger.open(desk["writer"]) as ledger:
        ledger.journal.append(ACCOUNT, [opened()])
    run("keys", "seal")
    for command in (("verify",), ("seal", "--out", "a.seal"), ("backup", "copy.db")):
        ran = run(*command, journal=desk["reader"])
        assert (ran.code, b"right" in ran.err) == (0, False)
    assert done(desk["reader"]) == {}
    assert run("verify", journal=desk["writer"]).code == 0
    assert done(desk["reader"]) == {VERIFY: (0, True)}


# ---- ages


def test_ages_are_judged_by_their_limits():
    journal = MemoryJournal(Clock())
    rules = UpkeepRules(verify_sec=3600, backup_sec=7200)
    journal.save_upkeep(attrs.evolve(VERIFIED, at_us=0))
    journal.save_upkeep(attrs.evolve(VERIFIED, kind=BACKUP, at_us=0))
    at = {hours: [(one.state, one.is_old) for one in ages(journal, rules, hours * HOUR_US)] for hours in (1, 2, 3)}
    ok, old = ("ok", False), ("warning", True)
    assert at == {1: [ok, ok, ok], 2: [old, ok, ok], 3: [old, ok, old]}
    journal.save_upkeep(attrs.evolve(VERIFIED, kind=BACKUP, at_us=2 * HOUR_US, problems=1, problem="disk full"))
    *_, backup = ages(journal, rules, 3 * HOUR_US)
    assert (backup.state, backup.is_old) == old
    assert backup.seen == "failed 1 h ago on desk1: disk full; the last good one 3 h ago"


def test_a_journal_that_was_never_verified_is_judged_by_its_own_age(url):
    with Ledger.open(url, now_us=Clock()) as ledger:
        made_us = ledger.journal.made_us() or 0
        rules = UpkeepRules(verify_sec=3600)
        found = [verify_age(ledger.journal, None, rules, made_us + hours * HOUR_US) for hours in (1, 2)]
        assert [(one.is_old, one.state) for one in found] == [(False, "ok"), (True, "warning")]
        assert found[1].seen == "never, and the journal is 2 h old"
