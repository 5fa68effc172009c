"""This module is how the examples of the manual run: the blocks of a page, one after the other, in one folder and one shell.

A ``console`` block has commands behind ``$`` and below each what it prints; ``...`` there matches any text. A block with a
title is a file. A ``python`` block without one is executed. ``text`` is shown only. Commands of the ledger run in this process,
all others in a shell of their own. ``createdb`` and ``psql`` act on a Postgres server that is started for the page.

    python -m tests.support.manual docs/tutorial/export-to-answers.md    # write what the commands of a page print into it
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final, Self

import psycopg
import pytest
from attrs import define, field, frozen

from ledger.processes import own_command
from tests.support.commands import run
from tools.testkit.postgres import PostgresServer, start_postgres

ROOT: Final = Path(__file__).resolve().parents[2]
#: What a page may call without a path of its own: a link to each is made in the folder of the examples.
_FOLDERS: Final = ("tools", "deploy")
_BLOCK: Final = re.compile(r"^```(\w+)(?: title=\"([^\"]+)\")?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_SHELL_SYNTAX: Final = re.compile(r"[|<>&;]")
_DATABASE_HOST: Final = "db.example"
_ENDPOINT: Final = re.compile(r"tcp://127\.0\.0\.1:(\d+)")
_SANDBOX_PORTS: Final = ("5555", "5556")
#: What differs from run to run: times of today, heads, processes. Times of examples are of 2024.
_VARYING: Final = re.compile(
    r"20(?:2[5-9]|[3-9]\d)-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d(?:\.\d+)?)?Z?)?|\b[0-9a-f]{64}\b|\b[0-9a-f]{16}\b"
    r"|\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b"
    r"|(?<=last seen by )\S+(?=, process)|(?<=, process )\d+"
)
_LAST_LINE_OF_SANDBOX: Final = "interrupt to end"


@frozen
class Block:
    """One fenced block of a page: its language, its title and its text."""

    language: str
    title: str | None
    text: str


@frozen
class Example:
    """One command of a console block, and the lines that the page shows below it."""

    command: str
    shown: str

    def fits(self, printed: str) -> bool:
        """Return whether what a command printed is what the page shows."""
        pattern = re.escape(without_trailing_spaces(self.shown)).replace(re.escape("..."), ".*")
        return re.fullmatch(pattern, without_trailing_spaces(printed), re.DOTALL) is not None


def blocks(page: str) -> list[Block]:
    """Return the fenced blocks of a page, in order."""
    return [Block(*found.groups()) for found in _BLOCK.finditer(page)]


def examples(text: str) -> Iterator[Example]:
    """Yield the commands of a console block."""
    for part in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
        command, _, shown = part.partition("\n")
        yield Example(command, shown)


def without_trailing_spaces(text: str) -> str:
    """Return a text without the spaces at the ends of its lines, and without blank lines at its end."""
    return "\n".join(line.rstrip() for line in text.splitlines()).strip("\n")


@define
class Shell:
    """The shell in which a page's examples run: its folder, its variables and the last exit code.

    A sandbox runs at free ports; the page shows those that it has where nothing else is chosen.
    """

    monkeypatch: pytest.MonkeyPatch
    code: int = 0
    sandboxes: list[subprocess.Popen[str]] = field(factory=list)
    ports: dict[str, str] = field(factory=dict)
    postgres: PostgresServer | None = None

    @classmethod
    def enter(cls, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Self:
        """Make a folder the current one, with links to those of the project that commands are called from."""
        for name in _FOLDERS:
            (folder / name).symlink_to(ROOT / name, target_is_directory=True)
        monkeypatch.chdir(folder)
        monkeypatch.setenv("PATH", os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
        for name in (
            "LEDGER_JOURNAL",
            "GTW_HOST",
            "GTW_PORT",
            "GTW_TIMEOUT_MS",
            "SYNC_INTERVAL_SEC",
            "LEDGER_SEAL_KEY",
            "LEDGER_OPERATOR_KEY",
        ):
            monkeypatch.delenv(name, raising=False)
        return cls(monkeypatch)

    def call(self, command: str) -> str:
        """Run a command and return what it prints, with the page's ports."""
        if command.startswith("export "):
            name, _, value = self._with_real_places(command).removeprefix("export ").partition("=")
            self.monkeypatch.setenv(name, value)
            return ""
        if command == "echo $?":
            code, self.code = self.code, 0
            return f"{code}\n"
        printed = self._called(self._with_real_places(command))
        if self.postgres is not None:
            printed = printed.replace(f"127.0.0.1:{self.postgres.port}", _DATABASE_HOST)
        return _with_ports(printed, {real: shown for shown, real in self.ports.items()})

    def write(self, block: Block) -> None:
        """Write a block with a title as a file."""
        assert block.title is not None
        path = Path(block.title)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(self._with_real_places(block.text), encoding="utf-8")
        path.chmod(0o644)

    def close(self) -> None:
        """End the sandboxes and the database server that were started."""
        for sandbox in self.sandboxes:
            sandbox.terminate()
            sandbox.communicate()
        if self.postgres is not None:
            self.postgres.stop()

    def _called(self, command: str) -> str:
        words = shlex.split(command)
        if words[:2] == ["ledger", "sandbox"]:
            return self._start_sandbox(words[2:])
        if words[0] in ("createdb", "psql"):
            return self._use_postgres(words)
        if words[0] == "ledger" and not _SHELL_SYNTAX.search(command):
            ran = run(*words[1:])
            self.code = ran.code
            return ran.text
        done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
        self.code = done.returncode
        return done.stdout + done.stderr

    def _start_sandbox(self, options: list[str]) -> str:
        command = own_command("ledger", "sandbox", "--port", "0", "--control-port", "0", *options)
        assert command is not None
        sandbox = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.sandboxes.append(sandbox)
        assert sandbox.stdout is not None
        printed = ""
        for line in sandbox.stdout:
            printed += line
            if line.strip() == _LAST_LINE_OF_SANDBOX:
                break
        self.ports = dict(zip(_SANDBOX_PORTS, _ENDPOINT.findall(printed), strict=False))
        return printed

    def _use_postgres(self, words: list[str]) -> str:
        """Do what the two programs of Postgres would, which the tests' server comes without."""
        if self.postgres is None:
            self.postgres = start_postgres()
        if words[0] == "createdb":
            text = f"CREATE DATABASE {words[-1]} TEMPLATE template0 ENCODING 'UTF8'"
            database = self.postgres.url()
        else:
            name, option, what = words[words.index("-d") + 1 :]
            text = Path(what).read_text(encoding="utf-8") if option == "-f" else what
            database = self._with_real_places(name) if "://" in name else self.postgres.url(name)
        self.code = 0
        with psycopg.connect(database.replace("+psycopg", ""), autocommit=True) as connection:
            try:
                connection.execute(text.encode())
            except psycopg.Error as error:
                self.code = 1
                return f"ERROR:  {error.diag.message_primary}\n"
        return ""

    def _with_real_places(self, text: str) -> str:
        if self.postgres is not None:
            text = text.replace(f"@{_DATABASE_HOST}/", f"@127.0.0.1:{self.postgres.port}/")
        return _with_ports(text, self.ports)


