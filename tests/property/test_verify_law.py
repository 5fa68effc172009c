"""The walk that passes over whole rows reports what a look at each row reports, whatever was done to them."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from hashlib import sha256
from typing import Any

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ledger import BalanceAsserted, Event, OrderIntended
from ledger.codec import BYTE_COLUMNS, TEXT_COLUMNS, Stored
from ledger.journal import Journal
from ledger.journal.chain import COVERED, checks, covered
from ledger.journal.memory import MemoryJournal
from ledger.journal.verify.walk import Problem, _Walk
from ledger.postings import dump_json
from tests.support.journals import ACCOUNT, START_MSC, Clock, cash, fill, ghost, opened, revised, specified
from tests.support.orders import TOKEN

#: In the place of a number: ``%`` would make a text of 30 MB of it. The law would take as long as it does so.
FORMAT = "%30000000d"


def _recorded() -> Journal:
    events: list[Event] = [
        opened(),
        specified("EURUSD"),
        fill(5, 5),
        fill(6, 6, magic=77, comment="a comment", commission=-1, fee=-2, swap=-3, profit=4),
        fill(7, 7, profit=None),
        fill(1, 1),  # late
        fill(7, 7, profit=5),  # completes
        revised(fill(5, 8, profit=9)),
        ghost(6, 20),
        OrderIntended(client_id="c1", token=TOKEN, kind="cancel", target_order=7, time_msc=START_MSC + 21_000),
        BalanceAsserted(balance=100, time_msc=START_MSC + 22_000),
        cash(30, 30),
    ]
    journal = MemoryJournal(Clock())
    journal.append(ACCOUNT, events)
    return journal


JOURNAL = _recorded()
ROWS = [Stored._make(row) for rows in JOURNAL.raw_rows(ACCOUNT) for row in rows]


def _usual(name: str, value: Any) -> Any:
    """Return a value as such a column holds it, for check bytes: who forges a row has to choose some."""
    expected: type = str if name in TEXT_COLUMNS else int
    if isinstance(value, float) and abs(value) < 2**63:
        value = int(value)
    return value if type(value) is expected or (value is None and name not in COVERED[:6]) else expected()


def _forged(row: Stored, before: bytes) -> Stored:
    """Return a row with a chain of its own making behind a hash, as far as its columns have one."""
    columns = covered(row)
    try:
        chained = sha256(before + msgspec.json.encode(columns)).digest()
    except UnicodeEncodeError:
        chained = sha256(before + repr(columns).encode("utf-8", "surrogateescape")).digest()
    return row._replace(prev_hash=before, hash=chained, checks=checks(tuple(map(_usual, COVERED, columns))))


def _linked(rows: list[Stored], begin: int) -> list[Stored]:
    """Return rows of which all from one on have a chain of their own making."""
    for at in range(begin, len(rows)):
        rows[at] = _forged(rows[at], rows[at - 1].hash if at else rows[at].prev_hash)
    return rows


def _seen(rows: list[Stored]) -> tuple[list[Problem], Any]:
    """Return what a look at each row finds, and the state behind them."""
    walk = _Walk(JOURNAL, ACCOUNT)
    return [problem for row in rows for problem in walk.check(row)], (walk.state, walk.evidence)


def _walked(rows: list[Stored]) -> tuple[list[Problem], Any]:
    """Return what the walk finds, and the state behind them."""
    walk = _Walk(JOURNAL, ACCOUNT)
    return list(walk.check_all([tuple(row) for row in rows])), (walk.state, walk.evidence)


_VALUES = st.one_of(
    st.sampled_from([None, 0, 1, -1, 5, 7, 2**63 - 1, 0.5, 1e300, "", "5", "deal:5", "deal:7#2", "deal:7#0", "{}", FORMAT]),
    st.sampled_from(["\x00", 'a"b\\', "é\u2028", "\udcff", "EURUSD\x00", "[" * 9000, "deal:7#" + "9" * 5000, b"", b"%9999d"]),
    st.integers(-(2**63), 2**63 - 1),
    st.text(max_size=5),
)
_CHANGES = st.one_of(
    st.tuples(st.just("set"), st.integers(0, 11), st.sampled_from(Stored._fields), _VALUES),
    st.tuples(st.just("real"), st.integers(0, 11), st.sampled_from(Stored._fields), st.none()),
    st.tuples(st.sampled_from(["delete", "swap", "repeat"]), st.integers(0, 11), st.none(), st.none()),
)


def _real(number: int) -> Any:
    return float(number)


def _changed(rows: list[Stored], what: str, at: int, name: Any, value: Any) -> list[Stored]:
    at = min(at, len(rows) - 2)
    if what == "set":
        rows[at] = rows[at]._replace(**{name: value})
    elif what == "real" and type(before := getattr(rows[at], name)) is int:
        rows[at] = rows[at]._replace(**{name: _real(before)})
    elif what == "delete":
        del rows[at]
    elif what == "swap":
        rows[at : at + 2] = reversed(rows[at : at + 2])
    elif what == "repeat":
        rows.insert(at, rows[at])
    return rows


@settings(max_examples=150, deadline=None)
@given(changes=st.lists(_CHANGES, min_size=1, max_size=3), forged=st.integers(0, 14))
@example(changes=[("real", 5, "order_msc", None)], forged=14)
@example(changes=[("real", 6, "order_deal", None)], forged=14)
@example(changes=[("real", 3, "profit", None)], forged=0)
@example(changes=[("real", 3, "placement", None)], forged=14)
@example(changes=[("set", 3, "profit", FORMAT)], forged=0)
@example(changes=[("set", 3, "natural_key", "deal:6#" + "9" * 5000)], forged=0)
@example(changes=[("set", 9, "data", "[" * 9000)], forged=0)
@example(changes=[("set", 10, "data", "[" * 9000)], forged=0)
@example(changes=[("set", 10, "data", ":")], forged=0)
def test_the_walk_finds_what_a_look_at_each_row_finds(changes, forged):
    rows = list(ROWS)
    for change in changes:
        rows = _changed(rows, *change)
    rows = _linked(rows, forged)
    assert _walked(rows) == _seen(rows)


def test_nothing_is_found_in_rows_that_nobody_changed():
    assert _walked(list(ROWS)) == _walked(_linked(list(ROWS), 0)) == _seen(list(ROWS))
    assert not _seen(list(ROWS))[0]


@pytest.mark.parametrize("name", [name for name in Stored._fields if name not in TEXT_COLUMNS | BYTE_COLUMNS])
@pytest.mark.parametrize("at", [5, 6, 9, 11])
def test_a_number_of_another_type_is_found_though_it_is_equal_and_its_hash_was_made_anew(name, at):
    """A table that was made anew converts no value: its columns may have no type."""
    before = getattr(ROWS[at], name)
    if before is None:
        return
    rows = list(ROWS)
    rows[at] = rows[at]._replace(**{name: _real(before)})
    assert _walked(_linked(rows, at))[0]


def _peak_of(act: Callable[[], object]) -> int:
    """Return how many bytes something takes at most."""
    tracemalloc.start()
    try:
        act()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("name", [name for name in COVERED if name not in TEXT_COLUMNS])
@pytest.mark.parametrize("value", [FORMAT, FORMAT.encode()], ids=["text", "bytes"])
def test_a_text_that_formats_numbers_formats_none(name, value):
    columns = covered(ROWS[3]._replace(**{name: value}))
    chained = sha256(ROWS[2].hash + msgspec.json.encode(columns)).digest()
    row = ROWS[3]._replace(**{name: value}, hash=chained)
    assert _peak_of(lambda: _walked([*ROWS[:3], row])) < 2**20
    assert name in [problem.field for problem in _walked([*ROWS[:3], row])[0]]


@pytest.mark.parametrize("time", ["deals_through_msc", "updated_msc"])
def test_a_text_in_the_place_of_the_time_of_an_assertion_formats_none(time):
    fields = {"balance": "100", "deals_through": 5, time: FORMAT}
    kind = "BalanceAsserted" if time == "deals_through_msc" else "DriftCorrected"
    rows = [*ROWS[:10], ROWS[10]._replace(kind=kind, data=dump_json(fields)), ROWS[11]]
    assert _peak_of(lambda: _walked(_linked(rows, 10))) < 2**20
    assert "data" in [problem.field for problem in _walked(rows)[0]]
