"""The Results sections of the real exports, against the deals of the same files. Without the exports: skipped."""

from __future__ import annotations

from decimal import Decimal
from functools import cache
from pathlib import Path

import pytest
from attrs import evolve

from ledger.imports import Attribution, Statement, attribute, read_statement
from ledger.imports.statement import PrintedResults
from ledger.results_check import Figure, State, check_results
from ledger.values import MarginMode

FOLDER = Path(__file__).resolve().parents[2].parent / "shared" / "data"

pytestmark = pytest.mark.skipif(not FOLDER.is_dir(), reason=f"the sample exports are not at {FOLDER}")

#: file -> figures that follow from its deals, figures that do not
FIGURES = {
    "ftmo_hedge_export1.xlsx": (37, 0),
    "ftmo_hedge_export2.xlsx": (37, 0),
    "ftmo_hedge_export3.xlsx": (37, 0),
    "fxpro_netting_a.xlsx": (37, 0),
    "fxpro_netting_b.xlsx": (37, 0),
    "b3_netting_tester_ptbr.html": (47, 12),
    "metaquotes_hedge_bg.html": (37, 0),
    "metaquotes_netting_reversal.html": (37, 0),
    "oanda_jpy_hedge_to0728.html": (37, 0),
    "oanda_jpy_hedge_from0728.html": (37, 0),
    "oanda_jpy_hedge_from0729.html": (37, 0),
}
TESTER = "b3_netting_tester_ptbr.html"
#: What may be larger in a tester's report than in its deals.
MAY_DIFFER = {"lr_correlation"}


@cache
def read(name: str) -> tuple[Statement, Attribution]:
    statement = read_statement(FOLDER / name)
    return statement, attribute(statement, statement.mode or MarginMode.NETTING)


def checked(statement: Statement, attribution: Attribution) -> dict[str, Figure]:
    return {figure.name: figure for figure in check_results(statement, attribution) or ()}


@pytest.mark.parametrize("name", FIGURES)
def test_every_figure_that_follows_from_the_deals_is_reproduced(name):
    agreed, unknown = FIGURES[name]
    figures = checked(*read(name))
    assert [figure for figure in figures.values() if figure.state is State.DIFFERS] == []
    assert sum(figure.state is State.AGREED for figure in figures.values()) == agreed
    assert [figure.reason for figure in figures.values() if figure.state is State.NOT_CHECKABLE] == [
        "not in the deals"
    ] * unknown


def test_380_figures_of_ten_exports_are_reproduced():
    different = set(FIGURES) - {"fxpro_netting_b.xlsx"}  # the same export as a, saved again
    figures = [figure for name in different for figure in checked(*read(name)).values()]
    assert sum(figure.state is State.AGREED for figure in figures) == 380


def test_a_file_without_the_section_has_no_check():
    assert read("icmarkets_hedge_edited.xlsx")[0].results is None
    assert check_results(*read("icmarkets_hedge_edited.xlsx")) is None


@pytest.mark.parametrize("name", FIGURES)
@pytest.mark.parametrize("by", [1, -1, 1000])
def test_a_figure_that_is_a_digit_off_differs_and_no_other_does(name, by):
    statement, attribution = read(name)
    honest = checked(statement, attribution)
    for figure in honest.values():
        if figure.state is not State.AGREED:
            continue
        wrong = {one.name: one for one in checked(falsified(statement, figure.name, by), attribution).values()}
        changed = {one for one, its in wrong.items() if its.state is not honest[one].state}
        assert wrong[figure.name].state is expected_of(statement, figure.name, by), figure.name
        assert changed <= {figure.name} | ({"balance"} if figure.name == "credit_facility" else set())


def expected_of(statement: Statement, name: str, by: int) -> State:
    if name == "credit_facility" and not statement.starts_at_opening:
        return State.NOT_CHECKABLE  # the balance differs instead
    return State.NOT_CHECKABLE if name in MAY_DIFFER and by == 1 else State.DIFFERS


def falsified(statement: Statement, name: str, by: int) -> Statement:
    """Change a figure by so many units of the last decimal that is shown."""
    assert statement.results is not None
    figures = dict(statement.results.figures)
    if name in ("balance", "credit_facility"):
        field = {"balance": "balance", "credit_facility": "credit"}[name]
        return evolve(statement, **{field: getattr(statement, field) + by * Decimal("0.01")})
    printed = figures[name]
    assert printed.value is not None
    figures[name] = evolve(printed, value=printed.value + by * Decimal(1).scaleb(-printed.decimals))
    results = PrintedResults(figures=figures, build=statement.results.build)
    return evolve(statement, results=results)


def test_a_tester_of_a_newer_build_or_of_none_has_another_sharpe_ratio():
    statement, attribution = read(TESTER)
    assert statement.results is not None
    for build in (2191, 4424, None):
        newer = evolve(statement, results=evolve(statement.results, build=build))
        figure = checked(newer, attribution)["sharpe_ratio"]
        assert figure.state is State.NOT_CHECKABLE
        assert figure.reason is not None
        assert "equity between the deals" in figure.reason
