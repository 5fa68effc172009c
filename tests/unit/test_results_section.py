"""The Results section of rendered reports: every figure is read and proved, and a changed one is named."""

from __future__ import annotations

from collections import Counter
from decimal import Decimal

import pytest
from attrs import evolve

from ledger.imports import attribute, statement_of
from ledger.imports.results import TERMINAL_FIGURES, TESTER_FIGURES
from ledger.results_check import LABELS, Figure, State, check_results
from ledger.values import MarginMode
from tests.support.commands import run
from tests.support.results import backtest_csv, backtest_html, backtest_rows, changed, parts_of, rows_of, terminal
from tests.support.tester import Robot
from tests.support.tester import run as trade
from tools.samples.history import LANGUAGES, make_history
from tools.samples.results import Cell

KINDS = ("html", "xlsx")
HISTORY = make_history(7, deals=40)
#: One position at a time: no close has a choice.
SINGLE = trade(Robot(most=1, lots=10, ways=(1,), partial_chance=0, open_chance=0.9, single_chance=0.5), 4, 60)
NOT_OF_DEALS = 13


def figures(data: bytes | str, mode: MarginMode = MarginMode.HEDGING) -> dict[str, Figure]:
    statement = statement_of(data.encode() if isinstance(data, str) else data, "report")
    found = check_results(statement, attribute(statement, statement.mode or mode))
    assert found is not None
    return {figure.name: figure for figure in found}


def states(found: dict[str, Figure]) -> Counter[str]:
    return Counter(figure.state.value for figure in found.values())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize(("mode", "currency"), [("hedging", "USD"), ("netting", "JPY")])
def test_every_figure_is_reproduced_in_any_language(kind, language, mode, currency):
    history = make_history(11, mode, 40, currency=currency)
    assert states(figures(terminal(history, kind, language))) == {"agreed": 37}


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_that_starts_mid_history_has_a_curve_that_starts_there(kind):
    window = make_history(3, deals=60).window(30)
    assert window.credit == 0
    assert states(figures(terminal(window, kind))) == {"agreed": 37}


@pytest.mark.parametrize("kind", KINDS)
def test_credit_before_a_file_that_starts_mid_history_is_not_known(kind):
    window = make_history(2, deals=60).window(30)
    found = figures(terminal(window, kind))
    assert window.credit != 0
    assert (states(found)["agreed"], found["credit_facility"].state) == (36, State.NOT_CHECKABLE)
    assert found["balance"].state is State.AGREED


@pytest.mark.parametrize("kind", KINDS)
def test_an_account_that_only_paid_in_shows_zeros(kind):
    history = make_history(1).window(0, 1)
    found = figures(terminal(history, kind))
    assert (states(found), found["profit_factor"].ours) == ({"agreed": 37}, found["profit_factor"].theirs)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("by", [1, -1])
def test_a_changed_figure_of_a_terminal_differs_and_no_other_does(kind, by):
    rows = rows_of(HISTORY)
    for name, at in zip(TERMINAL_FIGURES, parts_of(rows), strict=True):
        found = figures(terminal(HISTORY, kind, rows=changed(rows, at, by, is_workbook=kind == "xlsx")))
        assert [figure.name for figure in found.values() if figure.state is not State.AGREED] == [name]
        assert (found[name].state, found[name].label) == (State.DIFFERS, LABELS[name])


def test_a_tester_s_figures_are_reproduced_in_either_order_of_its_rows():
    for data in (backtest_html(SINGLE), backtest_csv(SINGLE)):
        found = figures(data)
        assert tuple(found) == TESTER_FIGURES
        assert states(found) == {"agreed": 47, "not checkable": NOT_OF_DEALS}


@pytest.mark.parametrize("mode", [MarginMode.HEDGING, MarginMode.NETTING])
@pytest.mark.parametrize("seed", range(8))
def test_a_tester_s_figures_that_follow_from_its_deals_agree_whatever_the_robot_did(seed, mode):
    robot = Robot(symbols=("EURUSD", "XAUUSD"), ways=(1,) if mode is MarginMode.NETTING else (1, -1), most=6)
    found = figures(backtest_html(trade(robot, seed, 60)), MarginMode.HEDGING)
    assert [figure for figure in found.values() if figure.state is State.DIFFERS] == []
    left = {name for name in found if found[name].state is State.NOT_CHECKABLE and found[name].reason != "not in the deals"}
    assert left <= {f"position_holding_time_{which}" for which in ("minimal", "maximal", "average")}


