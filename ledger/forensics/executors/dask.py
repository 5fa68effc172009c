"""The executor on Dask: a cluster by its scheduler's address, or one on this machine."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

T = TypeVar("T")


def run(work: Callable[[str], T], paths: Sequence[str], workers: int, cluster: str | None) -> Iterator[T]:
    """Yield what the work returns of each path, in their order. As ``executors.Run``."""
    from distributed import Client, LocalCluster

    if cluster is not None:
        with Client(cluster) as client:
            yield from client.gather(client.map(work, paths, pure=False))
        return
    with (
        LocalCluster(n_workers=workers, threads_per_worker=1, dashboard_address=None, silence_logs=logging.ERROR) as own,
        Client(own) as client,
    ):
        yield from client.gather(client.map(work, paths, pure=False))
