"""What people see: tables that fit 80 columns, progress on long work, plain text where nobody watches."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

_PIPE_WIDTH: Final = 400  # nothing is cut where a program reads on


def console(*, stderr: bool = False) -> Console:
    """Return a console: colours and the terminal's width for people, neither for a pipe. NO_COLOR is respected."""
    watched = (sys.stderr if stderr else sys.stdout).isatty()
    plain = bool(os.environ.get("NO_COLOR"))  # no codes at all then: bold is one too
    return Console(
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


def print_json(value: Any) -> None:
    """Print one JSON value."""
    click.echo(json.dumps(value, ensure_ascii=False, indent=2))


def print_json_lines(values: Iterator[Any]) -> None:
    """Print one JSON object a line."""
    for value in values:
        click.echo(json.dumps(value, ensure_ascii=False))


def one_or_list(values: Sequence[Any]) -> Any:
    """Return the only value, or the list of several or none."""
    return values[0] if len(values) == 1 else list(values)


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], *, empty: str) -> None:
    """Print a table; columns whose name begins with ``>`` are set right."""
    screen = console()
    if not rows:
        screen.print(Text.assemble((f"{title}: ", "bold"), empty))
        return
    table = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column.removeprefix(">"), justify="right" if column.startswith(">") else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    screen.print(table)
    screen.print()


def say(text: str, style: str = "") -> None:
    """Print a line for people."""
    console().print(Text(text, style=style))


def warn(text: str) -> None:
    """Print a line for people beside the output."""
    console(stderr=True).print(Text(text, style="yellow"))


@contextmanager
def steps() -> Iterator[Any]:
    """Show what is being done, on a terminal; yields a function that takes the words."""
    if not _moves():
        yield lambda _: None
        return
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    with Progress(
        SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn(), console=console(stderr=True), transient=True
    ) as progress:
        task = progress.add_task("", total=None)
        yield lambda words: progress.update(task, description=words)


@contextmanager
def bar(words: str, total: int) -> Iterator[Any]:
    """Show how much of something is done, on a terminal; yields a function that takes how much more."""
    if not _moves():
        yield lambda _: None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    with Progress(
        TextColumn(words), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), console=console(stderr=True), transient=True
    ) as progress:
        task = progress.add_task("", total=total)
        yield lambda more: progress.advance(task, more)
