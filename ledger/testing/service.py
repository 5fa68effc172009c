"""A simulated terminal behind the gateway service: the fake module in a terminal process, with commands and stored books.

The broker outlives a terminal process that is killed: its books are written to a file after every command and every order,
and the next terminal process goes on with them. Two of them may use the file at once, as when the server process was killed and
its terminal process is still inside a call: each reads it again when the other has written it.
"""

from __future__ import annotations

import json
import pickle
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from ledger.errors import BadValue
from ledger.gateway.mt5_orders import Mt5OrderTerminal
from ledger.gateway.sandbox.control import Control
from ledger.gateway.sandbox.faults import Faults
from ledger.gateway.sandbox.responder import SandboxResponder, TerminalReads
from ledger.gateway.sandbox.terminal import Terminal
from ledger.gateway.serve.lock import FileLock
from ledger.gateway.serve.package import ReportedModule
from ledger.output_files import written_whole
from ledger.testing import FakeFaults, FakeMetaTrader5, FakeSettings, fake_mt5
from ledger.testing.mt5.blocking import block
from ledger.testing.mt5.broker import Broker
from ledger.testing.mt5.faults import read_fault

#: What names ``open_fake`` to a terminal process.
OPENER: Final = f"{__name__}:open_fake"
_SECONDS_MAX: Final = 3_600
_SEND: Final = "order_send"
_AFTER: Final = " done"
#: What an order that is executed and blocks before it returns is reported as.
SENT: Final = _SEND + _AFTER
_LOCK_SEC: Final = 0.001  # between two attempts at the lock of the books, which is held for milliseconds
_DONE: Final = b'{"status":"SUCCESS"}'


def open_fake(settings: Mapping[str, Any], report: Callable[[str | None], object]) -> FakeTerminal:
    """Return a simulated terminal.

    Args:
        settings: Arguments of ``fake_mt5``; ``state``: the file of its state, None for none; ``call_sec``: how long each call
            into the fake blocks the process; ``faults``: what goes wrong, ``KIND`` or ``KIND:TIMES``; ``data_path``: the
            terminal's data folder; ``behaviour``: further arguments of ``FakeSettings``.
        report: Called with the name of each call into the fake before it, and with None after it.
    """
    options = dict(settings)
    state, call_sec = options.pop("state", None), options.pop("call_sec", 0.0)
    faults = FakeFaults(seed=options.get("seed", 1))
    for text in options.pop("faults", ()):
        faults.add(*read_fault(text))
    behaviour = FakeSettings(data_path=options.pop("data_path", None), **options.pop("behaviour", {}))
    fake = fake_mt5(**options, faults=faults, settings=behaviour)
    path = None if state is None else Path(state)
    if path is not None and path.exists():
        fake.broker = _load(path)
        fake.settings = fake.broker.settings
    return FakeTerminal(fake, Blocks(call_sec), path, report)


class Blocks:
    """How long calls block the whole process, as calls of the package do.

    Attributes:
        call_sec: How long each call blocks.
    """

    def __init__(self, call_sec: float = 0.0) -> None:
        self.call_sec = call_sec
        self._next: dict[str, float] = {}  # function, or "*" for any -> seconds, once

    def add(self, call: str, seconds: float, *, is_after: bool = False) -> None:
        """Let the next call of a function, or of any (``*``), block for some seconds, before or after it does something."""
        self._next[call + _AFTER if is_after else call] = seconds

    def wait(self, call: str) -> None:
        """Block, if that is due at a call."""
        name = call if call in self._next else "*"
        self._block(self._next.pop(name, self.call_sec))

    def is_due_after(self, call: str) -> bool:
        """Return whether a call is to block before it returns."""
        return call + _AFTER in self._next

    def wait_after(self, call: str) -> None:
        """Block, if that is due after a call, before it returns: what it did is done."""
        self._block(self._next.pop(call + _AFTER, 0.0))

    def _block(self, seconds: float) -> None:
        if seconds:
            block(round(seconds * 1000))


