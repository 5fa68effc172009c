"""This pytest plugin has the folds of every test done both ways, in Python and by the native loop, and compares the two.

    PYTHONPATH=$(python3 tools/dev/native.py build) python -m pytest -p tests.support.both_ways tests/unit

Journals of tests are small and have no packed rows, so that the native loop would hardly be used. Here the rows of each fold
are packed as well, and the native loop folds them onto the same state. A test sees what Python made, and fails if the native
loop came to another state, other trades or another error. So one run shows that the tests pass with it and without it.
Of a test that folds more than some hundred times, one fold in ten is compared from then on.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import wraps
from types import MethodType
from typing import Any, Final, NamedTuple

import pytest

from ledger import portfolio
from ledger.holdings import TradeSink
from ledger.portfolio import Decode, Portfolio, QuickRows
from ledger.positions import OpenPosition
from ledger.postings import Row
from ledger.segments import native
from ledger.segments.packed import ROWS_MAX, Packed

#: With more positions than this for each row, what is compared is not in proportion to what is folded.
_HELD_PER_ROW: Final = 200
#: So many folds of a test are compared, and of those behind them one in so many: a property folds the same again and again.
_COMPARED: Final = 200
_ONE_IN: Final = 10
_fold: Final = Portfolio.fold
_counts: Final = {"folds": 0, "rows": 0}
_of_test: Final = {"folds": 0}


class _Outcome(NamedTuple):
    state: dict[str, Any] | None
    trades: list[list[Any]]
    error: str | None


@wraps(_fold)
def fold_both_ways(
    self: Portfolio, rows: Iterable[Row] | QuickRows, decode: Decode, trades: TradeSink = portfolio._ignore
) -> None:
    if isinstance(rows, QuickRows) or isinstance(self.holdings.open, native.NativeOpen):
        _fold(self, rows, decode, trades)  # the native loop, or what it gives back
        return
    found = rows if isinstance(rows, list) else list(rows)
    _of_test["folds"] += 1
    is_left_out = _of_test["folds"] > _COMPARED and _of_test["folds"] % _ONE_IN
    if is_left_out or not found or self.holdings.size > _HELD_PER_ROW * len(found):
        _fold(self, rows if isinstance(rows, list) else iter(found), decode, trades)
        return
    before = self.state()
    left: list[list[Any]] = []

    def noted(position: OpenPosition) -> None:
        left.append(position.fields())
        trades(position)

    try:
        _fold(self, rows if isinstance(rows, list) else iter(found), decode, noted)
    except Exception as exc:
        _compare(self, before, found, decode, _Outcome(None, left, type(exc).__name__))
        raise
    _compare(self, before, found, decode, _Outcome(self.state(), left, None))


def _compare(folded: Portfolio, before: dict[str, Any], rows: list[Row], decode: Decode, expected: _Outcome) -> None:
    packs = _packs(rows)
    if packs is None:  # damaged rows are in no segment
        return
    found = _folded_natively(Portfolio.from_state(folded.terms, before), packs, decode)
    if found != expected:
        pytest.fail(f"the native loop folds {rows} onto {before} to\n{found}\nPython to\n{expected}")  # nothing catches this
    _counts["folds"] += 1
    _counts["rows"] += len(rows)


def _packs(rows: list[Row]) -> list[Packed] | None:
    try:
        return [Packed.pack(rows[begin : begin + ROWS_MAX]) for begin in range(0, len(rows), ROWS_MAX)]
    except TypeError:
        return None


def _folded_natively(twin: Portfolio, packs: list[Packed], decode: Decode) -> _Outcome:
    twin.fold = MethodType(_fold, twin)  # type: ignore[method-assign]  # or what is given back would be compared, too
    library = native.library()
    assert library is not None, "the native loop is not installed: put what tools/dev/native.py build prints into PYTHONPATH"
    held = native.NativeOpen(library, twin.holdings)  # however few rows there are
    twin.holdings.open, twin.holdings.ids = held, held.ids
    left: list[list[Any]] = []
    try:
        for packed in packs:
            _fold(twin, native.NativeSlice(packed), decode, lambda position: left.append(position.fields()))
    except Exception as exc:  # noqa: BLE001  # it is compared
        return _Outcome(None, left, type(exc).__name__)
    return _Outcome(twin.state(), left, None)


# ---- the plugin


def pytest_configure(config: pytest.Config) -> None:
    if native.library() is None:
        raise pytest.UsageError(
            "expected the native loop, found none: run tools/dev/native.py build, and see this plugin's text"
        )
    Portfolio.fold = fold_both_ways  # type: ignore[method-assign]


def pytest_runtest_setup() -> None:
    _of_test["folds"] = 0


def pytest_unconfigure() -> None:
    Portfolio.fold = _fold  # type: ignore[method-assign]


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Report to the process that started this one, if it is a worker."""
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput[__name__] = _counts


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    for name, count in getattr(node, "workeroutput", {}).get(__name__, {}).items():
        _counts[name] += count


def pytest_terminal_summary(terminalreporter: Any) -> None:
    terminalreporter.write_line(f"{_counts['folds']:,} folds of {_counts['rows']:,} rows came to the same by the native loop")
