"""The executor on Spark: a cluster by its master's address, or one on this machine; in a program with a session, that one."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from typing import Any, TypeVar
from uuid import uuid4

from ledger.forensics.executors import reported

T = TypeVar("T")
_SETTINGS = {"spark.ui.enabled": "false", "spark.ui.showConsoleProgress": "false", "spark.log.level": "ERROR"}
_SLICES = 8  # of each processor: so that none waits for the last


def run(work: Callable[[str], T], paths: Sequence[str], workers: int, cluster: str | None) -> Iterator[T]:
    """Yield what the work returns of each path, in their order. As ``executors.Run``."""
    from py4j.protocol import Py4JError

    name = f"ledger {uuid4()}"
    with ExitStack() as stack:
        with reported("spark", cluster, Exception):  # nothing of ours runs before it is connected
            session = _session(name, cluster or f"local[{workers}]")
        context = session.sparkContext
        if context.appName == name:
            stack.callback(session.stop)
        with reported("spark", cluster, Py4JError):
            slices = max(1, min(len(paths), context.defaultParallelism * _SLICES))
            found = context.parallelize(paths, slices).map(work).collect()
        yield from found


def _session(name: str, master: str) -> Any:
    """Return a session of that name; in a program that has one, in whichever thread, that one."""
    from pyspark.sql import SparkSession

    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)  # the workers' Python has what this one has
    builder = SparkSession.builder.appName(name).master(master)
    for option, value in _SETTINGS.items():
        builder = builder.config(option, value)
    return builder.getOrCreate()
