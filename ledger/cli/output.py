"""What people and programs see: tables that fit 80 columns on a terminal, JSON, lines, progress on long work.

Every command prints through here, and here through ``streams``. Text from outside is escaped before it is set in a table;
nothing is cut where a program reads on. ``rich`` is loaded for what people see only: output for programs does not wait for it,
and the small installation beside a terminal has none and prints plain lines.
"""

from __future__ import annotations

import codecs
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from itertools import chain, islice
from typing import TYPE_CHECKING, Any, Final, TextIO, cast

from ledger.cli.streams import Stream, print_text, writing
from ledger.text import json_text, visible

if TYPE_CHECKING:
    from rich.console import Console

    from ledger.events import Recorded

_PIPE_WIDTH: Final = 400  # nothing is cut where a program reads on
_NARROWEST: Final = 8  # of a column of words that is cut
_FIRST_ROWS: Final = 500  # of a long table: what its columns are set by


# ---------------------------------------------------------------------------------------------------------- for people


def console(*, stderr: bool = False) -> Console:
    """Return a console: colours and the terminal's width for people, neither for a pipe. NO_COLOR is respected.

    What it is given must be escaped already.
    """
    from rich.console import Console

    stream = sys.stderr if stderr else sys.stdout
    watched = stream.isatty()
    plain = bool(os.environ.get("NO_COLOR"))  # no codes at all then: bold is one too
    return Console(
        file=cast("TextIO", Stream(stream.raw, is_escaping=False)) if isinstance(stream, Stream) else stream,
        stderr=stderr,
        highlight=False,
        soft_wrap=not watched,
        width=None if watched else _PIPE_WIDTH,
        force_terminal=False if plain else None,
        color_system=None if plain else "auto",
    )


def _moves() -> bool:
    """Whether progress can be shown: on a terminal that takes control codes."""
    return sys.stderr.isatty() and not os.environ.get("NO_COLOR")


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], *, empty: str) -> None:
    """Print a table; columns whose name begins with ``>`` are set right."""
    from rich.table import Table
    from rich.text import Text

    screen = console()
    if not rows:
        screen.print(Text.assemble((f"{visible(title)}: ", "bold"), visible(empty)))
        return
    table = Table(
        title=Text(visible(title)), title_justify="left", title_style="bold", box=None, pad_edge=False, header_style="bold"
    )
    for column in columns:
        table.add_column(column.removeprefix(">"), justify="right" if column.startswith(">") else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(visible(cell)) for cell in row))
    screen.print(table)
    screen.print()


def print_long_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[str]], *, empty: str) -> None:
    """Print a table of any length in memory that does not grow with it: columns as wide as the first rows need.

    A later cell that is wider widens its column from there on. Otherwise as ``print_table``.
    """
    rows = iter(rows)
    first = [[visible(cell) for cell in row] for row in islice(rows, _FIRST_ROWS)]
    if not first:
        print_table(title, columns, [], empty=empty)
        return
    from rich.cells import cell_len, set_cell_size

    names = [column.removeprefix(">") for column in columns]
    widths = [max(map(cell_len, cells)) for cells in zip(names, *first, strict=True)]
    limits = _limits(columns, widths)

    def cut(cell: str, limit: int | None) -> str:
        return cell if limit is None or cell_len(cell) <= limit else f"{set_cell_size(cell, limit - 1)}…"

    def line(row: Sequence[str]) -> str:
        cells = list(map(cut, row, limits))
        widths[:] = map(max, widths, map(cell_len, cells))
        padding = [" " * (width - cell_len(cell)) for width, cell in zip(widths, cells, strict=True)]
        parts = zip(columns, cells, padding, strict=True)
        return "  ".join(pad + cell if column.startswith(">") else cell + pad for column, cell, pad in parts).rstrip()

    widths = [width if limit is None else min(width, limit) for width, limit in zip(widths, limits, strict=True)]
    print_line(title, "bold")
    print_line(line(names), "bold")
    print_lines(map(line, chain(first, ([visible(cell) for cell in row] for row in rows))))
    print_line("")


def _limits(columns: Sequence[str], widths: Sequence[int]) -> list[int | None]:
    """Return how wide the cells of columns of words may be on a terminal, so that the table fits it; None for any width."""
    limits: list[int | None] = [None] * len(columns)
    if not sys.stdout.isatty():
        return limits
    words = {at: width for at, width in enumerate(widths) if not columns[at].startswith(">")}
    excess = sum(widths) + 2 * (len(widths) - 1) - console().width
    while excess > 0 and words and max(words.values()) > _NARROWEST:
        widest = max(words, key=lambda at: words[at])
        words[widest] -= 1
        limits[widest] = words[widest]
        excess -= 1
    return limits


