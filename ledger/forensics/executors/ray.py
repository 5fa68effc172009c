"""The executor on Ray: a cluster by its address, or one on this machine; in a program that is connected already, that one."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from typing import Any, TypeVar

from ledger.forensics.executors import reported

T = TypeVar("T")


def run(work: Callable[[str], T], paths: Sequence[str], workers: int, cluster: str | None) -> Iterator[T]:
    """Yield what the work returns of each path, in their order. As ``executors.Run``."""
    import ray
    from ray.exceptions import NodeDiedError, RaySystemError, WorkerCrashedError

    with ExitStack() as stack:
        if not ray.is_initialized():
            processes = workers if cluster is None else None
            with reported("ray", cluster, Exception):  # nothing of ours runs before it is connected
                ray.init(
                    address=cluster, num_cpus=processes, include_dashboard=False, log_to_driver=False,
                    logging_level=logging.ERROR,
                )  # fmt: skip
            stack.callback(ray.shutdown)
        task: Any = ray.remote(_call)
        shared = ray.put(work)
        with reported("ray", cluster, NodeDiedError, RaySystemError, WorkerCrashedError):
            found = ray.get([task.remote(shared, path) for path in paths])
        yield from found


def _call(work: Callable[[str], T], path: str) -> T:
    return work(path)
