"""What README shows runs as it is written."""

from __future__ import annotations

import re
from pathlib import Path

from ledger import Ledger
from ledger.gateway.sandbox.client import Sandbox

ROOT = Path(__file__).resolve().parents[2]


def examples() -> list[str]:
    return re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)


def run(example: str) -> None:
    exec(compile(example, "README.md", "exec"), {})  # noqa: S102  # it is ours, and that is the test


def test_the_examples_of_an_engine_run(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    recording, reconciling, ordering = examples()
    run(recording)
    assert capsys.readouterr().out.splitlines() == ["0.10000000", "0.000000"]
    assert (tmp_path / "desk.db").exists()
    (tmp_path / "another").mkdir()
    monkeypatch.chdir(tmp_path / "another")
    Ledger.create("sqlite:///desk.db").close()
    with Sandbox.start("--server", "Broker-Live", "--positions", "2") as sandbox:
        assert "tcp://127.0.0.1:5555" in reconciling
        run(reconciling.replace("tcp://127.0.0.1:5555", sandbox.endpoint))
        run(ordering.replace("tcp://127.0.0.1:5555", sandbox.endpoint))
        assert len(sandbox.books()["positions"]) == 3
    assert capsys.readouterr().out.splitlines() == ["SUCCESS 3", "filled 0.10000000"]


def test_every_command_that_readme_names_is_there():
    from ledger.cli import COMMANDS

    text = (ROOT / "README.md").read_text(encoding="utf-8")
    table = text[text.index("| command | does |") :].partition("\n\n")[0]
    named = {
        word for line in table.splitlines() if line.startswith("| `") for word in re.findall(r"[a-z]+", line.split("|")[1])
    }
    assert set(COMMANDS) <= named
