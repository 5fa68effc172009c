"""The server process's end of the terminal process: starts it, passes it one call at a time, and replaces it.

A thread reads the pipe and passes what comes to a socket of the server's loop, as ZeroMQ cannot wait for a pipe on Windows. A
terminal process that is inside one call for too long, or that ended, is replaced; after each failure the next one waits longer.
"""

from __future__ import annotations

import json
import multiprocessing
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from multiprocessing.connection import Connection
from threading import Thread
from typing import Any, Final

import zmq
from attrs import define, field, frozen

from ledger.gateway.serve import terminal_process
from ledger.gateway.serve.terminal_process import TerminalSettings

#: How long one call into the package may take, in seconds: more than the 180 that calls were seen to take.
CALL_DEADLINE_SEC: Final = 200.0
#: The pause before a terminal process is replaced, in seconds: the first, doubled each time, and the longest.
PAUSE_SEC: Final = 1.0
PAUSE_MAX_SEC: Final = 60.0
#: A terminal process that worked for so long makes the next pause the first again.
STEADY_SEC: Final = 60.0
_END_SEC: Final = 5.0  # how long a process that was killed may take to be gone
_READER: Final = "inproc://terminal-process"
_INSIDE: Final = b'{"inside":'


@frozen(kw_only=True)
class Result:
    """What a call returned: the object of the terminal process, and the rows that it wrote."""

    fields: Mapping[str, Any]
    body: bytes = b""


@frozen(kw_only=True)
class Failure:
    """Why a call returned nothing. ``code`` is the package's; None where it has no part in it."""

    text: str
    code: int | None = None
    field: str | None = None  # of the refusal, where an answer was refused
    refused: bool = False  # whether what was asked for was wrong in this field


Outcome = Result | Failure


@define(eq=False)
class _Job:
    number: int
    done: Callable[[Outcome], object]


@frozen
class _Inside:
    """The call into the package that the terminal process is inside; since when, by the clock that only rises and in UTC."""

    call: str | None
    since: float
    since_msc: int | None


@define(eq=False)
class _Running:
    """One terminal process."""

    process: multiprocessing.process.BaseProcess
    connection: Connection
    generation: int
    started_at: float
    is_ready: bool = False
    job: _Job | None = None