def _with_ports(text: str, ports: dict[str, str]) -> str:
    return re.sub(r"(?<=127\.0\.0\.1:)\d+", lambda found: ports.get(found[0], found[0]), text)


def play(page: str, shell: Shell) -> Iterator[tuple[Example, str]]:
    """Run the blocks of a page in order; yield each command with what it printed."""
    for block in blocks(page):
        if block.title is not None:
            shell.write(block)
        elif block.language == "python":
            exec(compile(block.text, "<manual>", "exec"), {})  # noqa: S102  # it is ours
        elif block.language == "console":
            for example in examples(block.text):
                yield example, shell.call(example.command)


def with_output(page: str, shell: Shell) -> str:
    """Return a page with what its commands print now; what fits already stays as it is."""
    played = play(page, shell)

    def written(found: re.Match[str]) -> str:
        block = Block(*found.groups())
        if block.language != "console" or block.title is not None:
            return found[0]
        lines = []
        for _ in examples(block.text):
            example, printed = next(played)
            shown = example.shown
            if not example.fits(printed):
                shown = _VARYING.sub("...", without_trailing_spaces(printed)).replace(str(Path.cwd()), "...") + "\n"
            lines.append(f"$ {example.command}\n{shown if shown.strip() else ''}")
        return f"```console\n{''.join(lines)}```"

    return _BLOCK.sub(written, page)


def main(names: list[str]) -> None:
    """Write the output of its commands into each page."""
    for path in map(Path.resolve, map(Path, names)):
        page = path.read_text(encoding="utf-8")
        with tempfile.TemporaryDirectory(prefix="ledger-manual-") as folder, pytest.MonkeyPatch.context() as monkeypatch:
            shell = Shell.enter(Path(folder), monkeypatch)
            try:
                page = with_output(page, shell)
            finally:
                shell.close()
        path.write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
