"""The native loop changes no rule: whatever is folded, in whatever parts, every portfolio and every trade is the same."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import zipfile
from itertools import pairwise
from pathlib import Path

import pytest

from ledger import postings
from ledger.health_checks import program_checks
from ledger.holdings import Holdings
from ledger.portfolio import Portfolio
from ledger.postings import Posting, Row
from ledger.segments import native
from ledger.segments.packed import COLUMNS, DamagedColumns, Packed, PackedSlice
from tests.property import test_segments
from tests.support import both_ways
from tests.support.packaging import ROOT, install_wheel, make_empty_environment
from tools.dev.native import PACKAGE, TARGET, build, cargo
from tools.testkit.hostile_postings import compare, folded, make_history

#: Of the library's source.
VERSION = re.findall(r'__version__: Final = "(.+)"', (ROOT / "native" / PACKAGE / "__init__.py").read_text(encoding="utf-8"))[0]


@pytest.fixture(scope="module")
def folder():
    """Build the library from its source."""
    if cargo() is None and not os.environ.get("CI"):
        pytest.skip("the native loop is compiled by cargo, which was not found")
    return build()


@pytest.fixture
def library(folder, monkeypatch):
    monkeypatch.syspath_prepend(folder)
    monkeypatch.delenv(native.SWITCH, raising=False)
    native.library.cache_clear()
    yield native.library()
    native.library.cache_clear()
    sys.modules.pop(PACKAGE, None)


@pytest.mark.usefixtures("library")
@pytest.mark.parametrize("first", range(0, 200, 50))
def test_hostile_histories_are_folded_to_the_same_portfolios_and_trades(first):
    outcomes = [compare(seed) for seed in range(first, first + 50)]
    assert sum(outcome.failure is None for outcome in outcomes) > 40  # more than that both fail
    assert sum(len(outcome.trades) for outcome in outcomes) > 50


def test_some_hostile_histories_hold_hundreds_of_positions_at_once():
    """The table of open positions in the library grows, and is full of others where one is removed."""
    held = []
    for seed in range(0, 100, 10):
        history = make_history(seed)
        portfolio = Portfolio(history.terms)
        counts = []
        for row in history.rows:
            portfolio.fold([row], history.decode)
            counts.append(len(portfolio.holdings.open))
        held.append(max(counts))
        assert sum(one > after for one, after in pairwise(counts)) > 30  # were closed
    assert min(held) > 32
    assert max(held) > 200


@pytest.mark.usefixtures("library")
def test_what_every_day_brings_is_not_given_back():
    history = make_history(1)
    fills = list(_everyday(5000))
    given_back: list[Row] = []

    class Watched(native.NativeSlice):
        def runs(self, holdings, trades):
            for run in super().runs(holdings, trades):
                given_back.extend(run.left)
                yield run

    found = folded(history, [Watched(Packed.pack(fills))])
    assert (found, given_back) == (folded(history, [fills]), [])
    assert len(found.trades) == 1250  # more than are returned at once


def _everyday(count):
    """Yield the opening of a position, more of it, and its close in two parts; then the next."""
    for number in range(count):
        position_id, part = divmod(number, 4)
        yield FILL._replace(
            time_msc=FILL.time_msc + 800 * number, deal=number + 1, version=number + 1, position_id=position_id + 1,
            entry=part // 2, deal_type=part // 2, profit=number,
        )  # fmt: skip


FILL = Posting(
    1_700_000_000_000, 1, 1, "FillRecorded", 0, 0, 1, None, "EURUSD", 2, 108_500_000, -3, 0, 0, 0, 7, None, 1
)  # fmt: skip


@pytest.mark.usefixtures("library")
def test_replays_of_segments_are_the_same_whatever_arrived_late(monkeypatch):
    monkeypatch.setattr(postings, "_WORTH_IT", 1)
    monkeypatch.setattr(native, "_WORTH_IT", 0)
    runs: list[int] = []
    fold = native.NativeOpen.fold

    def noted(held, *words):
        runs.append(1)
        return fold(held, *words)

    monkeypatch.setattr(native.NativeOpen, "fold", noted)
    test_segments.test_a_replay_with_segments_is_a_replay_of_the_rows()
    assert len(runs) > 10  # of a few postings each


@pytest.mark.usefixtures("library")
@pytest.mark.parametrize("on", ["twin", "origin"])
def test_of_two_portfolios_that_share_positions_each_folds_its_own(on, monkeypatch):
    monkeypatch.setattr(native, "_WORTH_IT", 0)
    for seed in range(150):
        history = make_history(seed)
        at = len(history.rows) // 2
        expected = [folded(history, [rows]) for rows in (history.rows, history.rows[:at])]
        if any(outcome.failure for outcome in expected):
            continue
        origin = Portfolio(history.terms)
        origin.fold(history.rows[:at], history.decode)
        twin = origin.copy()
        goes_on, stays = (twin, origin) if on == "twin" else (origin, twin)
        goes_on.fold(native.quick_slice(Packed.pack(history.rows[at:])), history.decode)
        assert [goes_on.state(), stays.state()] == [outcome.state for outcome in expected]


@pytest.mark.usefixtures("library")
def test_a_symbol_that_is_not_in_the_table_is_refused_and_never_read_beyond():
    fills = list(_everyday(40))
    packed = Packed.pack([row._replace(symbol=f"S{row.deal % 3}") for row in fills])
    damaged = Packed(40, packed.columns, packed.symbols[:2], packed.whole, b"[]")
    assert packed.columns[COLUMNS.index("symbol")].width == 1
    with pytest.raises(DamagedColumns, match="name 2 symbols, found another one"):
        list(native.NativeSlice(damaged).runs(Holdings(make_history(1).terms), None))


def test_it_is_used_where_it_is_installed_and_switched_off_by_the_environment(library, monkeypatch):
    packed = Packed.pack([])
    assert type(native.quick_slice(packed)) is native.NativeSlice
    assert f", native loop {VERSION}" in next(program_checks()).seen
    monkeypatch.setenv(native.SWITCH, "0")
    native.library.cache_clear()
    assert library is not None
    assert type(native.quick_slice(packed)) is PackedSlice
    assert f", no native loop ({VERSION} is switched off)" in next(program_checks()).seen


def test_a_library_of_another_version_is_left_alone_and_doctor_names_it(library, monkeypatch):
    other = library.ledger_native_abi() + 1
    monkeypatch.setattr(native, "ABI", other)
    native.library.cache_clear()
    assert native.library() is None
    assert f", no native loop ({VERSION} is of another version: install 0.{other}.x)" in next(program_checks()).seen


@pytest.mark.usefixtures("library")
def test_the_version_of_the_library_is_raised_with_what_it_expects_or_pip_would_replace_no_older_one():
    assert VERSION.startswith(f"0.{native.ABI}.")
    for file in ("Cargo.toml", "Cargo.lock"):
        assert f'version = "{VERSION}"\n' in (ROOT / "native" / file).read_text(encoding="utf-8")


@pytest.mark.parametrize("content", ["LIBRARY, __version__ = '/nowhere', '0'", "", "raise ImportError"])
def test_what_cannot_be_loaded_is_left_alone(content, tmp_path, monkeypatch):
    (tmp_path / f"{PACKAGE}.py").write_text(content, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, PACKAGE, raising=False)
    native.library.cache_clear()
    assert native.library() is None
    assert ", no native loop" in next(program_checks()).seen
    native.library.cache_clear()
    sys.modules.pop(PACKAGE, None)


@pytest.mark.usefixtures("library")
def test_a_test_run_both_ways_fails_where_the_native_loop_comes_to_something_else(monkeypatch):
    history = make_history(1)
    rows = list(_everyday(6))
    both_ways.fold_both_ways(Portfolio(history.terms), rows, history.decode)
    monkeypatch.setattr(native, "_wide", lambda low, high: low + (high << 64) + 1)
    with pytest.raises(pytest.fail.Exception, match="the native loop folds"):
        both_ways.fold_both_ways(Portfolio(history.terms), rows, history.decode)


@pytest.mark.usefixtures("library")
def test_movements_of_money_are_passed_over_and_folded_before_what_comes_behind_them():
    cash = FILL._replace(kind="CashMoved", deal_type=2, entry=None, position_id=None, symbol=None, volume=None, price=None)
    rows = [row for fill in _everyday(40) for row in (fill, cash._replace(time_msc=fill.time_msc, deal=100 + fill.deal))]
    history = make_history(1)
    runs: list[int] = []

    class Watched(native.NativeSlice):
        def runs(self, holdings, trades):
            for run in super().runs(holdings, trades):
                runs.append(len(list(run.left)))
                yield run

    found = folded(history, [Watched(Packed.pack(rows))])
    assert (found, runs) == (folded(history, [rows]), [40])


def test_every_cargo_that_the_source_is_written_for_can_build_it():
    """Before 1.78, cargo refuses a lock file of version 4, and the build does not let it write another one."""
    source = ROOT / "native"
    (oldest,) = re.findall(r'^rust-version = "(.+)"$', (source / "Cargo.toml").read_text(encoding="utf-8"), re.MULTILINE)
    assert (source / "Cargo.lock").read_text(encoding="utf-8").count("\nversion = 3\n") == 1
    for file in (source / "README.md", source / "hatch_build.py", ROOT / "README.md"):
        assert f" {oldest} or newer" in file.read_text(encoding="utf-8")


def test_at_exit_nothing_is_freed_that_somebody_may_still_fold(folder):
    """A thread that nobody waits for, as the page has one, folds on until Python ends it."""
    program = """
