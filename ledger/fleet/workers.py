"""Several workers on one machine: processes that are started, started again when they die, and ended together."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from threading import Event
from typing import Final

from attrs import define, field

from ledger.fleet.worker import Log
from ledger.processes import SAFE_FOLDER
from ledger.systemd import SystemdNotifier

_LISTEN_SEC: Final = 0.2
_PAUSE_SEC: Final = 1.0
_PAUSE_MAX_SEC: Final = 30.0
#: A worker that ran so long had not failed because of how it was started.
_RAN_SEC: Final = 60.0
#: Wrong use, or a journal that is newer than the program: starting again changes nothing.
_HOPELESS: Final = 2


@define
class _Process:
    number: int
    popen: subprocess.Popen[bytes] | None = None
    began_at: float = 0.0
    again_at: float = 0.0
    failures: int = 0


@define(eq=False)
class Workers:
    """Worker processes, from ``run`` until a signal.

    Attributes:
        command: Starts one. It ends in good order when SIGTERM comes, or its input ends.
        environment: Of the processes.
        count: How many.
        log: Takes what happens.
        notifier: Receives their state.
    """

    command: Sequence[str]
    environment: Mapping[str, str]
    count: int
    log: Log
    notifier: SystemdNotifier
    monotonic: Callable[[], float] = time.monotonic
    _processes: list[_Process] = field(factory=list, init=False)

    def run(self, stopping: Event) -> int:
        """Keep the workers running until ``stopping`` is set; return the exit code: of a worker that cannot go on, else 0."""
        self._processes = [_Process(number) for number in range(1, self.count + 1)]
        self.notifier.send("READY=1")
        hopeless = 0
        try:
            while not stopping.is_set() and not hopeless:
                for one in self._processes:
                    hopeless = self._look(one) or hopeless
                self.notifier.alive()
                stopping.wait(_LISTEN_SEC)
        finally:
            self.notifier.send("STOPPING=1")
            self._end()
        return hopeless

    def _look(self, one: _Process) -> int:
        """Start a worker that is not running, in good time; return the exit code of one that cannot go on, else 0."""
        if one.popen is None:
            if self.monotonic() >= one.again_at:
                self._start(one)
            return 0
        code = one.popen.poll()
        if code is None:
            return 0
        if code == _HOPELESS:
            self.log("error", "worker cannot go on", worker=one.number, code=code)
            return code
        self._note_end(one, code)
        return 0

    def _start(self, one: _Process) -> None:
        one.began_at = self.monotonic()
        one.popen = subprocess.Popen(  # noqa: S603  # our own; its input ends with this process, whatever ends it
            list(self.command), env=dict(self.environment), cwd=SAFE_FOLDER, stdin=subprocess.PIPE
        )
        self.log("info", "worker started", worker=one.number, pid=one.popen.pid)

    def _note_end(self, one: _Process, code: int) -> None:
        now = self.monotonic()
        one.failures = 1 if now - one.began_at >= _RAN_SEC else one.failures + 1
        pause_sec = min(_PAUSE_MAX_SEC, _PAUSE_SEC * 2 ** min(one.failures - 1, 10))
        one.popen, one.again_at = None, now + pause_sec
        self.log("error", "worker died", worker=one.number, code=code, restart_sec=pause_sec)

    def _end(self) -> None:
        """Have all workers finish what is under way, and wait for them."""
        running = [one.popen for one in self._processes if one.popen is not None]
        for popen in running:
            popen.terminate()
        for popen in running:
            popen.wait()
