"""An account moves to another journal: whoever is killed, and whenever, at most one accepts its events, and none is lost."""

from __future__ import annotations

from itertools import cycle, product

import pytest

from ledger import AccountMismatch, AccountMoved, AccountMoving
from ledger.directory import STEPS
from ledger.journal.sql import moving
from tests.support.journals import ACCOUNT
from tests.support.moving import PAIRS, Desk, kill_myself, killed

#: Where a mover is killed: behind each step, and within the transaction that copies.
POINTS = (*STEPS[:1], "while copying", *STEPS[1:])
#: For what is decided by the same conditions in both databases: two times of three where it is quick.
MOSTLY_SQLITE = (PAIRS[0], PAIRS[0], PAIRS[3])
#: Who accepts the account's events then.
ACCEPTING = {"arrived": ["b"]}


@pytest.fixture
def desk(pair, tmp_path):
    desk = Desk(pair, tmp_path)
    yield desk
    desk.close()


def in_turn(*cases, pairs=PAIRS):
    """Try each case with one pair of databases, so that every pair has its turn: what they differ in is locks, not steps."""
    return [
        pytest.param(pair, *case, id=f"{' '.join(map(str, case))}, {' to '.join(pair)}")
        for pair, case in zip(cycle(pairs), cases)
    ]


class Ended(Exception):
    """What ends a mover behind its first step."""


def end(_):
    raise Ended


def move(desk, to="b", **options):
    with desk.directory() as directory:
        return directory.move(ACCOUNT, to, **options)


@pytest.mark.parametrize(("pair", "point"), in_turn(*((point,) for point in POINTS)))
def test_a_mover_that_is_killed_leaves_one_journal_or_none_until_it_is_resumed(point, desk, monkeypatch):
    assert desk.accepting() == ["a"]
    if point == "while copying":
        monkeypatch.setattr(moving, "_copy_origins", kill_myself)  # all events are in the transaction, and not committed
    killed(lambda: move(desk, done=lambda step: kill_myself() if step == point else None))
    monkeypatch.undo()
    assert desk.accepting() == ACCEPTING.get(point, [])
    moved = move(desk)
    assert (moved.target, moved.epoch) == ("b", 2)
    assert desk.accepting() == ["b"]
    desk.require_whole("b")


@pytest.mark.parametrize(
    ("pair", "point", "is_back"), in_turn(*product(STEPS[1:5], [True]), ("copied", False), ("left", False), pairs=MOSTLY_SQLITE)
)
def test_a_slow_mover_changes_nothing_that_a_quick_one_did(point, is_back, desk):
    def overtake(step):
        if step != point:
            return
        move(desk)
        assert desk.accepting() == ["b"]
        if is_back:
            move(desk, "a")
            assert desk.accepting() == ["a"]

    if is_back:
        with pytest.raises((AccountMismatch, AccountMoving)):
            move(desk, done=overtake)
    else:
        move(desk, done=overtake)
    assert desk.accepting() == ["a" if is_back else "b"]
    desk.require_whole("a" if is_back else "b")


@pytest.mark.parametrize(("pair", "point"), in_turn(*((point,) for point in STEPS[:4]), pairs=MOSTLY_SQLITE))
def test_a_move_can_be_cancelled_until_the_account_has_left(point, desk):
    is_left = STEPS.index(point) >= STEPS.index("left")

    def cancel(step):
        if step != point:
            return
        with desk.directory() as directory:
            if is_left:
                with pytest.raises(AccountMismatch):
                    directory.cancel_move(ACCOUNT)
                return
            assert directory.cancel_move(ACCOUNT) == "a"
        assert desk.accepting() == ["a"]
        with pytest.raises(Ended):
            move(desk, done=end)  # another move to the same journal, of an account that has gone on

    if is_left:
        move(desk, done=cancel)
    else:
        with pytest.raises(AccountMismatch):
            move(desk, done=cancel)
        assert desk.accepting() == []
        desk.require_whole("a")
        move(desk)  # what the other journal has already is the beginning
    assert desk.accepting() == ["b"]
    desk.require_whole("b")


ENGINE = """
account = Ledger.open(url).account(ACCOUNT)
deal = 1000
while True:
    deal += 1
    try:
        account.record(fill(deal, deal))
    except (AccountMoving, AccountMoved) as error:
        report(type(error).__name__)
        break
    report(deal)
"""


@pytest.mark.parametrize("pair", PAIRS[1:3], ids=" to ".join)
def test_what_an_engine_was_acknowledged_meanwhile_has_moved_too(desk, start):
    engine = start(ENGINE, desk.urls["a"])
    for _ in range(20):
        engine.read_line()
    move(desk)
    recorded = []
    while (line := engine.read_line()).isdigit():
        recorded.append(int(line))
    assert line in ("AccountMoving", "AccountMoved")
    engine.end()
    with desk.directory() as directory:
        found = {row.deal for row in directory.ledger(ACCOUNT).journal.rows(ACCOUNT)}
    assert found >= {*range(1001, 1021), *recorded}
    with pytest.raises(AccountMoved, match=r"moved to b .*epoch 2"):
        desk.record(desk.engine)
    desk.require_whole("b")
