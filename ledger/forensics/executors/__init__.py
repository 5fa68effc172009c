"""Where an archive is folded: in processes of this machine, or on a cluster that somebody runs already.

An executor is a module with one function ``run(work, paths, workers, cluster)``: it yields what the work returns of each path,
in the order of the paths. It decides where the work runs, and nothing of what it returns.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from importlib import import_module
from importlib.util import find_spec
from typing import Final, Protocol, TypeVar, cast

from ledger.errors import BadValue, JournalUnavailable

T = TypeVar("T")
#: Executor -> the package that it needs, None for none.
EXECUTORS: Final = {"local": None, "dask": "distributed", "ray": "ray", "spark": "pyspark"}


class Run(Protocol):
    """What an executor's module has as ``run``."""

    def __call__(self, work: Callable[[str], T], paths: Sequence[str], workers: int, cluster: str | None, /) -> Iterator[T]:
        """Yield what the work returns of each path, in their order.

        Args:
            work: Can be pickled.
            paths: What it is called with.
            workers: So many processes, where the executor starts them itself.
            cluster: The address of a cluster that runs already, None to start one.
        """
        ...


def executor(name: str) -> Run:
    """Return an executor by its name.

    Raises:
        BadValue: There is none.
        JournalUnavailable: Its package is not installed.
    """
    if name not in EXECUTORS:
        raise BadValue(f"expected an executor of {', '.join(EXECUTORS)}, found {name!r}")
    needed = EXECUTORS[name]
    if needed is not None and find_spec(needed) is None:
        raise JournalUnavailable(
            f"the executor {name} needs {needed}, which is not installed: pip install 'mt5-position-ledger[{name}]'"
        )
    return cast("Run", import_module(f"ledger.forensics.executors.{name}").run)
