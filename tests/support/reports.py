"""This module is small reports written manually in tests: one line a row, cells between bars, as html or as xlsx."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterable, Mapping
from email.message import EmailMessage
from html import escape
from pathlib import Path
from typing import Any

from openpyxl import Workbook  # type: ignore[import-untyped]  # its stubs would be one more thing to lock

from ledger.imports import Statement, read_statement

__all__ = ["ACCOUNT", "Workbook", "archived", "html", "joined", "reader", "rows", "saved", "xlsx"]

ACCOUNT = "70113 (USD, Sample-Demo, demo, Hedge)"

_TEXT = re.compile(r"\d{4}\.\d\d\.\d\d.*|.*[^-+\d. ].*|")


def rows(text: str) -> list[list[str]]:
    """Split a text into rows of cells; an empty line is a row without cells."""
    return [[cell.strip() for cell in line.split("|")] if line.strip() else [] for line in text.strip("\n").split("\n")]


def html(text: str, *, account: str | None = ACCOUNT, generator: str = "client terminal", hidden: int = -1) -> str:
    """Write a report as HTML. The account line, if any, is the first table row; ``hidden`` is hidden in rows of 15."""
    lines = [["Account:", account], *rows(text)] if account is not None else rows(text)
    body = "".join(f"<tr>{''.join(_td(cells, index, hidden) for index in range(len(cells)))}</tr>\n" for cells in lines)
    head = f'<html><head><meta name="generator" content="{generator}"></head>\n<body><table>\n'
    return head + body + "</table></body></html>\n"


def _td(cells: list[str], index: int, hidden: int) -> str:
    attribute = ' class="hidden"' if index == hidden and len(cells) == 15 else ""
    return f"<td{attribute}>{escape(cells[index])}</td>"


def xlsx(sheets: str | Mapping[str, str], *, account: str | None = ACCOUNT) -> bytes:
    """Write sheets, numbers as numbers but times, volumes and words as text; the account is on the first sheet."""
    named = {"Sheet1": sheets} if isinstance(sheets, str) else sheets
    book = Workbook()
    book.remove(book.worksheets[0])
    for name, text in named.items():
        sheet = book.create_sheet(name)
        if account is not None and len(book.worksheets) == 1:
            sheet.append(["Account:", None, None, account])
        for cells in rows(text):
            sheet.append([_stored(cell, index) for index, cell in enumerate(cells)])
    return saved(book)


def _stored(cell: str, index: int) -> Any:
    if cell.startswith("="):
        return cell
    if _TEXT.fullmatch(cell) or (index in (4, 5) and len(cell) <= 4):
        return cell or None
    return float(cell.replace(" ", ""))


def saved(book: Workbook) -> bytes:
    """Return a workbook's bytes."""
    buffer = io.BytesIO()
    book.save(buffer)
    return buffer.getvalue()


def reader(folder: Path) -> Callable[[str | bytes], Statement]:
    """Return what writes a file into a folder and reads it."""

    def read(content: str | bytes) -> Statement:
        path = folder / "report"
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return read_statement(path)

    return read


def joined(*parts: str | Iterable[str]) -> str:
    """Join tables, an empty line between them."""
    return "\n\n".join(part.strip("\n") if isinstance(part, str) else "\n".join(part) for part in parts)


def archived(page: str, charset: str, encoding: str) -> bytes:
    """Write a page as a browser saves it in one file (MHTML)."""
    message = EmailMessage()
    message["From"] = "<Saved by a browser>"
    message["Subject"] = "Trade History Report"
    message.set_content("an archive")
    message.clear_content()
    message.make_related()
    message.add_related(page, subtype="html", charset=charset, cte=encoding)
    message.add_related(b"\x89PNG....", "image", "png")
    return message.as_bytes()
