"""The executor on Dask: a cluster by its scheduler's address, or one on this machine."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from typing import TypeVar

from ledger.forensics.executors import reported

T = TypeVar("T")


def run(work: Callable[[str], T], paths: Sequence[str], workers: int, cluster: str | None) -> Iterator[T]:
    """Yield what the work returns of each path, in their order. As ``executors.Run``."""
    from distributed import Client, KilledWorker, LocalCluster
    from distributed.client import FutureCancelledError

    with ExitStack() as stack:
        with reported("dask", cluster, Exception):  # nothing of ours runs before it is connected
            there = cluster or stack.enter_context(
                LocalCluster(n_workers=workers, threads_per_worker=1, dashboard_address=None, silence_logs=logging.ERROR)
            )
            client = stack.enter_context(Client(there))
        with reported("dask", cluster, KilledWorker, FutureCancelledError):
            found = client.gather(client.map(work, paths, pure=False))
        yield from found
