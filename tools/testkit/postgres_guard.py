"""This script ends a test's Postgres and removes its folder when the test run is gone, however it went.

Started with the folder as its argument, it reads the server's process id from standard input each time that changes
(0: none). Standard input ends when the test run does, by ``stop()`` or by a kill; that is the moment to clean up.
"""

import os
import select
import shutil
import signal
import sys
import time

_CHECK_SEC = 1.0
_PATIENCE_SEC = 5.0


def main(folder: str) -> None:
    """Wait for the end of the test run, then end the server and remove the folder."""
    server = _last_recorded_pid()
    if server:
        _end(server)
    _remove(folder)


def _last_recorded_pid() -> int:
    lines, parent = b"0\n", os.getppid()
    while True:
        if select.select([0], [], [], _CHECK_SEC)[0]:
            news = os.read(0, 4096)
            if not news:
                break
            lines += news
        elif os.getppid() != parent:
            break  # a forked child of the test run still holds our standard input open
    return int(lines.split()[-1])


def _end(pid: int) -> None:
    for number in (signal.SIGQUIT, signal.SIGKILL):
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            return
        if _is_gone(pid):
            return


def _is_gone(pid: int) -> bool:
    give_up = time.monotonic() + _PATIENCE_SEC
    while time.monotonic() < give_up:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.05)
    return False


def _remove(folder: str) -> None:
    give_up = time.monotonic() + _PATIENCE_SEC
    while os.path.exists(folder) and time.monotonic() < give_up:  # noqa: PTH110  # pathlib is slow to load
        shutil.rmtree(folder, ignore_errors=True)  # a last backend may still write; then once more
        time.sleep(0.02)


if __name__ == "__main__":
    main(sys.argv[1])
