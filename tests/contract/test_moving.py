"""An account that moves to another journal is the same there, with all that belongs to it, and the one it left refuses it."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from functools import partial
from pathlib import Path

import attrs
import psycopg
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from ledger import (
    AccountMismatch,
    AccountMoved,
    AccountUnknown,
    BadValue,
    CorrectionRequest,
    CorruptEvent,
    Directory,
    JournalMissing,
    JournalNewer,
    JournalReplaced,
    Ledger,
    Outcome,
    SyncStatus,
    proposals,
)
from ledger.account_status import look
from ledger.journal.backup import copy_journal, restore_journal
from ledger.journal.directory import DirectoryStore, ListedAccount
from ledger.journal.notices import SentNotice
from ledger.marks import Mark
from ledger.signatures import Approval, sign
from tests.contract.test_sync_health import HEALTH
from tests.support.broker import ACCOUNT as SYNCED
from tests.support.broker import Desk as SyncDesk
from tests.support.journals import (
    ACCOUNT,
    DURABLE,
    OTHER,
    START_US,
    Clock,
    Intruder,
    digest_of,
    empty_postgres_url,
    fill,
    ghost,
    new_url,
    opened,
)
from tests.support.moving import PAIRS, Desk, new_journal

MARKS = [Mark(at_us=START_US + at, balance=Decimal(at), equity=Decimal(at)) for at in (0, 90_000_000, 86_400_000_000)]


@pytest.fixture(params=PAIRS[1:3], ids=" to ".join)
def desk(request, tmp_path):
    desk = Desk(request.param, tmp_path)
    yield desk
    desk.close()


@pytest.fixture
def directory(desk):
    with desk.directory() as directory:
        yield directory


def rows(ledger, account=ACCOUNT):
    return [row for block in ledger.journal.raw_rows(account) for row in block]


def test_all_that_belongs_to_the_account_moves(desk, directory):
    before = desk.engine.journal
    before.append(OTHER, [opened(OTHER), fill(1)])
    for mark in MARKS:
        before.save_mark(ACCOUNT, mark)
    before.save_sync_health(HEALTH)
    keys = [f"ledger:{journal}:{ACCOUNT}:2" for journal in (before.identity(), directory.open_journal("b").journal.identity())]
    before.save_notice(SentNotice(key=keys[0], channel="desk", stage=0, sent_us=9))
    portfolio = desk.engine.account(ACCOUNT).portfolio.state()
    directory.move(ACCOUNT, "b")
    after = directory.account(ACCOUNT)
    journal = after.ledger.journal
    assert rows(after.ledger) == rows(desk.engine)
    assert journal.head(ACCOUNT) == before.head(ACCOUNT)
    assert after.portfolio.state() == portfolio
    assert sorted(journal.raw_evidence(ACCOUNT)) == sorted(before.raw_evidence(ACCOUNT)) != []
    assert list(journal.marks(ACCOUNT)) == MARKS
    for by in ("minute", "day"):
        assert list(journal.equity(ACCOUNT, by)) == list(before.equity(ACCOUNT, by)) != []
    assert journal.sync_health(ACCOUNT) == HEALTH
    assert [one.key for one in journal.sent_notices()] == [keys[1]]
    assert journal.origins(ACCOUNT) == ((before.identity(), before.head(ACCOUNT).version),)
    assert journal.accounts() == [ACCOUNT]  # the other one stays


def test_marks_and_raw_answers_go_to_the_other_database_together(monkeypatch, tmp_path):
    desk, statements, answers = Desk(("sqlite", "postgres"), tmp_path), list[object](), [b"{%d}" % at for at in range(100)]
    seen = [ghost(2 + at, 100, evidence=digest_of(raw)) for at, raw in enumerate(answers)]
    desk.engine.journal.append(ACCOUNT, seen, evidence=answers)
    for at in range(100):
        desk.engine.journal.save_mark(ACCOUNT, attrs.evolve(MARKS[0], at_us=START_US + at * 90_000_000))
    execute = psycopg.Cursor.execute

    def counted(cursor, *values, **how):
        statements.append(values)
        return execute(cursor, *values, **how)

    with desk.directory() as directory:
        monkeypatch.setattr(psycopg.Cursor, "execute", counted)
        until = dict[str, int]()
        directory.move(ACCOUNT, "b", done=lambda step: until.update({step: len(statements)}))
        monkeypatch.undo()
        journal = directory.ledger(ACCOUNT).journal
        assert until["copied"] < 100  # each is a round trip
        assert len(list(journal.marks(ACCOUNT))) == len(list(journal.equity(ACCOUNT, "minute"))) == 100
        assert sorted(journal.raw_evidence(ACCOUNT)) == sorted(desk.engine.journal.raw_evidence(ACCOUNT))
        assert len(list(journal.raw_evidence(ACCOUNT))) == 101
    desk.close()


def test_a_raw_answer_that_is_gone_ends_the_move(desk, directory):
    intruder = Intruder(desk.urls["a"])
    intruder.disarm()
    intruder("DELETE FROM evidence")
    with pytest.raises(CorruptEvent, match="is not stored"):
        directory.move(ACCOUNT, "b")
    assert directory.open_journal("b").journal.accounts() == []


def test_the_journal_that_it_left_names_the_new_one_and_counts_it_no_more(desk, directory):
    desk.engine.journal.append(OTHER, [opened(OTHER), fill(1)])
    directory.move(ACCOUNT, "b")
    with pytest.raises(AccountMoved, match=r"has moved to b \(.*epoch 2") as refused:
        desk.engine.account(ACCOUNT).record(fill(500))
    assert (refused.value.epoch, str(refused.value.journal)[:3]) == (2, "b (")
    with pytest.raises(AccountMoved):
        desk.engine.account(ACCOUNT).record_many([fill(500), fill(501)])
    with pytest.raises(AccountMoved):
        desk.engine.journal.save_sync_health(HEALTH)
    assert [one.name for one in desk.engine.accounts()] == [OTHER]
    assert list(desk.engine.journal.heads_here()) == [OTHER]
    assert desk.engine.verify().ok  # what it has of the account is still there, and proven
    verdict = look(desk.engine.account(ACCOUNT), START_US).verdict
    assert not verdict.is_safe
    assert "has moved to b" in str(verdict.why)


def test_what_people_signed_in_the_old_journal_counts_in_the_new_one(desk, directory):
    account = desk.engine.account(ACCOUNT)
    proposals.set_policy(account, approvals=2, signed=True, operator="ann", reason="more")
    request = CorrectionRequest({"what": "close", "position_id": 5})
    proposal = proposals.propose(account, request, operator="ann", reason="it is gone").proposal
    assert proposal is not None
    approve(account, proposal)
    directory.move(ACCOUNT, "b")
    moved = directory.account(ACCOUNT)
    again = proposals.propose(moved, attrs.evolve(request, recipe={"what": "close", "position_id": 6}), operator="ann",
                              reason="it is gone").proposal  # fmt: skip
    assert again is not None
    approve(moved, again)
    assert moved.ledger.verify().problems == ()
    assert moved.ledger.verify().signed == 2


def approve(account, proposal):
    about = Approval(
        journal_id=account.ledger.journal.identity(), account=ACCOUNT, rests_on=proposal.rests_on,
        effect_digest=proposal.effect_digest,
    )  # fmt: skip
    signature = attrs.asdict(sign(about, Ed25519PrivateKey.generate()))
    version, digest = proposal.version, proposal.effect_digest
    assert proposals.approve(account, version, operator="bob", effect_digest=digest, **signature).became == "applied"


def test_a_reconciler_of_the_old_journal_finds_nothing_safe(tmp_path):
    urls = [new_journal("sqlite", tmp_path / name) for name in "ab"]
    desk = SyncDesk("#7 buy 1 @ 10", "#7 long 1 @ 10", journal=urls[0])
    assert desk.sync().status is SyncStatus.SUCCESS
    assert desk.reconciler.safe_to_trade().is_safe
    with Directory.create(str(tmp_path / "directory.db")) as directory:
        for name, url in zip("ab", urls, strict=True):
            directory.add(name, url)
        directory.move(SYNCED, "b")
    result = desk.sync()  # both agree, and nothing would be appended
    assert (result.status, result.appended) == (SyncStatus.FAILED, 0)
    assert "has moved to b" in str(result.reason)
    assert not desk.reconciler.safe_to_trade().is_safe


def test_a_copy_of_the_old_journal_refuses_the_account_too(desk, directory, tmp_path):
    directory.move(ACCOUNT, "b")
    for name, copy in (("backup.db", copy_journal), ("restored.db", restore_journal)):
        copy(desk.engine.journal, str(tmp_path / name), Clock())
        with Ledger.open(str(tmp_path / name)) as ledger:
            with pytest.raises(AccountMoved):
                ledger.account(ACCOUNT).record(fill(500))
            assert ledger.journal.location(ACCOUNT) == desk.engine.journal.location(ACCOUNT)
    copy_journal(directory.open_journal("b").journal, str(tmp_path / "new.db"), Clock())
    with Ledger.open(str(tmp_path / "new.db")) as ledger:
        assert ledger.journal.origins(ACCOUNT) == directory.open_journal("b").journal.origins(ACCOUNT)
        assert ledger.account(ACCOUNT).record(fill(500)) is Outcome.APPENDED


def test_a_copy_of_before_the_move_is_not_taken_for_the_journal(tmp_path):
    desk = Desk(("sqlite", "sqlite"), tmp_path)
    with desk.directory() as directory:
        directory.move(ACCOUNT, "b")
        directory.move(ACCOUNT, "a")
    older = str(tmp_path / "older.db")
    copy_journal(desk.engine.journal, older, Clock())
    Intruder(f"sqlite:///{older}").disarm()
    Intruder(f"sqlite:///{older}")("UPDATE heads SET epoch = 1, state = NULL, other = NULL, other_id = NULL")
    with Directory.open(desk.directory_url, journals={"a": older}) as directory:
        for ask in (lambda: directory.ledger(ACCOUNT), directory.accounts):
            with pytest.raises(JournalReplaced, match=r"epoch 3 by the directory.*epoch 1"):
                ask()
    wrong = Directory.open(desk.directory_url, journals={"a": desk.urls["b"]})
    with wrong, pytest.raises(JournalReplaced, match="is there"):
        wrong.ledger(ACCOUNT)
    desk.close()


def test_a_copy_of_before_the_account_came_is_not_taken_for_the_journal(tmp_path):
    desk = Desk(("sqlite", "sqlite"), tmp_path)
    older = str(tmp_path / "older.db")
    with desk.directory() as directory:
        copy_journal(directory.open_journal("b").journal, older, Clock())
        directory.move(ACCOUNT, "b")
    with Directory.open(desk.directory_url, journals={"b": older}) as directory:
        moves = [partial(directory.move, ACCOUNT, to) for to in "ab"]
        asked: list[Callable[[], object]] = [lambda: directory.account(ACCOUNT), directory.accounts, *moves]
        for ask in asked:
            with pytest.raises(JournalReplaced, match=r"epoch 2 by the directory, and b does not have it"):
                ask()
        assert directory.open_journal("b").journal.head(ACCOUNT) is None  # no second history was begun
    desk.close()


def restored(desk, name, folder):
    """Return the URL of a journal that was restored from a journal of a desk, in the same kind of database."""
    url = empty_postgres_url() if desk.urls[name].startswith("postgres") else f"sqlite:///{folder}/restored.db"
    with Ledger.open(desk.urls[name]) as ledger:
        restore_journal(ledger.journal, url, Clock())
    return url


def test_a_journal_restored_from_before_an_account_left_refuses_it_once_it_takes_its_place(desk, directory, tmp_path):
    desk.engine.journal.append(OTHER, [opened(OTHER), fill(1)])
    assert directory.add("a", desk.urls["a"]) == (OTHER,)
    url = restored(desk, "a", tmp_path)
    directory.move(ACCOUNT, "b")
    desk.record(directory.ledger(ACCOUNT))
    for _ in range(2):
        assert directory.add("a", url) == ()
    with Ledger.open(url) as ledger, pytest.raises(AccountMoved, match=r"has moved to b \(.*epoch 2"):
        ledger.account(ACCOUNT).record(fill(500))
    assert directory.account(OTHER).record(fill(500)) is Outcome.APPENDED
    assert [one.name for one in directory.accounts()] == [ACCOUNT, OTHER]
    assert directory.move(ACCOUNT, "a").epoch == 3
    assert directory.account(ACCOUNT).record(fill(501)) is Outcome.APPENDED
    assert directory.ledger(ACCOUNT).verify().ok


def test_a_restored_journal_with_a_history_of_its_own_is_not_added(desk, directory, tmp_path):
    url = restored(desk, "a", tmp_path)
    with Ledger.open(url) as ledger:
        with pytest.raises(AccountMismatch, match="is in a by the directory: nothing was added"):
            directory.add("c", url)  # in the same epoch
        directory.move(ACCOUNT, "b")
        ledger.account(ACCOUNT).record(fill(500))
        with pytest.raises(AccountMismatch, match="two histories, and nothing was added"):
            directory.add("a", url)
        assert ledger.account(ACCOUNT).record(fill(501)) is Outcome.APPENDED
    assert directory.listed("a").url == desk.urls["a"] or desk.urls["a"].startswith("postgres")


def test_a_directory_of_before_some_moves_is_brought_up_to_date(tmp_path):
    desk = Desk(("sqlite", "sqlite"), tmp_path)
    older = Path(desk.directory_url.removeprefix("sqlite:///")).read_bytes()

    def put_back():
        Path(desk.directory_url.removeprefix("sqlite:///")).write_bytes(older)

    with desk.directory() as directory:
        for to in "ba":
            directory.move(ACCOUNT, to)
        put_back()
        with pytest.raises(AccountMismatch, match="here in epoch 3, epoch 1 was expected"):
            directory.move(ACCOUNT, "b")
        assert directory.add("a", desk.urls["a"]) == ()
        assert directory.entry(ACCOUNT) == ("a", 3)
        assert directory.move(ACCOUNT, "b").epoch == 4
        store = DirectoryStore(str(tmp_path / "of-a.db"))  # of before b was added
        store.make()
        store.add_journal(directory.listed("a"))
        store.add_account(ACCOUNT, ListedAccount("a", 1))
        with Directory(store) as of_a:
            assert of_a.add("b", desk.urls["b"]) == ()
            assert of_a.entry(ACCOUNT) == ("b", 4)
        put_back()
        with pytest.raises(AccountMoved, match=rf"ledger account move {ACCOUNT} --to b"):
            directory.account(ACCOUNT)
        assert [one.ledger for one in directory.accounts()] == [directory.open_journal("b")]
        assert directory.move(ACCOUNT, "b").epoch == 4
        assert directory.entry(ACCOUNT) == ("b", 4)
        desk.record(directory.ledger(ACCOUNT))
    desk.require_whole("b")
    desk.close()


def test_a_journal_that_is_elsewhere_now_is_opened_there(tmp_path):
    desk = Desk(("sqlite", "sqlite"), tmp_path)
    with desk.directory() as engine, desk.directory() as operator:
        before = engine.account(ACCOUNT)
        copy_journal(desk.engine.journal, str(tmp_path / "new.db"), Clock())
        operator.add("a", str(tmp_path / "new.db"))
        desk.record(engine.ledger(ACCOUNT))
        with Ledger.open(str(tmp_path / "new.db")) as ledger:
            assert ledger.account(ACCOUNT).version == before.version + 1  # and who has the former one reads it still
    desk.close()


class Ended(Exception):
    """What ends a mover behind a step."""


def test_a_move_that_was_cut_short_hides_no_other_account_and_is_finished(desk, directory):
    def end(step):
        if step == "left":
            raise Ended

    desk.engine.journal.append(OTHER, [opened(OTHER), fill(1)])
    directory.add("a", desk.urls["a"])
    with pytest.raises(Ended):
        directory.move(ACCOUNT, "b", done=end)
    found = directory.accounts()
    assert [one.name for one in found] == [ACCOUNT, OTHER]
    assert found[0].portfolio.state() == desk.engine.account(ACCOUNT).portfolio.state()
    with pytest.raises(AccountMoved, match=rf"Finish the move: ledger account move {ACCOUNT} --to b$"):
        directory.account(ACCOUNT)
    with Directory.create(empty_postgres_url()) as anew:  # the former one was lost
        for name, url in desk.urls.items():
            assert anew.add(name, url) == ((OTHER,) if name == "a" else ())
        with pytest.raises(AccountUnknown):
            anew.move(ACCOUNT, "a")
        assert anew.move(ACCOUNT, "b").epoch == 2
        desk.record(anew.ledger(ACCOUNT))
    desk.require_whole("b")


def test_an_account_that_the_other_journal_has_on_its_own_does_not_move_there(desk, directory):
    directory.open_journal("b").journal.append(ACCOUNT, [opened(), fill(1, profit=5)])
    with pytest.raises(AccountMismatch, match="an account is in one journal"):
        directory.move(ACCOUNT, "b")
    assert directory.cancel_move(ACCOUNT) == "a"
    assert desk.engine.account(ACCOUNT).record(fill(500)) is Outcome.APPENDED


def test_what_was_damaged_does_not_move(desk, directory):
    intruder = Intruder(desk.urls["a"])
    intruder.disarm()
    intruder("UPDATE events SET profit = 7 WHERE version = 9")
    with pytest.raises(CorruptEvent, match="version 9 is not what was recorded"):
        directory.move(ACCOUNT, "b")
    assert directory.open_journal("b").journal.accounts() == []
    directory.cancel_move(ACCOUNT)
    assert directory.account(ACCOUNT).record(fill(500)) is Outcome.APPENDED


def test_a_move_that_is_under_way_goes_nowhere_else(tmp_path):
    desk = Desk(("sqlite", "sqlite"), tmp_path)
    with desk.directory() as directory, desk.directory() as second:
        directory.add("c", new_journal("sqlite", tmp_path / "c"))

        def elsewhere(_):
            with pytest.raises(AccountMismatch):
                second.move(ACCOUNT, "c" if second.entry(ACCOUNT).journal == "a" else "a")

        assert directory.move(ACCOUNT, "b", done=lambda step: step == "arrived" or elsewhere(step)).target == "b"
        assert second.move(ACCOUNT, "c").epoch == 3
        origins = directory.ledger(ACCOUNT).journal.origins(ACCOUNT)
        assert [one.journal_id for one in origins] == [directory.listed(name).journal_id for name in "ab"]
        assert directory.move(ACCOUNT, "c") == attrs.evolve(second.move(ACCOUNT, "c"), source=None)
    desk.close()


# ------------------------------------------------------------------------------------------------------------ the directory


@pytest.fixture(params=DURABLE)
def store(request, tmp_path):
    store = DirectoryStore(empty_postgres_url() if request.param == "postgres" else str(tmp_path / "directory.db"))
    assert store.make()
    assert not store.make()
    yield store
    store.close()


def test_an_epoch_only_rises_whoever_writes(store, tmp_path):
    with Directory(store) as directory:
        for name in "ab":
            directory.add(name, new_journal("sqlite", tmp_path / name))
        directory.claim(ACCOUNT, "a")
        directory.claim(ACCOUNT, "a")
        with pytest.raises(AccountMismatch, match=r"is in a by the directory, and was not opened there yet.*--in a"):
            directory.claim(ACCOUNT, "b")
        assert directory.accounts() == []
        for to in "ab":
            with pytest.raises(AccountUnknown, match=r"was not opened there yet.*--in a"):
                directory.move(ACCOUNT, to)
        store.raise_epoch(ACCOUNT, ListedAccount("b", 3))
        store.raise_epoch(ACCOUNT, ListedAccount("a", 2))  # by a slower mover
        assert directory.entry(str(ACCOUNT)) == ("b", 3)
        with pytest.raises(JournalReplaced, match="does not have it"):
            directory.accounts()
        intruder = Intruder(store.shown)
        for statement in ("UPDATE directory_accounts SET journal = 'a'", "DELETE FROM directory_accounts"):
            with pytest.raises(Exception, match="an epoch only rises"):
                intruder(statement)
        with pytest.raises(AccountUnknown, match="is not in the directory"):
            directory.ledger(OTHER)


def test_a_journal_is_in_the_directory_once_and_without_a_password(store, tmp_path):
    url = new_journal("sqlite", tmp_path / "a")
    with Directory(store) as directory:
        with pytest.raises(BadValue, match="no password belongs in it") as refused:
            directory.add("a", "postgresql+psycopg://ann:S3cr3t@host/desk")
        assert "S3cr3t" not in str(refused.value)
        directory.add("a", url)
        with pytest.raises(BadValue, match="is in the directory as a"):
            directory.add("b", url)
        with pytest.raises(BadValue, match="which was not restored from it"):
            directory.add("a", new_journal("sqlite", tmp_path / "b"))
        with pytest.raises(BadValue, match="which has: a"):
            directory.move(ACCOUNT, "x")
        with Ledger.open(url) as ledger:
            restore_journal(ledger.journal, str(tmp_path / "child.db"), Clock())
        directory.add("a", str(tmp_path / "child.db"))
        assert [one.url for one in directory.journals()] == [f"sqlite:///{tmp_path}/child.db"]


def test_what_is_no_directory_is_refused(tmp_path):
    with pytest.raises(JournalMissing, match="ledger directory init"):
        Directory.open(str(tmp_path / "none.db"))
    assert not (tmp_path / "none.db").exists()
    url = new_url("sqlite", tmp_path)
    with pytest.raises(JournalMissing, match="something else"):
        Directory.create(url)
    with pytest.raises(JournalMissing, match="there is no directory"):
        Directory.open(url)
    newer = str(tmp_path / "newer.db")
    Directory.create(newer).close()
    Intruder(f"sqlite:///{newer}")("UPDATE directory_form SET form = 2")
    with pytest.raises(JournalNewer, match="use a newer ledger"):
        Directory.open(newer)
