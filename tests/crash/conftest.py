"""These fixtures start real processes that talk with the test over pipes, so that nothing has to be slept for."""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from tests.support.journals import DURABLE, new_url

ROOT: Final = Path(__file__).resolve().parents[2]
_PATIENCE_SEC: Final = 120  # for a process that hangs; nothing waits this long when all is well

_PREAMBLE: Final = """
import sys
from sqlalchemy import event
from ledger import *
from tests.support.journals import *

url = sys.argv[1]

def report(*words):
    print(*words, flush=True)

def read_line():
    return sys.stdin.readline().strip()

def report_and_stop(*words):
    report(*words)
    read_line()
"""


class Child:
    """A Python process that runs a program of ours. It prints lines, reads lines, and can be killed."""

    def __init__(self, program: str, *arguments: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", _PREAMBLE + program, *arguments],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        self._rest = b""

    def read_line(self) -> str:
        """Return the next line that the child prints."""
        line = self._line()
        if line is None:
            self._process.kill()
            raise AssertionError(f"the child ended: {self._stderr()}")
        return line

    def _line(self) -> str | None:
        assert self._process.stdout is not None
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            while b"\n" not in self._rest:
                assert selector.select(_PATIENCE_SEC), "the child prints nothing"
                output = os.read(self._process.stdout.fileno(), 65536)
                if not output:
                    return None
                self._rest += output
        line, _, self._rest = self._rest.partition(b"\n")
        return line.decode()

    def _stderr(self) -> str:
        assert self._process.stderr is not None
        return self._process.stderr.read().decode()

    def send(self, line: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{line}\n".encode())
        self._process.stdin.flush()

    def kill(self) -> list[str]:
        """Kill it at once (SIGKILL) and return what it had printed that was not read yet."""
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()
        heard = []
        while (line := self._line()) is not None:
            heard.append(line)
        return heard

    def wait_for_kill(self) -> None:
        """Wait until it has killed itself."""
        assert self._process.wait(_PATIENCE_SEC) == -signal.SIGKILL, self._stderr()

    def end(self) -> None:
        """Wait until it ended in good order."""
        assert self._process.wait(_PATIENCE_SEC) == 0, self._stderr()

    def close(self) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout, self._process.stderr):
            assert stream is not None
            stream.close()


@pytest.fixture
def start():
    """Start a child: ``start(program, *arguments)``; those that still run at the end are ended."""
    children: list[Child] = []

    def started(program: str, *arguments: str) -> Child:
        children.append(Child(program, *arguments))
        return children[-1]

    yield started
    for child in children:
        child.close()


@pytest.fixture(params=DURABLE)
def url(request, tmp_path):
    return new_url(request.param, tmp_path)