class FakeTerminal(Mt5OrderTerminal):
    """A terminal over the fake module, which takes the commands of the sandbox, ``block``, ``fail`` and ``heal``."""

    def __init__(
        self, fake: FakeMetaTrader5, blocks: Blocks, state: Path | None, report: Callable[[str | None], object]
    ) -> None:
        super().__init__(ReportedModule(fake, self._note_call))
        self._report = report
        self._call: str | None = None
        self._stamp: tuple[int, ...] | None = None
        self._lock_of_books = None if state is None else FileLock.of_file(state)
        self._fake = fake
        self._blocks = blocks
        self._state = state
        self._control = Control(_responder(fake.terminal), lambda: None)
        self._saved_deals = -1
        with self._own_books():
            self._save()

    def _note_call(self, call: str | None) -> None:
        """Note that a call begins or ends: it blocks then, and the books are written after an order."""
        if call is not None:
            self._report(call)
            self._blocks.wait(call)
            self._call = call
            if call == _SEND:
                self._acquire_books()
            self._read_again()
            return
        is_send, self._call = self._call == _SEND, None
        if is_send or self._fake.broker.terminal.deals_revision != self._saved_deals:
            self._save()
        if is_send:
            self._release_books()
            if self._blocks.is_due_after(_SEND):
                self._report(SENT)
                self._blocks.wait_after(_SEND)
        self._report(None)

    @contextmanager
    def _own_books(self) -> Iterator[None]:
        """Keep other terminal processes from writing the books, and use the newest."""
        self._acquire_books()
        try:
            self._read_again()
            yield
        finally:
            self._release_books()

    def _acquire_books(self) -> None:
        while self._lock_of_books is not None and not self._lock_of_books.acquire():
            time.sleep(_LOCK_SEC)

    def _release_books(self) -> None:
        if self._lock_of_books is not None:
            self._lock_of_books.release()

    def _read_again(self) -> None:
        """Read the books, where another terminal process has written them since."""
        if self._state is None or self._stamp is None or _stamp_of(self._state) == self._stamp:
            return
        self._fake.broker = _load(self._state)
        self._fake.settings = self._fake.broker.settings
        self._control = Control(_responder(self._fake.terminal), lambda: None)
        self._note_saved(self._state)

    def _note_saved(self, state: Path) -> None:
        self._stamp = _stamp_of(state)
        self._saved_deals = self._fake.broker.terminal.deals_revision

    def head(self) -> dict[str, Any]:
        """Return the head of an answer. A folder that was not named is nobody's, whatever is there on this machine."""
        head = super().head()
        return head if self._fake.settings.data_path else head | {"data_path": None}

    def command(self, raw: bytes) -> bytes:
        """Carry out a command and return its answer, whatever it is."""
        try:
            asked = json.loads(raw)
            if isinstance(asked, dict) and asked.get("command") == "sent":
                self._read_again()
                comments = [row.get("comment") for row in self._fake.broker.requests]
                return json.dumps({"status": "SUCCESS", "sent": len(comments), "comments": comments}).encode()
            if isinstance(asked, dict) and self._is_own(asked):
                return _DONE
        except (ValueError, RecursionError, BadValue) as error:
            return json.dumps({"status": "ERROR", "error_code": "BAD_COMMAND", "error_msg": str(error)[:500]}).encode()
        with self._own_books():
            answer = self._control.carry_out(raw)
            self._save()
        return answer

    def _is_own(self, asked: Mapping[str, Any]) -> bool:
        """Carry out a command that the sandbox does not have; return whether it was one."""
        match asked.get("command"):
            case "block":
                self._block(asked)
            case "fail":
                self._fail(asked)
            case "heal" | "clear":
                self._fake.faults.clear()
            case "fault":
                raise BadValue(
                    'those are faults of a sandbox: here the package fails, with {"command": "fail", "fault": "KIND"}'
                )
            case _:
                return False
        return True

    def _block(self, asked: Mapping[str, Any]) -> None:
        call, seconds, is_after = asked.get("call", "*"), asked.get("seconds"), asked.get("after", False)
        if not isinstance(call, str) or not isinstance(seconds, (int, float)) or not 0 <= seconds <= _SECONDS_MAX:
            raise BadValue(
                f"block needs seconds from 0 to {_SECONDS_MAX}, and the name of a call or none, found {asked!r:.100}"
            )
        self._blocks.add(call, float(seconds), is_after=bool(is_after))

    def _fail(self, asked: Mapping[str, Any]) -> None:
        fault, times = read_fault(str(asked.get("fault")))
        slow_ms = asked.get("slow_ms", self._fake.faults.slow_ms)
        if type(slow_ms) is not int or not 0 <= slow_ms <= _SECONDS_MAX * 1000:
            raise BadValue(f"slow_ms is a whole number up to {_SECONDS_MAX * 1000}, found {slow_ms!r:.100}")
        self._fake.faults.slow_ms = slow_ms
        self._fake.faults.add(fault, times)

    def _save(self) -> None:
        if self._state is not None:
            with written_whole(self._state) as partial:
                partial.write_bytes(pickle.dumps(self._fake.broker))
            self._note_saved(self._state)


def _responder(terminal: Terminal) -> SandboxResponder:
    """Return what carries out orders of the commands; it answers no requests here."""
    return SandboxResponder(
        terminal=terminal,
        reads=TerminalReads(terminal),
        is_extended=True,
        clock=None,
        manual_trade_every_ms=0,
        faults=Faults(),
        restart=lambda: None,
    )


def _stamp_of(path: Path) -> tuple[int, ...]:
    found = path.stat()
    return found.st_mtime_ns, found.st_ino, found.st_size


def _load(path: Path) -> Broker:
    found: Broker = pickle.loads(path.read_bytes())  # noqa: S301  # our own file, of a simulation, beside our own store
    return found
