"""Evidence: the raw broker answers that corrections rest on are stored once, with them, and returned as they came in."""

from __future__ import annotations

import subprocess
import sys
import zlib
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger import BadValue, BreakOpened, CorruptEvent, DealConflict, Ledger, Outcome, SyncDegraded, VersionConflict
from ledger.journal import evidence as evidence_module
from ledger.journal.evidence import StoredEvidence, compress, decompress
from ledger.journal.memory import MemoryJournal
from ledger.journal.sql.words import account_key
from ledger.journal.verify.walk import verify_account
from tests.contract.test_verify import ROOT, at, found
from tests.support.journals import (
    ACCOUNT,
    DURABLE,
    OTHER,
    START_MSC,
    Clock,
    Intruder,
    digest_of,
    fill,
    ghost,
    head,
    new_url,
    opened,
)

RAW = b'{"status": "SUCCESS", "positions": []}\r\n'
OTHER_RAW = bytes(range(256)) * 40
DIGEST, OTHER_DIGEST = digest_of(RAW), digest_of(OTHER_RAW)
KEY, OTHER_KEY = account_key(ACCOUNT), account_key(OTHER)


@pytest.fixture
def book(journal):
    """A journal with the account open and nothing else in it."""
    journal.append(ACCOUNT, [opened()])
    return journal


def record(journal, *events, account=ACCOUNT, evidence=(RAW,), **words):
    return journal.append(account, list(events), evidence=evidence, **words)


def stored(journal, account=ACCOUNT):
    """The digests of what is stored for an account."""
    return sorted(one.digest for one in journal.raw_evidence(account))


# ----------------------------------------------------------------------------------------------------------- recording it


@pytest.mark.parametrize(
    "raw", [RAW, OTHER_RAW, b"", b"\xff\x00", bytes(3_000_000)], ids=["json", "all bytes", "", "no text", "large"]
)
def test_an_answer_comes_back_as_it_came_in(book, raw):
    record(book, ghost(1, 1, evidence=digest_of(raw)), evidence=(raw,))
    assert book.evidence(ACCOUNT, digest_of(raw)) == raw
    assert verify_account(book, ACCOUNT).problems == ()


def test_an_answer_is_stored_compressed(book):
    raw = b'{"ticket": 1, "symbol": "EURUSD"}' * 1000
    record(book, ghost(1, 1, evidence=digest_of(raw)), evidence=(raw,))
    [one] = book.raw_evidence(ACCOUNT)
    assert (one.digest, one.size) == (sha256(raw).hexdigest(), len(raw))
    assert zlib.decompress(one.body) == raw
    assert len(one.body) < len(raw) // 20


def test_an_answer_recorded_again_is_stored_once(book):
    for n in range(3):
        assert record(book, ghost(1, n, evidence=DIGEST, caused_by=1 + n), evidence=(RAW, RAW)).outcomes == (Outcome.APPENDED,)
    assert stored(book) == [DIGEST]


def test_several_answers_are_stored_beside_one_another(book):
    record(book, ghost(1, 1, evidence=DIGEST), ghost(2, 1, evidence=OTHER_DIGEST), evidence=(RAW, OTHER_RAW))
    assert (book.evidence(ACCOUNT, DIGEST), book.evidence(ACCOUNT, OTHER_DIGEST)) == (RAW, OTHER_RAW)


def test_a_known_answer_does_not_exclude_a_new_one(book):
    record(book, ghost(1, 1, evidence=DIGEST))
    record(book, ghost(2, 1, evidence=DIGEST), ghost(3, 1, evidence=OTHER_DIGEST), evidence=(RAW, OTHER_RAW))
    assert stored(book) == sorted([DIGEST, OTHER_DIGEST])


def test_an_answer_may_be_recorded_after_an_event_that_named_it(book):
    record(book, ghost(1, 1, evidence=DIGEST), evidence=())
    assert book.evidence(ACCOUNT, DIGEST) is None
    record(book, ghost(2, 1, evidence=DIGEST))
    assert book.evidence(ACCOUNT, DIGEST) == RAW


def test_whatever_kind_of_event_names_it_its_answer_is_stored(book):
    kinds = [BreakOpened(kind="ghost", position_id=1, time_msc=START_MSC, field="position", ours="1", evidence=DIGEST)]
    record(book, *kinds, SyncDegraded(reason="r", time_msc=START_MSC, evidence=OTHER_DIGEST), evidence=(RAW, OTHER_RAW))
    assert stored(book) == sorted([DIGEST, OTHER_DIGEST])