def test_a_changed_figure_of_a_tester_differs_and_no_other_does():
    above, block, beside = backtest_rows(SINGLE)
    rows = [*above, *block, *beside]
    for name, at in zip(TESTER_FIGURES, parts_of(rows), strict=True):
        number, column, _ = at
        is_negative = name == "lr_correlation" and rows[number][column].value < 0
        by = 1 if is_negative else -1  # a larger correlation may be right
        found = figures(backtest_html(SINGLE, rows=changed(rows, at, by)))
        differing = [figure.name for figure in found.values() if figure.state is State.DIFFERS]
        assert differing == ([] if found[name].reason == "not in the deals" else [name])
    at = list(parts_of(rows))[TESTER_FIGURES.index("equity_drawdown_maximal")]
    found = figures(backtest_html(SINGLE, rows=changed(rows, at, 20_000)))
    assert [figure.name for figure in found.values() if figure.state is State.DIFFERS] == ["recovery_factor"]


@pytest.mark.parametrize(
    ("build", "name", "reason"),
    [
        (2191, "sharpe_ratio", "equity between the deals"),
        (5000, "sharpe_ratio", "equity between the deals"),
        (None, "sharpe_ratio", "equity between the deals"),
    ],
)
def test_what_newer_testers_define_otherwise_is_not_compared(build, name, reason):
    figure = figures(backtest_html(SINGLE, build=build))[name]
    assert (figure.state, figure.ours) == (State.NOT_CHECKABLE, None)
    assert figure.reason is not None
    assert reason in figure.reason


def test_a_larger_correlation_is_not_explained_and_a_smaller_one_or_one_above_one_differs():
    above, block, beside = backtest_rows(SINGLE)
    rows = [*above, *block, *beside]
    at = (6, 1, 0)
    assert rows[6][1].label == "correlation"
    sign = 1 if rows[6][1].value > 0 else -1
    for by, state in ((1, State.NOT_CHECKABLE), (-1, State.DIFFERS), (200, State.DIFFERS), (-190, State.DIFFERS)):
        figure = figures(backtest_html(SINGLE, rows=changed(rows, at, sign * by)))["lr_correlation"]
        assert figure.state is state


def test_a_tester_of_2016_shows_no_holding_times():
    above, block, beside = backtest_rows(SINGLE)
    none = [[cell.__class__(cell.label, cell.form, cell.value * 0) for cell in row] for row in beside]
    found = figures(backtest_html(SINGLE, rows=[*above, *block, *none]))
    times = [figure for name, figure in found.items() if name.startswith("position_holding_time_")]
    assert {(figure.state, figure.reason) for figure in times} == {
        (State.NOT_CHECKABLE, "testers of 2016 show 0 for every holding time")
    }


def test_where_closes_have_a_choice_the_longest_holding_time_is_no_difference():
    crowded = trade(Robot(ways=(1,), most=6, partial_chance=0), 5, 60)
    above, block, beside = backtest_rows(crowded)
    rows = [*above, *block, *beside]
    found = figures(backtest_html(crowded, rows=changed(rows, (len(rows) - 1, 1, 0), 77)))
    assert found["position_holding_time_maximal"].state is State.NOT_CHECKABLE
    assert found["position_holding_time_maximal"].reason == "the report does not state which position a deal closes"


def test_ratios_that_a_workbook_shows_with_two_decimals_are_compared_with_two():
    rounded = terminal(HISTORY, "xlsx", write=lambda _, honest: round(honest, 2) if isinstance(honest, Decimal) else honest)
    assert states(figures(rounded)) == {"agreed": 37}


def test_a_ratio_that_is_rounded_more_than_the_others_differs():
    short = terminal(
        HISTORY, "xlsx", write=lambda cell, honest: round(Decimal(honest), 1) if cell.label == "factor" else honest
    )  # fmt: skip
    assert figures(short)["profit_factor"].state is State.DIFFERS


