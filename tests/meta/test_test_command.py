"""One command checks the project; its words choose how much of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from ledger.segments.native import SWITCH
from tools import test as command
from tools.dev import native

ROOT = Path(__file__).resolve().parents[2]
LINT = ["lint", "format", "types"]


@pytest.fixture
def built(monkeypatch):
    monkeypatch.setattr(native, "cargo", lambda: "cargo")
    monkeypatch.setattr(native, "build", lambda: Path("/built"))


@pytest.mark.parametrize(
    ("words", "names"),
    [
        ([], [*LINT, "manual", "tests", "without native", "speed"]),
        (["--no-lint"], ["tests", "without native"]),
        (["--lint"], LINT),
        (["--quick"], [*LINT, "manual", "quick tests"]),
        (["tests/unit", "-k", "netting"], ["tests"]),
    ],
)
@pytest.mark.usefixtures("built")
def test_the_arguments_choose_what_is_checked(words, names, tmp_path):
    steps = command._steps(words, tmp_path / "report.xml")
    assert [step.name for step in steps] == names


@pytest.mark.usefixtures("built")
def test_all_tests_run_with_the_native_loop_and_those_of_packed_rows_without_it_too(tmp_path):
    both, without = command._steps(["--no-lint"], tmp_path / "report.xml")
    assert both.command[-2:] == ["-p", "tests.support.both_ways"]
    assert both.environment == {"PYTHONPATH": "/built"}
    assert without.command[-len(command.PACKED) :] == [*command.PACKED]
    assert without.environment == {SWITCH: "0"}
    assert not any("report.xml" in word for word in without.command)  # it is of all tests
    assert all((ROOT / file).is_file() for file in command.PACKED)


@pytest.mark.usefixtures("built")
def test_without_cargo_all_tests_run_without_the_native_loop_but_not_in_ci(tmp_path, monkeypatch):
    monkeypatch.setattr(native, "cargo", lambda: None)
    monkeypatch.delenv("CI", raising=False)
    [step] = command._steps(["--no-lint"], tmp_path / "report.xml")
    assert step.environment == {}
    assert "tests.support.both_ways" not in step.command
    monkeypatch.setenv("CI", "true")
    assert len(command._steps(["--no-lint"], tmp_path / "report.xml")) == 2


def test_the_quick_tests_are_some_of_all_tests(tmp_path):
    [*_, quick] = command._steps(["--quick"], tmp_path / "report.xml")
    assert quick.command[-len(command.QUICK) :] == [*command.QUICK]
    assert all((ROOT / folder).is_dir() for folder in command.QUICK)
