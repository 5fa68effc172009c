"""Hostile files: each is read or refused in a time that grows with its size, and a limit that refuses one names itself."""

from __future__ import annotations

import io
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from ledger.errors import MalformedExport
from ledger.imports import files, read_statement, statement_of
from tests.support.reports import html
from tests.unit.test_imports_report import DEALS

ROOT = Path(__file__).resolve().parents[2]
#: Seconds of processor time for all kinds together. They take about five; one that is quadratic takes more alone.
CPU_SEC = 60
FINISH = f"""
import resource, sys
resource.setrlimit(resource.RLIMIT_CPU, ({CPU_SEC}, {CPU_SEC}))
sys.path.insert(0, ".")
from tools.faults import import_resources
for name, data in import_resources.hostile(400_000):
    print(name, flush=True)
    import_resources._import(data)
print("all done")
"""


def test_no_kind_of_hostile_file_takes_for_ever():
    done = subprocess.run([sys.executable, "-c", FINISH], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stdout.splitlines()[-1] == "all done", done.stdout.splitlines()[-1] + done.stderr[-300:]


def refused(data: bytes | str) -> str:
    with pytest.raises(MalformedExport) as error:
        statement_of(data.encode() if isinstance(data, str) else data, "report")
    return str(error.value)


def test_tables_may_be_nested_as_pages_do_and_no_deeper():
    page = "<table><tr><td>" * 60 + html(DEALS) + "</td></tr></table>" * 60
    assert len(statement_of(page.encode(), "report").deals) == 3
    assert "nested at most 64 deep" in refused("<table><tr><td>" * 65 + html(DEALS) + "</td></tr></table>" * 65)


def test_a_file_may_be_so_large_and_no_larger(tmp_path, monkeypatch):
    path = tmp_path / "report.html"
    path.write_text(html(DEALS))
    monkeypatch.setattr(files, "LARGEST_FILE", path.stat().st_size)
    assert len(read_statement(path).deals) == 3
    path.write_text(html(DEALS) + " ")
    with pytest.raises(MalformedExport, match=r"at most \d+ bytes, found a larger one"):
        read_statement(path)


def book(**parts: str) -> bytes:
    from tools.faults.import_resources import _book

    return _book({name.replace("__", "/") + ".xml": text for name, text in parts.items()}, compress=True)


def test_a_workbook_may_not_be_a_bomb():
    assert "once unpacked, found" in refused(book(xl__worksheets__sheet1="0" * 5_000_000))


def test_sheets_may_not_spread_over_far_more_cells_than_they_have():
    rows = "".join(f'<row r="{n}"><c r="XFD{n}"><v>1</v></c></row>' for n in range(1, 30))
    sheet = f"<worksheet><sheetData>{rows}</sheetData></worksheet>"
    assert "spreads over 29 rows and 16" in refused(book(xl__worksheets__sheet1=sheet))


def test_a_formula_outside_of_a_cell_is_refused():
    rows = '<row r="1"><c r="A1"><!-- </c> --><f>1</f><v>1</v></c></row>'
    sheet = f"<worksheet><sheetData>{rows}</sheetData></worksheet>"
    assert "every formula in a cell" in refused(book(xl__worksheets__sheet1=sheet))


def test_a_number_of_endless_digits_is_refused_at_once():
    text = DEALS.replace("| 10.00 |", f"| {'9' * 300_000}x |")
    assert "expected a number such as 1 234.56" in refused(html(text))


@pytest.mark.parametrize("reference", ["&#1234567890;", "&#" + "9" * 10_000 + ";"])
def test_a_reference_to_no_character_is_refused(reference):
    assert "numeric reference" in refused(html(DEALS).replace(">EA<", f">{reference}<"))


def test_a_zip_in_a_zip_is_another_kind_of_file():
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as outer:
        outer.writestr("inner.zip", b"PK")
    assert "another kind of zip file" in refused(buffer.getvalue())
