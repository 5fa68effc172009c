"""This module kills a process at a named point on an order's way: the engine, the server process or the terminal process.

The product has no hooks for it. Each point is a wrapper around one method, installed by the process that is to die, which kills
itself there (SIGKILL) once its point is armed: a file in a folder that all of them know. ``serve`` is the gateway's
server process with the wrappers, ``open_fake`` its terminal process, ``install_in_engine`` is for an engine.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from pathlib import Path
from typing import Any, Final, NamedTuple

from ledger.events import OrderAnswered, OrderIntended
from ledger.gateway.client import ZmqGateway
from ledger.gateway.serve import link, service
from ledger.gateway.serve.requests import Requests
from ledger.gateway.serve.service import GatewayService
from ledger.testing import service as fake

#: The environment variable that names the folder.
FOLDER: Final = "LEDGER_CRASH_POINTS"
_OPENER: Final = f"{__name__}:open_fake"
_KILL: Final = getattr(signal, "SIGKILL", signal.SIGTERM)  # Windows has no other way than the second, which is as hard there
_SEND: Final = "order_send"
_LOOK_SEC: Final = 0.002  # between two looks at whether a process may go on
_CLOCK: Final = "clock"
_BOOKS: Final = "books"
_DATA_PATH: Final = "terminal"


class Point(NamedTuple):
    """A point on an order's way: who dies there, and when."""

    name: str
    victim: str
    when: str
    is_executed: bool


#: All points at which a process kills itself, in the order of an order's way.
POINTS: Final = {
    point.name: point
    for point in (
        Point("C0", "engine", "before its intent is recorded", is_executed=False),
        Point("C1", "engine", "after its intent, before a byte is sent", is_executed=False),
        Point("C3", "server process", "after RECEIVED is stored", is_executed=False),
        Point("C4", "server process", "after SENDING is stored, before the call", is_executed=False),
        Point("C4-terminal", "terminal process", "after SENDING is stored, before the call", is_executed=False),
        Point("C5", "terminal process", "in order_send, the broker has nothing yet", is_executed=False),
        Point("C5-delivered", "server process", "in order_send, which then reaches the broker", is_executed=True),
        Point("C6", "terminal process", "executed, before it answers", is_executed=True),
        Point("C7", "server process", "executed, before ANSWERED is stored", is_executed=True),
        Point("C8", "server process", "after ANSWERED is stored, before it replies", is_executed=True),
        Point("C9", "engine", "after the reply, before its answer is recorded", is_executed=True),
        Point("C10", "engine", "after its answer, before the fill is recorded", is_executed=True),
    )
}


# ---- what a test or a demonstration does


class CrashPoints:
    """The folder of the points.

    Args:
        folder: It; made where it is not there.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder

    @property
    def environment(self) -> dict[str, str]:
        """What a process is started with that is to know the points."""
        return {**os.environ, FOLDER: str(self.folder), "PYTHONUTF8": "1"}

    def arm(self, point: str) -> None:
        """Let the process that comes there next die."""
        (self.folder / point).touch()

    def is_armed(self, point: str) -> bool:
        """Return whether nobody came there yet."""
        return (self.folder / point).exists()

    def hold(self, gate: str) -> None:
        """Let every process that comes to a gate wait there."""
        (self.folder / f"{gate}.hold").touch()

    def held(self, gate: str) -> int:
        """Return how many processes came to a gate."""
        return len(list(self.folder.glob(f"{gate}.held-*")))

    def release(self, gate: str) -> None:
        """Let them go on."""
        (self.folder / f"{gate}.hold").unlink()

    def set_gateway_clock(self, ahead_msc: int) -> None:
        """Let the clock of the gateway's machine jump: so far it is ahead of what it was."""
        partial = self.folder / f"{_CLOCK}.new"
        partial.write_text(str(ahead_msc), encoding="utf-8")
        partial.replace(self.folder / _CLOCK)

    def share_a_terminal(self) -> None:
        """Let every service over these points be of one terminal: the same books, the same data folder."""
        (self.folder / _DATA_PATH).mkdir()


# ---- what the processes do


def die_at(point: str) -> None:
    """End this process at once, if its point is armed."""
    if _is_taken(point):
        os.kill(os.getpid(), _KILL)


