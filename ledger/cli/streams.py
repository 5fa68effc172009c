"""These are the standard streams while a command runs: they take any text, any encoding and any reader.

Whatever prints, a table, an error, a log line or a library, prints through them: characters that a terminal would obey or hide
are escaped, what the output cannot encode is escaped instead of raised, and a reader that leaves ends the command quietly.
"""

from __future__ import annotations

import io
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TextIO, cast

from ledger.text import visible, visible_lines


class OutputClosed(Exception):
    """An output accepts no more: its reader has left, or its disk is full.

    Not an ``OSError``: libraries take a broken pipe for theirs to deal with.

    Attributes:
        error: What writing raised.
    """

    def __init__(self, error: OSError) -> None:
        self.error = error
        super().__init__(f"the output cannot be written: {error.strerror or error}")


class Stream(io.TextIOBase):
    """A standard stream that takes any text and any reader.

    Args:
        raw: The stream as Python made it.
        is_escaping: Whether what is written is text that nobody has looked at; not so what ``rich`` writes, whose texts are
            escaped before it adds the codes that terminals obey.
    """

    def __init__(self, raw: TextIO, *, is_escaping: bool = True) -> None:
        self.raw = raw
        self._is_escaping = is_escaping

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """As of the raw stream."""
        return self.raw.encoding or "utf-8"

    @property
    def errors(self) -> str | None:  # type: ignore[override]
        """As of the raw stream."""
        return self.raw.errors

    def fileno(self) -> int:
        """Return the raw stream's."""
        return self.raw.fileno()

    def isatty(self) -> bool:
        """Return whether somebody watches."""
        return self.raw.isatty()

    def writable(self) -> bool:
        """Return True."""
        return True

    def write(self, text: str) -> int:
        """Write text, escaped where it has to be."""
        if not isinstance(text, str):
            raise TypeError(f"expected text, found {type(text).__name__}")
        with writing():
            self.raw.write(visible_lines(text) if self._is_escaping else text)
        return len(text)

    def flush(self) -> None:
        """Write out what waits."""
        with writing():
            self.raw.flush()

    def close(self) -> None:
        """Do nothing: the stream as Python made it goes on."""


@contextmanager
def writing() -> Iterator[None]:
    """Turn errors of writing into one that only this package catches."""
    try:
        yield
    except OSError as error:
        raise OutputClosed(error) from None


@contextmanager
def replaced() -> Iterator[None]:
    """Replace the standard streams while a command runs."""
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = (cast("TextIO", Stream(_able(one))) for one in before)
    library, handler = logging.getLogger("ledger"), LibraryLog()
    library.addHandler(handler)
    try:
        yield
    finally:
        library.removeHandler(handler)
        sys.stdout, sys.stderr = before


class LibraryLog(logging.Handler):
    """Prints what the library warns of beside the output. Results of syncs are printed by the commands themselves."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.addFilter(lambda record: record.name != "ledger.sync")

    def emit(self, record: logging.LogRecord) -> None:
        """Print a record."""
        with suppress(OutputClosed):
            complain(record.getMessage())


def library_log() -> LibraryLog | None:
    """Return what prints the library's warnings while a command runs."""
    return next((one for one in logging.getLogger("ledger").handlers if isinstance(one, LibraryLog)), None)


def _able(stream: TextIO | None) -> TextIO:
    """Return a stream that escapes what it cannot encode; one that leads nowhere where there is none."""
    if stream is None:
        return Path(os.devnull).open("w", encoding="utf-8")
    with suppress(AttributeError, ValueError):  # not every stream that somebody put there can be reconfigured
        cast("io.TextIOWrapper", stream).reconfigure(errors="backslashreplace")
    return stream


def flush() -> None:
    """Write out what waits to be written.

    Raises:
        OutputClosed: An output accepts no more.
    """
    sys.stdout.flush()
    sys.stderr.flush()


def abandon() -> None:
    """Let go of outputs that nobody reads, or else Python complains of them when it ends."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.__stdout__, sys.__stderr__):
        if stream is None or stream.closed:
            continue
        try:
            stream.flush()
        except OSError:
            os.dup2(nowhere, stream.fileno())


def print_text(text: str) -> None:
    """Print text of our own making as it is, with its line ends."""
    sys.stdout.write(text)
    sys.stdout.flush()


def complain(text: str) -> None:
    """Print why a command ends."""
    sys.stderr.write(f"ledger: {visible(text)}\n")
