"""Forks: a child process opens connections of its own and never uses, ends or closes those of its parent.

A child shares the sockets of its parent's Postgres connections, so it sets them aside. SQLite is harder: it counts the locks
of a file per process, and the operating system does not give a child the locks of its parent (sqlite.org, "How To Corrupt An
SQLite Database File", 2.6). A child that inherits the count believes that it holds locks which it does not hold, even on a
connection of its own; another process may then delete the write-ahead log under it. So SQLite connections are closed before a
fork, which waits until no thread uses one. If one is in use all the same (by the thread that forks, or for too long), the
child refuses that file.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from threading import Condition, Lock, get_ident
from typing import Any, Final, Protocol
from weakref import WeakSet

from ledger.errors import JournalUnsafe

#: How long a fork waits for other threads to finish what they do with SQLite, in seconds.
FORK_WAIT_SEC: Final = 5.0


class Holder(Protocol):
    """An object that holds locks or connections and has to be prepared for forks."""

    def before_fork(self) -> None:
        """Close the SQLite connections that nobody uses."""
        ...

    def after_fork_in_child(self) -> None:
        """Set aside inherited connections and replace locks, which a thread that no longer exists may hold."""
        ...


class Gate:
    """Which SQLite files are in use by which threads; closed to other threads during a fork."""

    def __init__(self) -> None:
        self._numbers = count(1)
        self._reset()

    def _reset(self) -> None:
        self._changed = Condition(Lock())
        self._uses: dict[int, tuple[int, str]] = {}  # number of the use -> thread, file
        self._forking_thread: int | None = None

    def enter(self, file: str) -> int:
        """Begin to use a file, after a fork that is under way, and return the number of this use.

        Without the lock where nobody forks, because every append passes here: who forks first sets a mark and then looks at the
        uses, who uses a file first sets a mark and then looks whether somebody forks. So one of them sees the other.
        """
        thread = get_ident()
        number = next(self._numbers)
        self._uses[number] = (thread, file)
        if self._forking_thread not in (None, thread):
            self._wait(number, thread, file)
        return number

    def _wait(self, number: int, thread: int, file: str) -> None:
        with self._changed:
            # A thread that uses a connection already is waited for, so it must get its second one.
            while self._forking_thread not in (None, thread) and not self._is_user(thread, besides=number):
                self._uses.pop(number, None)
                self._changed.notify_all()
                self._changed.wait()
            self._uses[number] = (thread, file)

    def leave(self, number: int) -> None:
        """End a use; harmless when repeated."""
        self._uses.pop(number, None)
        if self._forking_thread is not None:
            with self._changed:
                self._changed.notify_all()

    def _is_user(self, thread: int, besides: int) -> bool:
        return any(user == thread for number, (user, _) in self._uses.copy().items() if number != besides)

    def close(self, seconds: float) -> None:
        """Let no other thread begin, and wait until none uses a file, for so many seconds at most."""
        me = get_ident()
        with self._changed:
            self._changed.wait_for(lambda: self._forking_thread is None)
            self._forking_thread = me
            self._changed.wait_for(lambda: all(user == me for user, _ in self._uses.copy().values()), seconds)

    def open(self) -> None:
        """Let other threads go on."""
        with self._changed:
            self._forking_thread = None
            self._changed.notify_all()

    def reset_in_child(self) -> frozenset[str]:
        """Forget all uses, which are the parent's, and return the files that they were of."""
        files = frozenset(file for _, file in self._uses.copy().values())
        self._reset()
        return files


gate: Final = Gate()
_holders: Final[WeakSet[Any]] = WeakSet()
#: What a child has of its parent: referred to for ever, because whatever is released is also closed.
_inherited: Final[list[object]] = []
#: Device and inode of SQLite files that were in use at the fork that made this process.
_refused: Final[set[tuple[int, int]]] = set()


def prepare_for_forks(holder: Holder) -> None:
    """Call a holder around every fork, as long as it exists."""
    _holders.add(holder)


def set_aside(inherited: object) -> None:
    """Refer to an inherited object until this process ends, and beyond: not even the end of the interpreter releases it."""
    _inherited.append(inherited)
    if len(_inherited) == 1:
        import ctypes  # needed by the children of some forks only

        ctypes.pythonapi.Py_IncRef(ctypes.py_object(_inherited))


@contextmanager
def importing() -> Iterator[None]:
    """Let no other thread fork within: a child could never load a module that a thread of its parent was loading."""
    number = gate.enter("")
    try:
        yield
    finally:
        gate.leave(number)


def require_usable(file: str) -> None:
    """Refuse a SQLite file whose locks this process only seems to hold.

    Raises:
        JournalUnsafe: A connection to it was in use when this process was forked.
    """
    if _refused and _inode(file) in _refused:
        raise JournalUnsafe(
            f"{file}: this process was forked while its parent used the journal, so SQLite counts locks here that only "
            "the parent holds. Fork when no iterator over events is open and no append is under way, or start the process with "
            "multiprocessing's spawn"
        )


def _inode(file: str) -> tuple[int, int] | None:
    try:
        found = os.stat(file)  # noqa: PTH116  # paths are text here
    except OSError:
        return None
    return found.st_dev, found.st_ino


@contextmanager
def owned(connection: Any) -> Iterator[Any]:
    """Close a connection at the end, unless that end is reached in a child that inherited it."""
    process = os.getpid()
    try:
        yield connection
    finally:
        if os.getpid() == process:
            connection.close()
        else:
            set_aside(connection)


def _before() -> None:
    gate.close(FORK_WAIT_SEC)
    for holder in list(_holders):
        holder.before_fork()


def _after_in_child() -> None:
    for file in gate.reset_in_child():
        inode = _inode(file)
        if inode is not None:
            _refused.add(inode)
    for holder in list(_holders):
        holder.after_fork_in_child()


if hasattr(os, "register_at_fork"):  # Windows has no forks
    os.register_at_fork(before=_before, after_in_parent=gate.open, after_in_child=_after_in_child)
