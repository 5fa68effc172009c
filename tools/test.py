"""This script is how the project is checked, by people and by CI alike.

    python3 tools/test.py                       # lint, types, the manual, all tests, and that nothing has become slow
    python3 tools/test.py --quick               # lint, types, the manual, unit and meta tests: an answer in two minutes
    python3 tools/test.py --lint                # lint and types
    python3 tools/test.py --no-lint             # all tests
    python3 tools/test.py --partitioned         # what is tested with journals, all on Postgres partitioned
    python3 tools/test.py tests/unit -k netting # what pytest makes of these words, nothing else

It makes its own ``.venv`` (see ``bootstrap``) and needs the network for that once. The exit code is 0 only if
everything passed. With ``CI=true`` a skipped test is a failure: nothing goes unchecked without a word.

All tests run with the native loop, built by cargo: Python does each fold, for the test to see, and the native loop does it
again, and has to come to the same (``tests/support/both_ways.py``). What tests packed rows runs once more with it switched off.
Without cargo the tests run without the native loop; in CI cargo has to be there.
"""

import os
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # Python looks in the folder of a script, not in the project

from tools.dev import bootstrap, native

#: What is checked while working: stories of every rule, and the project about itself. They start few processes.
QUICK = ("tests/unit", "tests/meta")

#: What comes another way where there is no native loop: packed rows, and replays of them.
PACKED = ("tests/property/test_packed.py", "tests/property/test_segments.py", "tests/contract/test_segments.py")

#: What is tested with journals, but for what is about a plain one: its definitions, and the plans that it has.
WITH_JOURNALS = (
    "tests/contract", "tests/property", "--ignore=tests/contract/test_partitions.py",
    "--ignore=tests/contract/test_query_plans.py",
    "--deselect=tests/contract/test_migrations.py::test_both_databases_have_the_same_columns_in_the_same_order",
)  # fmt: skip

#: The one reason for which a test may be skipped: real exports are beside the project, and are never part of it.
_NOT_SHIPPED = "the sample exports are not at"


class Step(NamedTuple):
    """One thing that is checked: its name, what checks it, as words behind ``python``, and more for its environment."""

    name: str
    command: list[str]
    environment: dict[str, str] = {}  # noqa: RUF012  # nobody changes it


class Outcome(NamedTuple):
    """How a step ended: its exit code and how long it took."""

    name: str
    code: int
    seconds: float


def main(arguments: list[str]) -> int:
    """Run the steps that the arguments ask for; return the first exit code that is not 0."""
    if arguments and arguments[0] in ("-h", "--help"):
        print(__doc__)
        return 0
    python = str(bootstrap.ready(bootstrap.DEV_LOCK))
    with tempfile.TemporaryDirectory(prefix="ledger-test-") as folder:
        report = Path(folder) / "report.xml"
        outcomes = [_run(python, step) for step in _steps(arguments, report)]
        outcomes += _nothing_skipped(report)
    _print_summary(outcomes)
    return next((outcome.code for outcome in outcomes if outcome.code), 0)


def _steps(arguments: list[str], report: Path) -> list[Step]:
    words = [word for word in arguments if word not in ("--quick", "--lint", "--no-lint", "--partitioned")]
    pytest = ["-m", "pytest", f"--junit-xml={report}"]
    if words:
        return [Step("tests", [*pytest, *words])]
    lint = [
        Step("lint", ["-m", "ruff", "check", "."]),
        Step("format", ["-m", "ruff", "format", "--check", "."]),
        Step("types", ["-m", "mypy"]),
    ]
    manual = Step("manual", ["-m", "mkdocs", "build", "--strict", "--site-dir", str(report.parent / "manual")])
    on_every_core = [*pytest, "-q", "-n", str(_cpu_count()), "--dist", "worksteal"]  # slow tests come together, at the end
    speed = Step("speed", ["tools/bench/run.py", "--check"])
    if "--lint" in arguments:
        return lint
    if "--quick" in arguments:
        return [*lint, manual, Step("quick tests", [*on_every_core, *QUICK])]
    if "--partitioned" in arguments:
        return [Step("partitioned", [*on_every_core, *WITH_JOURNALS], {"LEDGER_TEST_PARTITIONED": "1"})]
    tests = _all_tests(on_every_core)
    return tests if "--no-lint" in arguments else [*lint, manual, *tests, speed]


def _all_tests(pytest: list[str]) -> list[Step]:
    """Return the steps that run all tests: with the native loop on and off, where it can be built."""
    if native.cargo() is None and not os.environ.get("CI"):
        print("cargo was not found: the tests run without the native loop")
        return [Step("tests", pytest)]
    both = Step("tests", [*pytest, "-p", "tests.support.both_ways"], {"PYTHONPATH": str(native.build())})
    without_report = [word for word in pytest if not word.startswith("--junit-xml")]
    return [both, Step("without native", [*without_report, *PACKED], {native.SWITCH: "0"})]


def _cpu_count() -> int:
    usable = getattr(os, "sched_getaffinity", None)  # in a container less than there are; not on every system
    return len(usable(0)) if usable else os.cpu_count() or 1


def _run(python: str, step: Step) -> Outcome:
    print(f"\n[{step.name}] {' '.join(step.command)}", flush=True)
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME")}
    environment |= step.environment | {"NO_MKDOCS_2_WARNING": "1"}  # its theme advertises a successor in every build
    started = time.monotonic()
    run = subprocess.run([python, *step.command], cwd=str(bootstrap.ROOT), env=environment, check=False)
    return Outcome(step.name, run.returncode, time.monotonic() - started)


def _nothing_skipped(report: Path) -> list[Outcome]:
    """In CI, fail for skipped tests and name them; elsewhere print nothing, pytest has shown them."""
    if os.environ.get("CI", "").lower() not in ("1", "true") or not report.exists():
        return []
    cases = ET.parse(report).getroot().iter("testcase")  # noqa: S314  # pytest wrote it a moment ago
    skipped = [case for case in cases if _is_skipped(case)]
    for case in skipped:
        print(f"skipped, which CI does not allow: {case.get('classname')}.{case.get('name')}".replace(": .", ": "))
    return [Outcome("nothing skipped", 1 if skipped else 0, 0.0)]


def _is_skipped(case: ET.Element) -> bool:
    mark = case.find("skipped")
    if mark is None or mark.get("type") == "pytest.xfail":  # a whole module that is skipped has no type
        return False
    return _NOT_SHIPPED not in f"{mark.get('message')} {mark.text}"


def _print_summary(outcomes: list[Outcome]) -> None:
    print()
    for outcome in outcomes:
        verdict = "ok" if outcome.code == 0 else f"FAILED (exit code {outcome.code})"
        print(f"{outcome.name:<16}{outcome.seconds:7.1f} s  {verdict}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