def wait_at(gate: str) -> None:
    """Wait at a gate as long as it is closed."""
    folder = _folder()
    if folder is None or not (folder / f"{gate}.hold").exists():
        return
    (folder / f"{gate}.held-{os.getpid()}").touch()
    while (folder / f"{gate}.hold").exists():
        time.sleep(_LOOK_SEC)


def install_in_engine() -> None:
    """Let an engine die at C0, C1, C9 and C10; at the gate ``intent`` it waits before its intent is recorded."""
    from ledger.service import Account  # the other processes need no database

    def before_record(_: Account, event: object, **__: object) -> None:
        if isinstance(event, OrderIntended):
            wait_at("intent")
            die_at("C0")

    def after_records(_: object, __: Account, events: Sequence[object], **___: object) -> None:
        if any(isinstance(event, OrderAnswered) for event in events):
            die_at("C10")

    _wrap(Account, "record", before=before_record)
    _wrap(Account, "record_many", after=after_records)
    _wrap(ZmqGateway, "order_send", before=lambda *_, **__: die_at("C1"), after=lambda *_, **__: die_at("C9"))


def serve() -> None:
    """Run ``ledger gateway serve`` with these points. Its pauses before another attempt are short."""
    link.PAUSE_SEC = service.RECONNECT_SEC = 0.02  # type: ignore[misc]
    link.PAUSE_MAX_SEC = service.RECONNECT_MAX_SEC = 0.2  # type: ignore[misc]
    from ledger.gateway.serve import command

    command._FAKE = _OPENER  # type: ignore[misc]
    present = service._utc_msc
    service._utc_msc = lambda: present() + _ahead_msc()
    _wrap(Requests, "receive", after=lambda *_, **__: die_at("C3"))
    _wrap(Requests, "begin", after=lambda *_, **__: die_at("C4"))
    _wrap(Requests, "answer", before=lambda *_, **__: die_at("C7"))
    _wrap(GatewayService, "publish_stored", before=_before_publishing)
    command.serve(sys.argv[1:])


def open_fake(settings: Mapping[str, Any], report: Callable[[str | None], object]) -> fake.FakeTerminal:
    """Return the simulated terminal of a terminal process. See ``ledger.testing.service.open_fake``."""
    inside: list[str | None] = [None]

    def reported(call: str | None) -> None:
        report(call)
        if call == _SEND:
            die_at("C5")
            _orphan_at("C5-delivered")
        elif inside[0] == _SEND:
            die_at("C6")
        inside[0] = call

    folder = _folder()
    own = dict(settings)
    if folder is not None and (folder / _DATA_PATH).exists():
        own |= {"state": str(folder / _BOOKS), "data_path": str(folder / _DATA_PATH)}
    terminal = fake.open_fake(own, reported)
    _wrap(fake.FakeTerminal, "send", before=lambda *_, **__: die_at("C4-terminal"))
    return terminal


def _before_publishing(_: object, events: Sequence[Any]) -> None:
    if any(event.kind == "answer" for event in events):
        die_at("C8")


def _orphan_at(point: str) -> None:
    """Kill the server process, if the point is armed, and go on: the order reaches the broker, once its gate is open."""
    parent = multiprocessing.parent_process()
    if parent is not None and parent.pid is not None and _is_taken(point):
        os.kill(parent.pid, _KILL)
        wait_at(point)


def _is_taken(point: str) -> bool:
    folder = _folder()
    if folder is None:
        return False
    try:
        (folder / point).unlink()
    except FileNotFoundError:
        return False
    return True


def _folder() -> Path | None:
    name = os.environ.get(FOLDER)
    return None if name is None else Path(name)


def _ahead_msc() -> int:
    folder = _folder()
    try:
        return 0 if folder is None else int((folder / _CLOCK).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return 0


def _wrap(
    owner: type,
    name: str,
    *,
    before: Callable[..., object] | None = None,
    after: Callable[..., object] | None = None,
) -> None:
    """Call ``before`` with the arguments of a method, and ``after`` with what it returned and its arguments."""
    method = getattr(owner, name)

    @wraps(method)
    def wrapped(*args: Any, **named: Any) -> Any:
        if before is not None:
            before(*args, **named)
        returned = method(*args, **named)
        if after is not None:
            after(returned, *args, **named)
        return returned

    setattr(owner, name, wrapped)
