"""One command checks the project; its words choose how much of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools import test as command

ROOT = Path(__file__).resolve().parents[2]
LINT = ["lint", "format", "types"]


@pytest.mark.parametrize(
    ("words", "names"),
    [
        ([], [*LINT, "manual", "tests", "speed"]),
        (["--no-lint"], ["tests"]),
        (["--lint"], LINT),
        (["--quick"], [*LINT, "manual", "quick tests"]),
        (["tests/unit", "-k", "netting"], ["tests"]),
    ],
)
def test_the_arguments_choose_what_is_checked(words, names, tmp_path):
    steps = command._steps(words, tmp_path / "report.xml")
    assert [step.name for step in steps] == names


def test_the_quick_tests_are_some_of_all_tests(tmp_path):
    [*_, quick] = command._steps(["--quick"], tmp_path / "report.xml")
    assert quick.command[-len(command.QUICK) :] == [*command.QUICK]
    assert all((ROOT / folder).is_dir() for folder in command.QUICK)