def test_each_account_stores_its_own_evidence(journal):
    for account in (ACCOUNT, OTHER):
        journal.append(account, [opened(account)])
    record(journal, ghost(1, 1, evidence=DIGEST))
    assert journal.evidence(OTHER, DIGEST) is None
    record(journal, ghost(1, 1, evidence=DIGEST), account=OTHER)
    assert (journal.evidence(ACCOUNT, DIGEST), journal.evidence(OTHER, DIGEST)) == (RAW, RAW)


def test_the_first_append_of_an_account_may_bring_evidence(journal):
    record(journal, opened(), ghost(1, 1, evidence=DIGEST))
    assert stored(journal) == [DIGEST]


# --------------------------------------------------------------------------------------------------------- not storing it


def test_an_answer_that_no_event_names_is_not_stored(book):
    record(book, ghost(1, 1, evidence=OTHER_DIGEST), fill(5, 5), evidence=(RAW, OTHER_RAW))
    assert stored(book) == [OTHER_DIGEST]


def test_without_a_new_event_nothing_is_stored(book):
    record(book, ghost(1, 1), evidence=())
    assert record(book, ghost(1, 2, evidence=DIGEST)).outcomes == (Outcome.DUPLICATE,)
    assert stored(book) == []


def test_the_answer_of_an_event_that_was_known_is_not_stored_beside_a_new_one(book):
    """Another reconciler was faster: what it saw is stored, what we saw as well is not."""
    record(book, ghost(1, 1), evidence=())
    record(book, ghost(1, 2, evidence=DIGEST), ghost(2, 2, evidence=OTHER_DIGEST), evidence=(RAW, OTHER_RAW))
    assert stored(book) == [OTHER_DIGEST]


@pytest.mark.parametrize("error", [DealConflict, VersionConflict])
def test_a_refused_append_stores_no_evidence(book, error):
    record(book, fill(1, 1), evidence=())
    bad, version = (fill(1, 1, volume=2), 2) if error is DealConflict else (fill(2, 2), 1)
    with pytest.raises(error):
        record(book, ghost(1, 1, evidence=DIGEST), bad, expected_version=version)
    assert stored(book) == []
    assert head(book).version == 2


def test_an_answer_that_is_too_large_is_refused_with_its_event(book, monkeypatch):
    monkeypatch.setattr(evidence_module, "SIZE_MAX", 100)
    record(book, ghost(1, 1, evidence=digest_of(bytes(100))), evidence=(bytes(100),))
    with pytest.raises(BadValue, match="expected at most 100 bytes, found 101"):
        record(book, ghost(2, 1, evidence=digest_of(bytes(101))), evidence=(bytes(101),))
    assert head(book).version == 2


@pytest.mark.parametrize("digest", ["ab" * 32, "", "x", "\0", "\ud800", DIGEST.upper(), DIGEST[:-1], DIGEST + "0"], ids=ascii)
def test_evidence_that_is_not_stored_is_none(book, digest):
    record(book, ghost(1, 1, evidence=DIGEST))
    assert book.evidence(ACCOUNT, digest) is None


def test_a_copy_for_simulations_holds_no_evidence(book):
    record(book, ghost(1, 1, evidence=DIGEST))
    assert stored(MemoryJournal.copy_of(book, [ACCOUNT], Clock())) == []


# ------------------------------------------------------------------------------------------------------------ the account


def test_an_account_records_and_returns_evidence(journal, clock):
    account = Ledger(journal, clock).account(ACCOUNT)
    account.open(currency="USD", mode="hedging", time_msc=START_MSC)
    account.record_many([ghost(1, 1, evidence=DIGEST)], evidence=(RAW,))
    assert account.evidence(DIGEST) == account.evidence(DIGEST.upper()) == RAW
    with pytest.raises(BadValue, match=r"Broker-Live/70113 has no evidence 'abab"):
        account.evidence("ab" * 32)


# -------------------------------------------------------------------------------------------------------------- damage


@pytest.fixture
def recorded(url):
    """The URL of a journal with two answers of two events each, and one that no event refers to any more."""
    with Ledger.create(url, now_us=Clock()) as ledger:
        for account in (ACCOUNT, OTHER):
            record(ledger.journal, opened(account), account=account)
            for n in (1, 2):
                events = [ghost(n, 1, evidence=DIGEST), ghost(n, 2, evidence=OTHER_DIGEST, caused_by=1)]
                record(ledger.journal, *events, account=account, evidence=(RAW, OTHER_RAW))
        assert head(ledger.journal).version == 5
    return url


@pytest.fixture
def breaker(recorded, intruder):
    """Somebody who changes what is stored: ``breaker(digest, column=value)``."""
    intruder.disarm()

    def change(digest, /, **columns):
        for name, value in columns.items():
            intruder(f"UPDATE evidence SET {name} = ? WHERE account_id = ? AND digest = ?", value, KEY, digest)  # noqa: S608

    return change


