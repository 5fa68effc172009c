"""The executor on Spark: a cluster by its master's address, or one on this machine; in a program with a session, that one."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from typing import Any, TypeVar

from ledger.forensics.executors import reported

T = TypeVar("T")
_SETTINGS = {"spark.ui.enabled": "false", "spark.ui.showConsoleProgress": "false", "spark.log.level": "ERROR"}
_SLICES = 8  # of each processor: so that none waits for the last


def run(work: Callable[[str], T], paths: Sequence[str], workers: int, cluster: str | None) -> Iterator[T]:
    """Yield what the work returns of each path, in their order. As ``executors.Run``."""
    from py4j.protocol import Py4JError
    from pyspark.sql import SparkSession

    with ExitStack() as stack:
        session = SparkSession.getActiveSession()
        if session is None:
            with reported("spark", cluster, Exception):  # nothing of ours runs before it is connected
                session = stack.enter_context(_started(cluster or f"local[{workers}]"))
        context = session.sparkContext
        with reported("spark", cluster, Py4JError):
            slices = max(1, min(len(paths), context.defaultParallelism * _SLICES))
            found = context.parallelize(paths, slices).map(work).collect()
        yield from found


def _started(master: str) -> Any:
    """Return a session of our own, which stops at the end of its context."""
    from pyspark.sql import SparkSession

    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)  # the workers' Python has what this one has
    builder = SparkSession.builder.appName("ledger").master(master)
    for name, value in _SETTINGS.items():
        builder = builder.config(name, value)
    return builder.getOrCreate()
