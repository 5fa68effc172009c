"""Nonsense in a Results section is no error, and never passes as a figure that agrees."""

from __future__ import annotations

import re
from decimal import Decimal

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ledger.errors import MalformedExport
from ledger.imports import attribute, statement_of
from ledger.imports.results import TERMINAL_FIGURES
from ledger.results_check import Figure, State, check_results
from ledger.values import MarginMode
from tests.support.results import backtest_html, backtest_rows, parts_of, rows_of, terminal
from tests.support.tester import Robot
from tests.support.tester import run as trade
from tools.samples.history import make_history
from tools.samples.results import Rows, in_html

HISTORY = make_history(5, deals=16)
ROWS = rows_of(HISTORY)
BACKTEST = trade(Robot(most=1, lots=10, ways=(1,), partial_chance=0), 3, 40)
TESTER_ROWS = [row for part in backtest_rows(BACKTEST) for row in part]
WORDS = (
    "", "-", "nan", "inf", "-inf", "1e999", "1e-999", "1e5", "12,5", "1.234,56", "0x10", "\u0663", "\u0660.\u0660\u0660", "(",
    ")", "()", "5 (", "(5)", "5 (5", "5%%", "%", "5 (%)", "5% (5%)", "5 (5) (5)", "5 5 5", "1 2", "--5", "+-5", "5.", ".5",
    "=1+1", "True", "9" * 17, "9" * 30, "9" * 500, "0." + "9" * 70, "(" * 300, "1:2:3", "0:99:99", "99999999999:00:00",
    "2024.01.02 10:00:00", "\u202e1.5", "<img onerror=x>", "1 000 00", "\u00a0", "1\u00a0000.00", "\u22121.00", "buy", "in",
    "out by",
)  # fmt: skip
JUNK = st.one_of(
    st.sampled_from(WORDS),
    st.text(st.characters(exclude_categories=("Cs", "Cc")), max_size=12),
    st.from_regex(r"[-+]?[0-9 ]{1,6}(\.[0-9]{0,3})?%?( ?\([-+]?[0-9]{1,5}(\.[0-9]{0,3})?%?\))?", fullmatch=True),
)


def checked(data: bytes | str) -> dict[str, Figure]:
    statement = statement_of(data.encode() if isinstance(data, str) else data, "report")
    found = check_results(statement, attribute(statement, MarginMode.HEDGING))
    return {figure.name: figure for figure in found or ()}


def numbers(text: str) -> list[Decimal]:
    return [Decimal(one) for one in re.findall(r"[-+]?\d+(?:\.\d+)?", text.replace(" ", "").replace("\u00a0", ""))]


def are_equal(junk: str, honest: str) -> bool:
    """Whether a text shows the figures that it replaces, to a cent."""
    theirs, ours = numbers(junk.translate({0x2212: "-"})), numbers(honest)
    return len(theirs) == len(ours) and all(abs(a - b) <= Decimal("0.015") for a, b in zip(theirs, ours, strict=True))


def names_at(number: int, column: int) -> list[str]:
    return [
        name for name, (row, place, _) in zip(TERMINAL_FIGURES, parts_of(ROWS), strict=True) if (row, place) == (number, column)
    ]


CELLS = [(number, column) for number, row in enumerate(ROWS) for column in range(len(row))]


@settings(max_examples=100, deadline=None)
@given(at=st.sampled_from(CELLS), junk=JUNK, kind=st.sampled_from(["html", "html", "xlsx"]))
@example(at=(4, 0), junk="abc", kind="html")
@example(at=(0, 0), junk="1e5", kind="xlsx")
@example(at=(3, 1), junk="", kind="xlsx")
def test_nonsense_in_a_cell_never_agrees(at, junk, kind):
    number, column = at
    target = ROWS[number][column]
    honest = in_html(target, 2)
    data = terminal(HISTORY, kind, write=lambda cell, its: junk if cell is target or cell == target else its)
    try:
        found = checked(data)
    except MalformedExport:
        return
    if are_equal(junk, honest):
        return
    for name in names_at(number, column):
        assert found[name].state is not State.AGREED, (name, junk, honest)
        assert found[name].state is State.DIFFERS or found[name].reason


@pytest.mark.parametrize("at", CELLS)
def test_a_cell_of_letters_is_named_and_all_others_are_proved(at):
    target = ROWS[at[0]][at[1]]
    found = checked(terminal(HISTORY, "html", write=lambda cell, its: "n/a" if cell == target else its))
    left = [figure for figure in found.values() if figure.state is not State.AGREED]
    assert {figure.name for figure in left} >= set(names_at(*at))
    for figure in left:
        assert figure.state is State.NOT_CHECKABLE
        assert figure.reason is not None
        assert "found 'n/a'" in figure.reason


def edits(rows: Rows) -> list[Rows]:
    """Return the rows with one left out, one twice, or two exchanged."""
    found = []
    for index in range(len(rows)):
        found.append(rows[:index] + rows[index + 1 :])
        found.append(rows[: index + 1] + rows[index:])
        if index:
            found.append([*rows[: index - 1], rows[index], rows[index - 1], *rows[index + 1 :]])
    return found


def is_intact(rows: Rows, honest: Rows) -> bool:
    """Whether a row is only added before or behind all others."""
    return any(rows[begin : begin + len(honest)] == honest for begin in range(3))


def test_rows_that_are_lost_doubled_or_exchanged_never_agree_all():
    for rows in edits(ROWS):
        states = {figure.state for figure in checked(terminal(HISTORY, "html", rows=rows)).values()}
        assert states != {State.AGREED} or is_intact(rows, ROWS)
    honest = sum(figure.state is State.AGREED for figure in checked(backtest_html(BACKTEST)).values())
    for rows in edits(TESTER_ROWS):
        states_now = [figure.state for figure in checked(backtest_html(BACKTEST, rows=rows)).values()]
        assert states_now.count(State.AGREED) < honest or is_intact(rows, TESTER_ROWS[1:])  # no deal shows the first row


def test_a_file_with_two_sections_has_none_that_is_proved():
    found = checked(backtest_html(BACKTEST, rows=[*TESTER_ROWS, *TESTER_ROWS]))
    assert {figure.state for figure in found.values()} == {State.NOT_CHECKABLE}
    assert {figure.reason for figure in found.values()} == {"the file has more than one Results section, at row 11 and row 28"}


@settings(max_examples=60, deadline=None)
@given(cuts=st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 30), st.binary(max_size=6)), min_size=1, max_size=4))
def test_bytes_that_are_damaged_in_the_section_raise_nothing_but_what_says_so(cuts):
    page = backtest_html(BACKTEST).encode()
    begin, end = page.index(b"bars:"), page.index(b"average:") + 40
    for at, length, new in cuts:
        place = begin + at % (end - begin)
        page = page[:place] + new + page[place + length :]
    try:
        statement = statement_of(page, "report")
    except MalformedExport:
        return
    for figure in check_results(statement, attribute(statement, MarginMode.HEDGING)) or ():
        assert (figure.state is State.NOT_CHECKABLE) is (figure.reason is not None)