def evidence_of(url, digest):
    with Ledger.open(url) as ledger:
        return ledger.account(ACCOUNT).evidence(digest)


def test_undamaged_evidence_raises_nothing(recorded):
    assert found(recorded) == set()


def bomb(size):
    return zlib.compress(bytes(size), 9)


BODIES = {
    "empty": b"",
    "no compression": RAW,
    "another answer": zlib.compress(OTHER_RAW),
    "a changed answer": zlib.compress(RAW.replace(b"[]", b"{}")),
    "a longer answer": zlib.compress(RAW + b" "),
    "a shorter answer": zlib.compress(RAW[:-1]),
    "a cut body": zlib.compress(RAW)[:-1],
    "a body with more behind it": zlib.compress(RAW) + b"x",
    "a changed byte": zlib.compress(RAW)[:20] + b"\x00" + zlib.compress(RAW)[21:],
    "a bomb": bomb(50_000_000),
}


@pytest.mark.parametrize("body", BODIES)
def test_a_damaged_body_is_named_with_the_first_event_that_rests_on_it(body, recorded, breaker):
    breaker(DIGEST, body=BODIES[body])
    assert found(recorded) == at(2, "evidence")
    with pytest.raises(CorruptEvent, match=f"evidence {DIGEST}: it was changed"):
        evidence_of(recorded, DIGEST)
    assert evidence_of(recorded, OTHER_DIGEST) == OTHER_RAW


@pytest.mark.parametrize("size", [-1, 0, len(RAW) - 1, len(RAW) + 1, 2**40, 2**63 - 1])
def test_a_changed_size_is_named(size, recorded, breaker):
    breaker(OTHER_DIGEST, size=size)
    assert found(recorded) == at(3, "evidence")
    with pytest.raises(CorruptEvent, match=f"evidence {OTHER_DIGEST}"):
        evidence_of(recorded, OTHER_DIGEST)


def test_a_changed_digest_is_named_and_missed(recorded, breaker):
    breaker(DIGEST, digest="ab" * 32)
    assert found(recorded) == at(2, "evidence") | at(None, "evidence")


@pytest.mark.parametrize(("name", "value"), [("digest", b"x"), ("size", "many"), ("size", 1.5), ("body", "text")], ids=ascii)
def test_a_value_that_a_column_never_holds_is_named(name, value, tmp_path):
    """Only SQLite lets it in."""
    url = new_url("sqlite", tmp_path)
    with Ledger.create(url, now_us=Clock()) as ledger:
        record(ledger.journal, opened(), ghost(1, 1, evidence=DIGEST))
    intruder = Intruder(url)
    intruder.disarm()
    intruder(f"UPDATE evidence SET {name} = ?", value)  # noqa: S608
    assert found(url) == at(2, "evidence") | (at(None, "evidence") if name == "digest" else set())


def test_missing_evidence_is_named(recorded, breaker, intruder):
    intruder("DELETE FROM evidence WHERE account_id = ? AND digest = ?", KEY, OTHER_DIGEST)
    with Ledger.open(recorded) as ledger:
        [problem] = ledger.verify().problems
    assert (problem.account, problem.version, problem.field) == (str(ACCOUNT), 3, "evidence")
    assert "is not stored" in problem.what


def test_all_evidence_of_an_account_may_be_missing(recorded, breaker, intruder):
    intruder("DELETE FROM evidence WHERE account_id = ?", OTHER_KEY)
    assert found(recorded) == at(2, "evidence", account=OTHER) | at(3, "evidence", account=OTHER)


def test_damaged_evidence_that_no_event_rests_on_is_named_too(recorded, breaker, intruder):
    intruder("INSERT INTO evidence (account_id, digest, size, body) VALUES (?, ?, 5, ?)", KEY, "ab" * 32, b"x")
    assert found(recorded) == at(None, "evidence")


def test_sound_evidence_that_no_event_rests_on_is_fine(recorded, breaker, intruder):
    values = (KEY, digest_of(b"abc"), 3, zlib.compress(b"abc"))
    intruder("INSERT INTO evidence (account_id, digest, size, body) VALUES (?, ?, ?, ?)", *values)
    assert found(recorded) == set()


def test_evidence_is_checked_beside_damaged_events(recorded, breaker, intruder):
    intruder("UPDATE events SET comment = 'x' WHERE account_id = ? AND version = 2", KEY)
    breaker(DIGEST, body=b"")
    assert found(recorded) == at(2, "comment", "evidence")


def test_an_event_that_names_other_evidence_now_is_named_once(recorded, breaker, intruder):
    intruder("UPDATE events SET evidence = ? WHERE account_id = ? AND version = 3", "cd" * 32, KEY)
    with Ledger.open(recorded) as ledger:
        [problem] = ledger.verify().problems
    assert (problem.version, problem.field) == (3, "evidence")


