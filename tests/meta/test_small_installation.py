"""Beside a terminal a few packages suffice: ``requirements-gateway.lock`` and the wheel without the rest that it depends on."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from tests.support.packaging import ROOT, copy_package, install_wheel, make_empty_environment

LEFT_OUT = {"alembic", "cryptography", "python_calamine", "rich", "sqlalchemy"}


@pytest.fixture(scope="module")
def python(tmp_path_factory, wheel):
    python = make_empty_environment(tmp_path_factory.mktemp("small") / "environment")
    for name in re.findall(r"^([\w-]+)==", (ROOT / "requirements-gateway.lock").read_text(encoding="utf-8"), re.MULTILINE):
        copy_package(name, python)
    install_wheel(wheel, python)
    return python


def run(python: Path, *words: str, code: int = 0) -> str:
    done = subprocess.run([str(python), *words], cwd=python.parent, capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


def modules() -> list[str]:
    paths = (path.relative_to(ROOT).with_suffix("") for path in (ROOT / "ledger").rglob("*.py"))
    return sorted(".".join(path.parts).removesuffix(".__init__") for path in paths)


def test_all_can_be_imported_but_what_is_loaded_when_a_journal_in_a_database_is_opened(python):
    wanted = [
        name for name in modules() if not name.startswith(("ledger.journal.", "ledger.metrics.", "ledger.page."))
    ]  # the last two: extras
    assert {
        "ledger.codec",
        "ledger.gateway.client",
        "ledger.gateway.server",
        "ledger.gateway.sandbox.server",
        "ledger.cli.sandbox",
    } <= {*wanted}
    program = f"import importlib, sys\nfor name in {wanted}: importlib.import_module(name)\nprint(*sorted(sys.modules))"
    assert LEFT_OUT.isdisjoint(run(python, "-I", "-c", program).split())


def test_every_public_name_is_there(python):
    assert "Ledger" in run(python, "-I", "-c", "import ledger\nprint(*[getattr(ledger, name) for name in ledger.__all__])")


def test_a_sandbox_answers_a_client(python):
    program = """
from ledger import open_gateway
from ledger.gateway.sandbox.client import Sandbox
with Sandbox.start("--positions", "2") as sandbox:
    gateway = open_gateway(sandbox.endpoint)
    print(len(gateway.positions().positions))
    gateway.close()
"""
    assert run(python, "-I", "-c", program).strip() == "2"


def test_events_are_recorded_in_memory(python):
    program = """
from ledger import Ledger
with Ledger.open("memory://") as ledger:
    account = ledger.account("Broker", 7)
    account.open(currency="USD", mode="hedging", clock="ny-close")
    print(ledger.verify().ok)
"""
    assert run(python, "-I", "-c", program).strip() == "True"


def test_the_command_makes_keys_for_a_gateway(python, tmp_path):
    output = run(python.with_name("mt5-ledger"), "keys", "make", "server", "--dir", str(tmp_path))
    assert "public key" in output


def test_a_journal_in_a_file_needs_no_more(python, tmp_path):
    output = run(python.with_name("ledger"), "init", "--journal", f"sqlite:///{tmp_path}/desk.db")
    assert "was created" in output


def test_a_command_that_needs_more_names_what_is_missing(python):
    output = run(python.with_name("ledger"), "init", "--journal", "postgresql://nobody@127.0.0.1:1/desk", code=2)
    assert "this needs the package sqlalchemy, which is not installed here" in output
    assert "Traceback" not in output


def test_the_environment_holds_nothing_else(python):
    program = "from importlib.metadata import distributions\nprint(*sorted(one.name for one in distributions()))"
    assert run(python, "-I", "-c", program).split() == ["attrs", "click", "msgspec", "mt5-position-ledger", "pyzmq", "tzdata"]
