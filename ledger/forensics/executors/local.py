"""The executor without a cluster: processes of this machine."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from typing import TypeVar

from ledger.archive.form import PROCESSES_MAX
from ledger.errors import BadValue
from ledger.forensics.executors import reported

T = TypeVar("T")
_GARBAGE = 50_000  # new objects before Python looks for garbage, as in the command
_CHUNKS = 16  # of each process: so that none waits for the last


def run(work: Callable[[str], T], paths: Sequence[str], workers: int, cluster: str | None) -> Iterator[T]:
    """Yield what the work returns of each path, in their order. As ``executors.Run``."""
    if cluster is not None:
        raise BadValue("the executor local has no cluster: leave its address out, or name another executor")
    if workers == 1 or len(paths) < 2:
        yield from map(work, paths)
        return
    workers = min(workers, PROCESSES_MAX)
    with (
        reported("local", None, BrokenProcessPool),
        ProcessPoolExecutor(workers, get_context("spawn"), gc.set_threshold, (_GARBAGE,)) as pool,
    ):
        yield from pool.map(work, paths, chunksize=max(1, len(paths) // (workers * _CHUNKS)))