def test_evidence_of_no_account_is_named(recorded, breaker, intruder):
    if not intruder.is_sqlite:
        intruder("ALTER TABLE evidence DROP CONSTRAINT fk_evidence_account_id")
    intruder("UPDATE evidence SET account_id = 5 WHERE account_id = ? AND digest = ?", KEY, DIGEST)
    assert found(recorded) == at(2, "evidence") | {("account id 5", None, "evidence.account_id")}


# -------------------------------------------------------------------------------------------------------------- the laws


@given(raw=st.binary(max_size=300))
def test_what_is_decompressed_is_what_was_compressed(raw):
    [one] = compress([raw, raw], [ghost(1, 1, evidence=digest_of(raw))])
    assert decompress(one) == raw


@given(raw=st.binary(max_size=100), data=st.data())
def test_whatever_is_changed_is_refused_or_changes_nothing(raw, data):
    [one] = compress([raw], [ghost(1, 1, evidence=digest_of(raw))])
    place = data.draw(st.integers(0, len(one.body) - 1))
    body = one.body[:place] + data.draw(st.binary(max_size=3)) + one.body[place + 1 :]
    changed = StoredEvidence(one.digest, data.draw(st.integers(-1, 200) | st.just(one.size)), body)
    try:
        answer = decompress(changed)
    except CorruptEvent:
        return
    assert (answer, changed.size) == (raw, one.size)


def test_a_bomb_is_not_decompressed(monkeypatch):
    """A small body that would be 100 GB: only as much as its size states is ever made."""
    asked = []

    class Noted:
        def __init__(self):
            self.stream = real()

        def decompress(self, body, most):
            asked.append(most)
            return self.stream.decompress(body, most)

        def __getattr__(self, name):
            return getattr(self.stream, name)

    real = zlib.decompressobj
    monkeypatch.setattr(zlib, "decompressobj", Noted)
    with pytest.raises(CorruptEvent):
        decompress(StoredEvidence(DIGEST, 10, bomb(10_000_000)))
    with pytest.raises(CorruptEvent, match="expected a size of 0 to"):
        decompress(StoredEvidence(DIGEST, 10**11, bomb(10_000_000)))
    assert asked == [11]


# ------------------------------------------------------------------------------------------------------ the command line


def log(url, *words):
    return subprocess.run(
        [sys.executable, "-m", "ledger", "log", "--journal", url, *words], cwd=ROOT, capture_output=True, check=False
    )


@pytest.fixture(scope="module", params=DURABLE)
def desk(request, tmp_path_factory):
    """The URL of a journal with an answer of one account, and one of two."""
    url = new_url(request.param, tmp_path_factory.mktemp("desk"))
    with Ledger.create(url, now_us=Clock()) as ledger:
        record(
            ledger.journal,
            opened(),
            ghost(1, 1, evidence=DIGEST),
            ghost(2, 1, evidence=OTHER_DIGEST),
            evidence=(RAW, OTHER_RAW),
        )
        record(ledger.journal, opened(OTHER), ghost(1, 1, evidence=DIGEST), account=OTHER)
    return url


def test_log_prints_an_answer_byte_by_byte(desk):
    for digest in (OTHER_DIGEST, OTHER_DIGEST.upper()):
        run = log(desk, "--evidence", digest)
        assert (run.returncode, run.stdout, run.stderr) == (0, OTHER_RAW, b"")


def test_log_asks_which_account_where_several_store_an_answer(desk):
    run = log(desk, "--evidence", DIGEST)
    assert (run.returncode, run.stdout) == (2, b"")
    assert b"stored for several accounts (Broker-Live/70113, Broker-Live/70114): name one with --account" in run.stderr
    run = log(desk, "--evidence", DIGEST, "--account", str(OTHER))
    assert (run.returncode, run.stdout, run.stderr) == (0, RAW, b"")


@pytest.mark.parametrize(
    ("words", "output"),
    [
        (["ab" * 32], "this journal has no evidence 'abab"),
        (["9f2c"], "this journal has no evidence '9f2c'"),
        ([OTHER_DIGEST, "--account", str(OTHER)], "Broker-Live/70114 has no evidence"),
        ([DIGEST, "--account", "Elsewhere/1"], "account Elsewhere/1 is not in this journal"),
        ([DIGEST, "--json"], "it goes with --account only"),
        ([DIGEST, "--last", "1"], "it goes with --account only"),
    ],
)
def test_log_states_what_is_wrong_and_exits_2(desk, words, output):
    run = log(desk, "--evidence", *words)
    assert (run.returncode, run.stdout) == (2, b"")
    assert output in run.stderr.decode()
