"""Quiet libraries: what Alembic and psycopg log of work that is ours stays out of an engine's log.

Alembic writes INFO lines while it is imported and with every migration; psycopg warns of each pipeline whose connection was
lost, which the ledger deals with and reports itself. What others log through the same libraries is left alone.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from threading import local
from typing import Final

#: The loggers of Alembic that write of a migration. Filters, unlike levels, are not inherited.
ALEMBIC: Final = (
    "alembic", "alembic.config", "alembic.ddl.impl", "alembic.ddl.postgresql", "alembic.runtime.migration",
    "alembic.runtime.plugins", "alembic.util.messaging",
)  # fmt: skip
PSYCOPG: Final = ("psycopg",)

_work: Final = local()


@contextmanager
def quiet(loggers: tuple[str, ...]) -> Iterator[None]:
    """Drop what this thread logs through these loggers meanwhile."""
    _filter(loggers)
    _work.depth = getattr(_work, "depth", 0) + 1
    try:
        yield
    finally:
        _work.depth -= 1


@cache
def _filter(loggers: tuple[str, ...]) -> None:
    for name in loggers:
        logging.getLogger(name).addFilter(_is_of_others)


def _is_of_others(_: logging.LogRecord) -> bool:
    return not getattr(_work, "depth", 0)
