"""One command checks the project; its words choose how much of it."""

from __future__ import annotations

import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LINT = ["lint", "format", "types"]


@pytest.mark.parametrize(
    ("words", "names"),
    [
        ([], [*LINT, "tests", "speed"]),
        (["--no-lint"], ["tests"]),
        (["--lint"], LINT),
        (["--quick"], [*LINT, "quick tests"]),
        (["tests/unit", "-k", "netting"], ["tests"]),
    ],
)
def test_the_words_choose_what_is_checked(words, names, monkeypatch, tmp_path):
    steps = the_command(monkeypatch)._steps(words, tmp_path / "report.xml")
    assert [step.name for step in steps] == names


def test_the_quick_tests_are_some_of_all_tests(monkeypatch, tmp_path):
    command = the_command(monkeypatch)
    [*_, quick] = command._steps(["--quick"], tmp_path / "report.xml")
    assert quick.command[-len(command.QUICK) :] == [*command.QUICK]
    assert all((ROOT / folder).is_dir() for folder in command.QUICK)


def the_command(monkeypatch):
    monkeypatch.setattr(sys, "path", [str(ROOT / "tools"), *sys.path])
    spec = spec_from_file_location("the_command", ROOT / "tools" / "test.py")  # Python has a package of its own named test
    assert spec
    assert spec.loader
    command = module_from_spec(spec)
    spec.loader.exec_module(command)
    return command