@define(eq=False)
class TerminalLink:
    """The terminal process, as the server process sees it. Used by the server's thread only.

    Attributes:
        settings: What it is started with.
        report: Called with what happens, in words.
        call_deadline_sec: How long one call into the package may take.
        replaced: How often it was replaced.
    """

    settings: TerminalSettings
    report: Callable[[str], object]
    call_deadline_sec: float = CALL_DEADLINE_SEC
    monotonic: Callable[[], float] = time.monotonic
    replaced: int = field(default=0, init=False)
    last_failure: str | None = field(default=None, init=False)
    _context: zmq.Context[zmq.Socket[bytes]] = field(init=False)
    _socket: zmq.Socket[bytes] = field(init=False)
    _running: _Running | None = field(default=None, init=False)
    _generation: int = field(default=0, init=False)
    _numbers: int = field(default=0, init=False)
    _start_at: float = field(default=0.0, init=False)
    _failures: int = field(default=0, init=False)
    _inside: _Inside = field(factory=lambda: _Inside(None, 0.0, None), init=False)

    def open(self, context: zmq.Context[zmq.Socket[bytes]]) -> zmq.Socket[bytes]:
        """Return the socket to wait for; ``read`` is to be called when it has something."""
        self._context = context
        self._socket = context.socket(zmq.PULL)
        self._socket.bind(_READER)
        return self._socket

    def close(self) -> None:
        """End the terminal process, inside a call or not."""
        if self._running is not None:
            self._end(self._running)
            self._running = None
        self._socket.close(linger=0)

    # ---- what is asked

    @property
    def is_ready(self) -> bool:
        """Whether it runs and takes a call now."""
        return self._running is not None and self._running.is_ready and self._running.job is None

    @property
    def busy_sec(self) -> float:
        """For how many seconds it has been unable to take a call; infinity where it does not run."""
        if self._running is None:
            return float("inf")
        return 0.0 if self.is_ready else self.monotonic() - self._inside.since

    @property
    def generation(self) -> int:
        """Which process it is: counts those that were started."""
        return self._generation

    @property
    def pid(self) -> int | None:
        """The process's id, None where there is none."""
        return None if self._running is None else self._running.process.pid

    def describe(self) -> dict[str, Any]:
        """Return what PING states of it."""
        if self._running is None:
            return {"state": "down", "call": None, "since_msc": None, "error": self.last_failure}
        state = "starting" if not self._running.is_ready else "busy" if self._running.job is not None else "idle"
        return {"state": state, "call": self._inside.call, "since_msc": self._inside.since_msc, "pid": self.pid}

    def describe_busy(self) -> str:
        """Return why it takes no call now, in words."""
        if self._running is None:
            return f"the terminal process is not running: {self.last_failure or 'it was not started yet'}"
        call = self._inside.call or ("a call" if self._running.is_ready else "start-up")
        return f"the terminal process has been inside {call} for {self.busy_sec:.1f} s"

    def call(self, name: str, arguments: Mapping[str, Any], done: Callable[[Outcome], object]) -> None:
        """Pass a call to the terminal process, which must be ready.

        Args:
            name: One of ``terminal_process.CALLS``.
            arguments: What goes with it.
            done: Called once with what became of it, from ``read`` or ``run_due``.
        """
        running = self._running
        assert running is not None, "it runs"
        assert running.job is None, "it takes a call now"
        self._numbers += 1
        running.job = _Job(self._numbers, done)
        self._note_inside(None)
        try:
            running.connection.send_bytes(json.dumps({**arguments, "id": self._numbers, "call": name}).encode())
        except OSError:
            return  # it is gone; the thread that reads the pipe notices, and then this call fails

    # ---- what happens

    def run_due(self) -> float:
        """Start it if it is time, and replace it if it is too long inside a call. Returns in how many seconds more is due."""
        now = self.monotonic()
        running = self._running
        if running is None:
            if now >= self._start_at:
                self._start()
            return max(0.0, self._start_at - now)
        if running.is_ready and running.job is None:
            return float("inf")
        left = self._inside.since + self.call_deadline_sec - now
        if left <= 0:
            self._lose(f"it was inside {self._inside.call or 'a call'} for more than {self.call_deadline_sec:g} s")
        return max(0.0, left)

    def read(self) -> None:
        """Take what came from the terminal process."""
        generation, raw = self._socket.recv_multipart()
        running = self._running
        if running is None or int(generation) != running.generation:
            return  # of one that was replaced
        if not raw:
            self._lose(f"it ended {_describe_exit(running.process)}")
            return
        header, _, body = raw.partition(b"\n")
        fields = json.loads(header)
        if "started" in fields:
            running.is_ready = True
        elif "failed" in fields:
            self._lose(f"it could not start: {fields['failed']}")
        elif running.job is not None and fields["id"] == running.job.number:
            job, running.job = running.job, None
            self._note_inside(None)
            job.done(outcome_of(fields, body))

    def _note_inside(self, call: str | None) -> None:
        """Note a call into the package. Also called by the thread that reads the pipe: a note is one value."""
        self._inside = _Inside(call, self.monotonic(), None if call is None else time.time_ns() // 1_000_000)

    def _forward(self, connection: Connection, generation: int) -> None:
        """Pass on what comes through a pipe until it closes; then an empty message. Runs in a thread of its own.

        Which call is made is noted here: there are dozens of them for an answer, and the loop need not turn for each.
        """
        with suppress(zmq.ZMQError), self._context.socket(zmq.PUSH) as socket:
            socket.linger = 1000
            socket.connect(_READER)
            name = str(generation).encode()
            with connection:
                while True:
                    try:
                        raw = connection.recv_bytes()
                    except (EOFError, OSError):
                        break
                    if not raw.startswith(_INSIDE):
                        socket.send_multipart([name, raw])
                    elif generation == self._generation:
                        self._note_inside(json.loads(raw)["inside"])
            socket.send_multipart([name, b""])

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(
            target=terminal_process.run, args=(theirs, self.settings), name="ledger-terminal-process", daemon=True
        )
        process.start()
        theirs.close()  # or else we would not see that the process closed it
        self._generation += 1
        self._running = _Running(process, ours, self._generation, self.monotonic())
        self._note_inside(None)
        Thread(target=self._forward, args=(ours, self._generation), name="ledger-terminal-reader", daemon=True).start()

    def _lose(self, why: str) -> None:
        """Let go of the terminal process, fail its call, and set when it is replaced."""
        running, self._running = self._running, None
        assert running is not None
        self._end(running)
        is_steady = running.is_ready and self.monotonic() - running.started_at >= STEADY_SEC
        self._failures = 1 if is_steady else self._failures + 1
        pause_sec = min(PAUSE_MAX_SEC, PAUSE_SEC * 2 ** min(self._failures - 1, 10))
        self._start_at = self.monotonic() + pause_sec
        self.replaced += 1
        self.last_failure = why
        self.report(f"the terminal process is replaced in {pause_sec:g} s: {why}")
        if running.job is not None:
            running.job.done(Failure(text=f"the terminal process did not finish the call: {why}"))

    def _end(self, running: _Running) -> None:
        if running.process.is_alive():
            running.process.kill()
        running.process.join(_END_SEC)


def outcome_of(fields: Mapping[str, Any], body: bytes) -> Outcome:
    """Return what an answer of the terminal process means."""
    error = fields.get("error")
    return Result(fields=fields, body=body) if error is None else Failure(**error)


def _describe_exit(process: multiprocessing.process.BaseProcess) -> str:
    process.join(_END_SEC)
    code = process.exitcode
    return "by itself" if code is None else f"with exit code {code}" if code >= 0 else f"by signal {-code}"