@pytest.mark.parametrize(
    ("label", "before", "after", "expected"),
    [
        ("short", "%", "", "expected a per cent"),
        ("drawdown maximal", "%", "", "expected a per cent"),
        ("trades", "", "%", "expected a number without %"),
        ("drawdown maximal", " (", "% (", "expected a number without %"),
        ("trades", "", " (5)", "expected a number without brackets"),
        ("wins", " (", " ", "expected a number with another in brackets"),
        ("net", "", "0:00:01", "expected a number"),
    ],
)
def test_a_figure_of_another_form_is_named_with_what_was_expected(label, before, after, expected):
    def write(cell: Cell, honest: str | Decimal) -> str | Decimal:
        if cell.label != label:
            return honest
        return str(honest).replace(before, after) if before else after if ":" in after else f"{honest}{after}"

    left = [figure for figure in figures(terminal(HISTORY, "html", write=write)).values() if figure.state is not State.AGREED]
    assert left
    for figure in left:
        assert figure.state is State.NOT_CHECKABLE
        assert (figure.reason or "").startswith(expected)


def test_money_to_the_cent_in_brackets_and_outside():
    statement = statement_of(terminal(HISTORY, "xlsx"), "report")
    assert statement.results is not None
    for name in ("gross_profit", "balance_drawdown_maximal", "maximal_consecutive_loss"):
        assert statement.results.figures[name].decimals == 2


@pytest.mark.parametrize("kind", KINDS)
def test_an_import_of_a_falsified_report_exits_1_and_names_the_figure(tmp_path, kind):
    rows = rows_of(HISTORY)
    path = tmp_path / f"report.{kind}"
    at = list(parts_of(rows))[TERMINAL_FIGURES.index("balance_drawdown_relative_percent")]
    path.write_bytes(terminal(HISTORY, kind, rows=changed(rows, at, 9)))
    journal = f"sqlite:///{tmp_path}/desk.db"
    done = run("import", str(path), "--server-tz", "ny-close", journal=journal)
    assert done.code == 1
    assert "Balance Drawdown Relative, %: ours " in " ".join(done.text.split())
    (report,) = run("import", str(path), "--json", journal=journal).json()["files"]
    check = report["checks"]["results"]
    assert (report["agrees"], check["checked"], check["agreed"], check["not_checkable"]) == (False, 37, 36, 0)
    assert [one["what"] for one in check["disagreements"]] == ["Balance Drawdown Relative, %"]
    assert [name for name, state in check["figures"].items() if state != "agreed"] == ["balance_drawdown_relative_percent"]


def test_what_is_not_checkable_is_printed_with_its_reason(tmp_path):
    path = tmp_path / "tester.html"
    path.write_text(backtest_html(SINGLE, build=5000))
    words = ("import", str(path), "--account", "Tester/1", "--mode", "hedging", "--dry-run")
    journal = f"sqlite:///{tmp_path}/desk.db"
    done = run(*words, journal=journal)
    assert done.code == 0
    text = " ".join(done.text.split())
    assert "not checkable: 13 figures: not in the deals: Bars, Ticks, Symbols and 10 more" in text
    assert "not checkable: Sharpe Ratio: testers of builds after 2190 define it on equity between the deals" in text
    assert " ".join(run(*words, "--verbose", journal=journal).text.split()).count("not checkable: ") == 14
    (report,) = run(*words, "--json", journal=journal).json()["files"]
    check = report["checks"]["results"]
    assert (check["checked"], check["agreed"], check["not_checkable"], len(check["reasons"])) == (46, 46, 14, 14)
    assert check["figures"]["sharpe_ratio"] == "not checkable"


def test_a_report_without_any_deal_has_its_zeros_proved(tmp_path):
    path = tmp_path / "report.html"
    path.write_bytes(terminal(HISTORY.window(0, 0), "html"))
    done = run("import", str(path), "--json", journal=f"sqlite:///{tmp_path}/desk.db")
    check = done.json()["files"][0]["checks"]["results"]
    assert (done.code, check["checked"], check["agreed"], check["not_checkable"]) == (0, 35, 35, 2)
    assert {one["figure"] for one in check["reasons"]} == {"balance", "credit_facility"}


def test_a_section_whose_deals_were_removed_differs():
    statement = statement_of(terminal(HISTORY, "html"), "report")
    last = next(deal for deal in reversed(statement.deals) if deal.entry == 1)
    shorter = evolve(statement, deals=tuple(deal for deal in statement.deals if deal is not last))
    found = check_results(shorter, attribute(shorter, MarginMode.HEDGING)) or ()
    assert {"total_net_profit", "total_trades"} <= {figure.name for figure in found if figure.state is State.DIFFERS}
