"""This module is a program that forks while a ledger is open, in one of several ways, and prints what was acknowledged.

    python forking_programs.py WAY URL

It prints a JSON object: the deals that were acknowledged, by parent and children, and what else the way is about.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import sys
import threading
import traceback
from collections.abc import Callable
from functools import partial
from typing import Any

from ledger import AccountId, FillRecorded, Ledger, LedgerError

ACCOUNT = AccountId("Broker-Live", 70113)
EACH = 12


def fill(deal: int, time_msc: int | None = None) -> FillRecorded:
    return FillRecorded(
        deal=deal, symbol="EURUSD", side="buy", entry="in", volume=1, price="1.1",
        time_msc=1_767_607_200_000 + (deal if time_msc is None else time_msc),
        order=deal, position_id=deal, commission=0, fee=0, swap=0, profit=0,
    )  # fmt: skip


def record(ledger: Ledger, first: int, count: int = EACH) -> list[int]:
    """Record fills, and return the deals that were acknowledged."""
    account, done = ledger.account(ACCOUNT), []
    for deal in range(first, first + count):
        account.record(fill(deal))
        done.append(deal)
        assert deal in account.portfolio.positions
    return done


class Child:
    """A forked process that waits for a signal to go on, runs something, and returns what that returned."""

    def __init__(self, work: Callable[[], Any]) -> None:
        self._from_parent, self._to_child = os.pipe()
        self._from_child, to_parent = os.pipe()
        self.pid = os.fork()
        if not self.pid:
            try:
                os.read(self._from_parent, 1)
                os.write(to_parent, json.dumps(work()).encode())
            except BaseException:  # noqa: BLE001  # the parent finds no answer
                traceback.print_exc()
            finally:
                os._exit(0)
        os.close(to_parent)

    def go_on(self) -> None:
        os.write(self._to_child, b"x")

    def result(self) -> Any:
        with os.fdopen(self._from_child, "rb") as pipe:
            answer = pipe.read()
        os.waitpid(self.pid, 0)
        return json.loads(answer)


def parent_closes(url: str) -> dict[str, Any]:
    """The parent closes the ledger, and then the child goes on with it."""
    ledger = Ledger.open(url)
    done = record(ledger, 1)
    child = Child(lambda: record(ledger, 100))
    ledger.close()
    child.go_on()
    return {"done": done + child.result()}


def parent_ends_while_the_child_has_begun(url: str) -> dict[str, Any]:
    """The child has a connection of its own already when the parent closes its last one, which must not remove the log."""
    ledger = Ledger.open(url)
    done = record(ledger, 1)
    has_begun, begin = os.pipe()
    may_go_on, go_on = os.pipe()

    def work() -> list[int]:
        mine = record(ledger, 100)
        os.write(begin, b"x")
        os.read(may_go_on, 1)
        return mine + record(ledger, 200)

    child = Child(work)
    child.go_on()
    os.read(has_begun, 1)
    ledger.close()
    os.write(go_on, b"x")
    return {"done": done + child.result()}


def both_go_on(url: str) -> dict[str, Any]:
    """Parent and children append at the same time."""
    ledger = Ledger.open(url)
    done = record(ledger, 1)
    children = [Child(partial(record, ledger, first)) for first in (100, 200)]
    for child in children:
        child.go_on()
    done += record(ledger, 300)
    for child in children:
        done += child.result()
    ledger.close()
    return {"done": done}


def threads_are_at_work(url: str) -> dict[str, Any]:
    """Threads of the parent append, read and follow while it forks again and again, as a server does that starts workers."""
    ledger = Ledger.open(url)
    done: list[int] = record(ledger, 1)
    stop = threading.Event()

    def append() -> None:
        for block in range(40):
            if stop.is_set():
                return
            done.extend(record(ledger, 1000 + 20 * block))

    def read() -> None:
        while not stop.is_set():
            assert ledger.account(ACCOUNT).portfolio.positions
            assert sum(1 for _ in ledger.account(ACCOUNT).events())

    def follow() -> None:
        for _ in ledger.follow(poll_seconds=0.01, stop=stop):
            pass

    threads = [threading.Thread(target=work) for work in (append, read, follow)]
    for thread in threads:
        thread.start()
    children = []
    for first in (10_000, 20_000, 30_000):
        children.append(Child(partial(record, ledger, first)))
        children[-1].go_on()
    from_children = [deal for child in children for deal in child.result()]
    stop.set()
    for thread in threads:
        thread.join()
    ledger.close()
    return {"done": done + from_children}


def grandchildren(url: str) -> dict[str, Any]:
    """A child that used the ledger forks again."""
    ledger = Ledger.open(url)
    done = record(ledger, 1)

    def work() -> Any:
        mine = record(ledger, 100)
        child = Child(lambda: record(ledger, 200))
        child.go_on()
        return mine + record(ledger, 300) + child.result()

    child = Child(work)
    child.go_on()
    return {"done": done + child.result() + record(ledger, 400)}


def an_iterator_is_open(url: str) -> dict[str, Any]:
    """The parent has read half of its events when it forks; both go on."""
    ledger = Ledger.open(url)
    done = record(ledger, 1)
    events = ledger.account(ACCOUNT).events()
    seen = [next(events).version for _ in range(3)]

    def work() -> dict[str, Any]:
        rest: list[Any]
        try:
            rest = [event.version for event in events]
        except LedgerError as error:
            rest = [str(error)]
        return {"rest": rest, "done": record(ledger, 100)}

    child = Child(work)
    child.go_on()
    found = child.result()
    return {
        "done": done + found["done"],
        "child": seen + found["rest"],
        "parent": seen + [event.version for event in events][: EACH - 2],
    }


def a_reader_is_open(url: str) -> dict[str, Any]:
    """A transaction that reads is open in the thread that forks: the child must not trust the locks that it inherits."""
    ledger = Ledger.open(url)
    done = record(ledger, 1)

    def work() -> Any:
        try:
            return record(ledger, 100)
        except LedgerError as error:
            return f"{type(error).__name__}: {error}"

    with ledger.journal.engine.reading() as session:  # type: ignore[attr-defined]
        session.query("SELECT count(*) FROM events")
        child = Child(work)
        child.go_on()
        found = child.result()
    done += record(ledger, 200)
    return {"done": done + (found if isinstance(found, list) else []), "child": found}


_ledger: Ledger | None = None


def _recorded_by_pool(first: int) -> list[int]:
    assert _ledger is not None
    return record(_ledger, first)


def _opened_by_pool(url: str) -> None:
    global _ledger  # noqa: PLW0603  # what a worker of a pool has
    _ledger = Ledger.open(url)


def _pool(url: str, method: str) -> dict[str, Any]:
    global _ledger  # noqa: PLW0603  # as above
    _ledger = Ledger.open(url)
    done = record(_ledger, 1)
    begin = None if method == "fork" else _opened_by_pool
    with multiprocessing.get_context(method).Pool(3, begin, (url,) if begin else ()) as pool:
        done += [deal for some in pool.map(_recorded_by_pool, [100, 200, 300, 400]) for deal in some]
    done += record(_ledger, 500)
    _ledger.close()
    return {"done": done}


def multiprocessing_fork(url: str) -> dict[str, Any]:
    """A pool of forked workers uses the ledger that the parent opened."""
    return _pool(url, "fork")


def multiprocessing_spawn(url: str) -> dict[str, Any]:
    """A pool of new processes, each of which opens the journal."""
    return _pool(url, "spawn")


WAYS = {
    way.__name__: way
    for way in (
        parent_closes, parent_ends_while_the_child_has_begun, both_go_on, threads_are_at_work, grandchildren,
        an_iterator_is_open, a_reader_is_open, multiprocessing_fork, multiprocessing_spawn,
    )
}  # fmt: skip

if __name__ == "__main__":
    sys.stdout.write(json.dumps(WAYS[sys.argv[1]](sys.argv[2])))
