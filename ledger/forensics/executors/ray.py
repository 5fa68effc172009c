"""The executor on Ray: a cluster by its address, or one on this machine."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

T = TypeVar("T")


def run(work: Callable[[str], T], paths: Sequence[str], workers: int, cluster: str | None) -> Iterator[T]:
    """Yield what the work returns of each path, in their order. As ``executors.Run``."""
    import ray

    processes = workers if cluster is None else None
    ray.init(address=cluster, num_cpus=processes, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    try:
        task: Any = ray.remote(_call)
        shared = ray.put(work)
        yield from ray.get([task.remote(shared, path) for path in paths])
    finally:
        ray.shutdown()


def _call(work: Callable[[str], T], path: str) -> T:
    return work(path)
