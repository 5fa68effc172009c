"""Where an archive is folded: in processes of this machine, or on a cluster that somebody runs already.

An executor is a module with one function ``run(work, paths, workers, cluster)``: it yields what the work returns of each path,
in the order of the paths. It decides where the work runs, and nothing of what it returns. Errors of ours come back as what the
work returns, so that none of them is wrapped in an error of the executor's library on the way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from typing import Final, Protocol, TypeVar

from ledger.errors import BadValue, JournalUnavailable, LedgerError

T = TypeVar("T")
#: Executor -> the package that it needs, None for none.
EXECUTORS: Final = {"local": None, "dask": "distributed", "ray": "ray", "spark": "pyspark"}
#: So much of what an executor's library states: the rest is its traceback.
_REASON_LINES: Final = 2
_REASON_LENGTH: Final = 300


class Run(Protocol):
    """What an executor's module has as ``run``."""

    def __call__(self, work: Callable[[str], T], paths: Sequence[str], workers: int, cluster: str | None, /) -> Iterator[T]:
        """Yield what the work returns of each path, in their order.

        Args:
            work: Can be pickled.
            paths: What it is called with.
            workers: So many processes, where the executor starts them itself.
            cluster: The address of a cluster that runs already, None to start one.

        Raises:
            LedgerError: The work raised it.
            JournalUnavailable: The executor does not start, or does not reach its cluster, or lost its processes.
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
    run: Run = import_module(f"ledger.forensics.executors.{name}").run

    def checked(work: Callable[[str], T], paths: Sequence[str], workers: int, cluster: str | None) -> Iterator[T]:
        for found in run(partial(_attempt, work), paths, workers, cluster):
            if isinstance(found, LedgerError):
                raise found
            yield found

    return checked


def _attempt(work: Callable[[str], T], path: str) -> T | LedgerError:
    try:
        return work(path)
    except LedgerError as error:
        return error


@contextmanager
def reported(name: str, cluster: str | None, *errors: type[Exception]) -> Iterator[None]:
    """Turn errors of an executor's library into one that states which executor it is, and where.

    Raises:
        JournalUnavailable: For each of ``errors``.
    """
    try:
        yield
    except LedgerError:
        raise
    except errors as error:
        where = "on this machine" if cluster is None else f"on {cluster}"
        reason = " ".join(str(error).split("\n")[:_REASON_LINES])[:_REASON_LENGTH] or type(error).__name__
        raise JournalUnavailable(
            f"expected the executor {name} {where} to fold the archive, and it failed: {reason}. Look whether it runs, or name "
            "another one with --executor"
        ) from error