def print_line(text: str, style: str = "") -> None:
    """Print a line for people."""
    _print_line(text, style, stderr=False)


def print_recorded(events: Sequence[Recorded], *, otherwise: str) -> None:
    """Print as which version a person's decision was recorded; ``otherwise`` where there was nothing to record."""
    print_line(f"recorded as version {events[0].version}" if events else otherwise)


def print_lines(lines: Iterable[str]) -> None:
    """Print lines: in a pipe as they are, on a terminal each cut to its width, which its last character then shows."""
    from rich.text import Text

    screen, is_watched = console(), sys.stdout.isatty()
    for line in lines:
        if is_watched:
            screen.print(Text(visible(line)), no_wrap=True, overflow="ellipsis", crop=True)
        else:
            sys.stdout.write(visible(line) + "\n")
    sys.stdout.flush()


def warn(text: str) -> None:
    """Print a line for people beside the output."""
    _print_line(text, "yellow", stderr=True)


def _print_line(text: str, style: str, *, stderr: bool) -> None:
    if find_spec("rich") is None:
        stream = sys.stderr if stderr else sys.stdout
        stream.write(visible(text) + "\n")
        stream.flush()
        return
    from rich.text import Text

    console(stderr=stderr).print(Text(visible(text), style=style))


# -------------------------------------------------------------------------------------------------------- for programs


def print_bytes(raw: bytes) -> None:
    """Print bytes as they are for a program, and as text that can be looked at on a terminal."""
    buffer = getattr(getattr(sys.stdout, "raw", sys.stdout), "buffer", None)
    if buffer is None or sys.stdout.isatty():
        print_text(raw.decode("utf-8", "backslashreplace"))
        return
    sys.stdout.flush()
    with writing():
        buffer.write(raw)
        buffer.flush()


def print_json(value: Any) -> None:
    """Print one JSON value."""
    print_text(json_text(value, indent=2, is_ascii=not _is_unicode()) + "\n")


def print_json_list(values: Iterable[Any]) -> None:
    """Print a list of JSON values as ``print_json`` does, in memory that does not grow with it."""
    is_ascii, before = not _is_unicode(), "["
    for value in values:
        text = json_text(value, indent=2, is_ascii=is_ascii)
        sys.stdout.write(f"{before}\n  " + text.replace("\n", "\n  "))
        before = ","
    print_text("[]\n" if before == "[" else "\n]\n")


def print_json_lines(values: Iterator[Any]) -> None:
    """Print one JSON object a line."""
    is_ascii = not _is_unicode()
    for value in values:
        sys.stdout.write(json_text(value, is_ascii=is_ascii) + "\n")
    sys.stdout.flush()


def _is_unicode() -> bool:
    """Whether standard output can encode every character: JSON has escapes of its own for those that it cannot."""
    try:
        return codecs.lookup(sys.stdout.encoding or "ascii").name.startswith("utf")
    except LookupError:
        return False


def one_or_list(values: Sequence[Any]) -> Any:
    """Return the only value, or the list of several or none."""
    return values[0] if len(values) == 1 else list(values)


def print_one_or_list(values: Sequence[Any], *, of: int) -> None:
    """Print what is shown of so many accounts: of one its value, if there is one, else a list."""
    if of != 1 or len(values) > 1:
        print_json(list(values))
    elif values:
        print_json(values[0])


# ------------------------------------------------------------------------------------------------------------ progress


@contextmanager
def steps() -> Iterator[Any]:
    """Show what is being done, on a terminal; yields a function that takes the words."""
    if not _moves():
        yield lambda _: None
        return
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = SpinnerColumn(), TextColumn("{task.description}", markup=False), TimeElapsedColumn()
    with Progress(*columns, console=console(stderr=True), transient=True) as progress:
        task = progress.add_task("", total=None)
        yield lambda words: progress.update(task, description=visible(words))


@contextmanager
def bar(words: str, total: int) -> Iterator[Any]:
    """Show how much of something is done, on a terminal; yields a function that takes how much more."""
    if not _moves():
        yield lambda _: None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = TextColumn(words, markup=False), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    with Progress(*columns, console=console(stderr=True), transient=True) as progress:
        task = progress.add_task("", total=total)
        yield lambda more: progress.advance(task, more)
