"""Laws of imports: which files come first makes no difference, and exports that leave no gap agree with the broker."""

from __future__ import annotations

import tempfile
from pathlib import Path

from hypothesis import example, given
from hypothesis import strategies as st

from ledger import AccountId, Ledger
from ledger.importer import FileReport, ImportOptions, import_files
from ledger.json_views import Json, replay_json
from tools.samples.history import LOGIN, SERVER, History, make_history, render_csv, render_html, render_xlsx

_RENDER = {"html": render_html, "xlsx": render_xlsx, "csv": render_csv}


def _cut(history: History, at: int) -> int:
    """Move a cut to the end of a second: nobody can export half of one."""
    seconds = [deal.time_msc // 1000 for deal in history.deals]
    while 0 < at < len(seconds) and seconds[at] == seconds[at - 1]:
        at += 1
    return at


def _write(history: History, windows: list[tuple[int, int, str]], folder: Path) -> list[Path]:
    paths = []
    for number, (first, last, form) in enumerate(windows):
        path = folder / f"{number}.{form}"
        path.write_bytes(_RENDER[form](history.window(_cut(history, first), _cut(history, last))))
        paths.append(path)
    return paths


def _import_all(mode: str, paths: list[Path]) -> tuple[list[FileReport], Json]:
    options = ImportOptions(account=AccountId(SERVER, LOGIN), mode=mode, currency="USD")
    with Ledger.open("memory://") as ledger:
        reports = [import_files(ledger, [path], options=options)[0] for path in paths]
        assert ledger.verify().ok
        portfolio = ledger.account(AccountId(SERVER, LOGIN)).portfolio
        return reports, replay_json(portfolio, until=None, known_at=None, version=0, head="", selected=0)


@st.composite
def exports(draw):
    mode = draw(st.sampled_from(["hedging", "netting"]))
    history = make_history(draw(st.integers(0, 500)), mode, draw(st.integers(2, 40)))
    count = len(history.deals)
    forms = st.sampled_from(sorted(_RENDER))
    windows = [(0, count, draw(forms))]
    for _ in range(draw(st.integers(0, 3))):
        first = draw(st.integers(0, count - 1))
        windows.append((first, draw(st.integers(first + 1, count)), draw(forms)))
    return mode, history, draw(st.permutations(windows)), draw(st.permutations(range(len(windows))))


@given(exports())
def test_the_order_of_imports_makes_no_difference_in_the_end(case):
    mode, history, windows, order = case
    with tempfile.TemporaryDirectory() as name:
        paths = _write(history, windows, Path(name))
        _, one = _import_all(mode, paths)
        _, other = _import_all(mode, [paths[at] for at in order])
    assert one == other


@given(
    st.sampled_from(["hedging", "netting"]), st.integers(0, 500), st.integers(4, 60), st.lists(st.integers(1, 59), max_size=3)
)
@example("netting", 7, 22, [20])  # a reversal of a position that was opened in the export before
@example("netting", 290, 66, [])  # an average exactly between two prices
def test_exports_without_a_gap_agree_with_the_broker_or_state_what_they_leave_open(mode, seed, deals, cuts):
    history = make_history(seed, mode, deals)
    ends = sorted({_cut(history, min(cut, len(history.deals))) for cut in cuts} | {len(history.deals)})
    starts = [0, *ends[:-1]]
    with tempfile.TemporaryDirectory() as name:
        windows = [(first, last, "html") for first, last in zip(starts, ends, strict=True)]
        reports, item = _import_all(mode, _write(history, windows, Path(name)))
    assert sum(report.appended for report in reports) == len(history.deals)
    balances = [check for report in reports for check in report.checks if check.name in ("balance column", "account figures")]
    assert [check for check in balances if check.disagreements] == []
    if mode == "hedging" and any("left unattributed" in note for report in reports for note in report.notes):
        return  # closes whose position was opened before a file may fit two positions; then it is reported, not guessed
    assert [report for report in reports if not report.agrees] == []
    assert [check.doubts for report in reports for check in report.checks if check.doubts] == []
    assert item["unexplained"] == item["breaks"] == []
    assert {position["position_id"] for position in item["positions"]} == {row.position_id for row in history.open}
