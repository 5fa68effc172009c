"""The executor on Spark: a cluster by its master's address, or one on this machine."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

T = TypeVar("T")
_SETTINGS = {"spark.ui.enabled": "false", "spark.ui.showConsoleProgress": "false", "spark.log.level": "ERROR"}
_SLICES = 8  # of each worker: so that none waits for the last


def run(work: Callable[[str], T], paths: Sequence[str], workers: int, cluster: str | None) -> Iterator[T]:
    """Yield what the work returns of each path, in their order. As ``executors.Run``."""
    from pyspark.sql import SparkSession

    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)  # the workers' Python has what this one has
    builder = SparkSession.builder.appName("ledger").master(cluster or f"local[{workers}]")
    for name, value in _SETTINGS.items():
        builder = builder.config(name, value)
    session = builder.getOrCreate()
    try:
        slices = max(1, min(len(paths), workers * _SLICES))
        yield from session.sparkContext.parallelize(paths, slices).map(work).collect()
    finally:
        session.stop()