import atexit, sys
sys.path.insert(0, sys.argv[1])
freed = []
atexit.register(lambda: print("freed at exit:", len(freed)))  # the first is the last one called
from ledger.portfolio import Portfolio
from ledger.segments import native
from ledger.segments.packed import Packed
from tests.property.test_native import FILL
from tools.testkit.hostile_postings import make_history
native.library().ledger_native_free = freed.append
def fold():
    portfolio = Portfolio(make_history(1).terms)
    portfolio.fold(native.NativeSlice(Packed.pack([FILL])), None)
    assert isinstance(portfolio.holdings.open, native.NativeOpen)
    return portfolio
fold()
print("freed before:", len(freed))
freed.clear()
held = fold()
"""
    command = [sys.executable, "-c", program, str(folder)]
    environment = {name: value for name, value in os.environ.items() if name != native.SWITCH}
    run = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert run.stdout == "freed before: 1\nfreed at exit: 0\n", run.stderr


def test_its_wheel_is_for_this_platform_and_is_found_once_installed(folder, tmp_path):
    command = cargo()
    assert command is not None
    environment = {
        **os.environ, "CARGO_TARGET_DIR": str(TARGET / "target"),
        "PATH": os.pathsep.join((str(Path(command).parent), os.environ["PATH"])),
    }  # fmt: skip
    hatch = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(tmp_path / "wheel")]
    subprocess.run(hatch, cwd=ROOT / "native", env=environment, check=True, capture_output=True)
    (wheel,) = (tmp_path / "wheel").iterdir()
    assert wheel.name.startswith(f"mt5_position_ledger_native-{VERSION}-py3-none-")
    assert not wheel.name.endswith("-any.whl")
    files = {name.partition("/")[2] for name in zipfile.ZipFile(wheel).namelist() if name.startswith(f"{PACKAGE}/")}
    assert files == {file.name for file in (folder / PACKAGE).iterdir() if file.is_file()}
    python = make_empty_environment(tmp_path / "environment")
    install_wheel(wheel, python)
    program = f"import ctypes, {PACKAGE} as it; print(ctypes.CDLL(str(it.LIBRARY)).ledger_native_abi())"
    run = subprocess.run([python, "-I", "-c", program], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == str(native.ABI)
