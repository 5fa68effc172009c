"""This script is hostile files against a good file of their size: what an import of them costs.

    python3 tools/faults/import_resources.py [--size BYTES] [--repeat N]

For each kind of hostile file it prints the processor time of an import into memory, and how many times that of a good report
of the same size. No kind may take more than five times as long.
"""

import argparse
import io
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # Python looks in the folder of a script, not in the project

from tools.dev import bootstrap
from tools.samples.history import LOGIN, SERVER, History, make_history, render_csv, render_html, render_xlsx

_MOST: float = 5
_LEAST_SEC: float = 0.02
_DEALS = 2000
_RENDER: dict[str, Callable[[History], bytes]] = {"html": render_html, "csv": render_csv, "xlsx": render_xlsx}
_HTML = "<html><body><table>"
_END = "</table></body></html>"
_HEADER = "Time,Deal,Symbol,Type,Direction,Volume,Price,Order,Commission,Swap,Profit,Balance,Comment\n"


def main() -> int:
    """Print a line for each kind; 1 if one is too slow."""
    parser = argparse.ArgumentParser(description="Hold hostile files against a good file of their size.")
    parser.add_argument("--size", type=int, default=660_000, help="bytes of each file (default: 660000)")
    parser.add_argument("--repeat", type=int, default=3, help="the best of so many (default: 3)")
    given = parser.parse_args()
    bootstrap.enter(bootstrap.RUNTIME_LOCK)
    good = {kind: _cost(_good(kind, given.size), given.repeat) for kind in _RENDER}
    print(*(f"good {kind} {cost:8.3f} s" for kind, cost in good.items()), sep="\n")
    worst = 0.0
    for name, data in hostile(given.size):
        kind = name.partition(":")[0]
        cost = _cost(data, given.repeat)
        ratio = cost / max(good[kind] * max(len(data) / given.size, 0.05), _LEAST_SEC)
        worst = max(worst, ratio)
        print(
            f"{name:34} {len(data):>9} bytes {cost:8.3f} s {ratio:6.2f} times{'  TOO SLOW' if ratio > _MOST else ''}",
            flush=True,
        )
    return int(worst > _MOST)


def _cost(data: bytes, repeat: int) -> float:
    best = float("inf")
    for _ in range(repeat):
        begin = time.process_time()
        _import(data)
        best = min(best, time.process_time() - begin)
        if best > 10:
            break
    return best


def _import(data: bytes) -> None:
    from ledger import AccountId, Ledger
    from ledger.errors import LedgerError
    from ledger.importer import ImportOptions, import_files

    options = ImportOptions(account=AccountId(SERVER, LOGIN), mode="hedging", currency="USD")
    with tempfile.NamedTemporaryFile() as file, Ledger.open("memory://") as ledger:
        file.write(data)
        file.flush()
        with suppress(LedgerError):
            import_files(ledger, [file.name], options=options)


def _good(kind: str, size: int) -> bytes:
    length = len(_written(kind, _DEALS))
    return _written(kind, max(10, _DEALS * size // length))


def _written(kind: str, deals: int) -> bytes:
    data = _RENDER[kind](make_history(1, "hedging", deals))
    return data.decode("utf-16").encode() if kind == "html" else data


# ---------------------------------------------------------------------------------------------------------- what is hostile


def hostile(size: int) -> Iterator[tuple[str, bytes]]:
    """Yield kinds of files, each of about a size."""
    yield from ((f"html: {name}", text.encode()) for name, text in _pages(size))
    yield from ((f"html: {name}", text.encode()) for name, text in _archives(size))
    yield from ((f"csv: {name}", text.encode()) for name, text in _texts(size))
    yield from ((f"csv: {name}", text.encode()) for name, text in _deals(size))
    yield from ((f"xlsx: {name}", data) for name, data in _books(size))


def _pages(size: int) -> Iterator[tuple[str, str]]:
    def fill(piece: str, more: int = 0) -> str:
        return piece * (size // (len(piece) + more))

    yield "nested tables", _HTML + "<table><tr><td>" * (size // 33) + "</td></tr></table>" * (size // 33) + _END
    yield "nested divs", _HTML + "<tr><td>" + fill("<div>") + _END
    yield "nested divs, closed", "<html>" + fill("<div>", 6) + fill("</div>", 5) + _HTML + _END
    yield "attributes", "<html><a " + " ".join(f"a{n}=1" for n in range(size // 8)) + ">" + _HTML + _END
    yield "quoted attributes", "<html><a " + fill('a="x" ') + ">" + _HTML + _END
    yield "class attributes", _HTML + "<tr><td " + fill("class=hidden ") + ">x</td></tr>" + _END
    yield "tags that never end", _HTML + fill("<td ")
    yield "quotes that never end", _HTML + fill('<td a="') + _END
    yield "comments that never end", _HTML + fill("<!-- ") + _END
    yield "scripts that never end", _HTML + fill("<script>") + _END
    yield "meta generators", fill("<meta generator ") + _END
    yield "fonts and paragraphs", _HTML + "".join(f"<font a={n}><p>" for n in range(size // 16)) + _END
    yield "cells that never end", _HTML + fill("<tr><td><b>x") + _END
    yield "one long cell", _HTML + "<tr><td>" + fill("1") + "</td></tr>" + _END
    yield "long digits in a row", _HTML + "<tr><td>2024.01.01 00:00:00</td><td>" + "</td><td>".join(
        ["9" * (size // 14) + "x"] * 13
    ) + "</td></tr>" + _END  # fmt: skip
    yield "builds", _HTML + "<tr><td>" + fill("(build 1 ") + "</td></tr>" + _END
    yield "account line", _HTML + "<tr><td>1 (" + fill("((,") + "</td></tr>" + _END
    figures = "<tr><td>a</td><td>1</td><td>b</td><td>1 (2%)</td><td>c</td><td>1 (2%)</td></tr>"
    yield "rows of figures", _HTML + fill(figures) + _END
    yield "brackets in figures", _HTML + figures + "<tr><td>a</td><td>" + fill("1(") + "</td></tr>" + _END
    yield "character references", _HTML + "<tr><td>" + fill("&#1;&amp") + "</td></tr>" + _END
    yield "one long reference", _HTML + "<tr><td>&#" + fill("9") + ";</td></tr>" + _END
    yield "empty rows", _HTML + fill("<tr></tr>") + _END
    yield "one row of cells", _HTML + "<tr>" + fill("<td>1") + "</tr>" + _END
    yield "blanks", _HTML + "<tr><td>-" + fill(" ") + "1</td></tr>" + _END
    yield "less-than signs", _HTML + fill("< ") + _END


def _archives(size: int) -> Iterator[tuple[str, str]]:
    head = 'MIME-Version: 1.0\nContent-Type: multipart/related; boundary="b"\n\n'
    nested = "--b\nContent-Type: multipart/related; boundary=b\n\n"
    yield "archives in archives", head + nested * (size // len(nested)) + "\n--b--\n"
    yield "parts", head + "--b\n\nx\n" * (size // 7) + "--b--\n"
    yield "headers", head + "--b\n" + "a: b\n" * (size // 5) + "\n--b--\n"
    yield (
        "page of equals signs",
        head + "--b\nContent-Type: text/html\nContent-Transfer-Encoding: quoted-printable\n\n" + ("=" * size + "\n--b--\n"),
    )


def _texts(size: int) -> Iterator[tuple[str, str]]:
    yield "one line of commas", "," * size
    yield "columns of a dump", "ticket,entry,position_id,type," + ",".join(f"c{n}" for n in range(size // 8)) + "\n1,2\n"
    yield "fields twice", "entry,position_id,type," + ",".join(["ticket"] * (size // 7)) + "\n1,2\n"
    yield "quotes", '"' * size
    yield "short lines", "1\n" * (size // 2)
    yield "commas and signs", "- ," * (size // 3)


def _row(time: int, deal: int, word: str, entry: str, volume: str, price: str, profit: str) -> str:
    hours, rest = divmod(time, 3600)
    when = f"2024.{1 + hours // 24 // 28:02}.{1 + hours // 24 % 28:02} {hours % 24:02}:{rest // 60:02}:{rest % 60:02}"
    symbol = "XAUUSD" if word != "balance" else ""
    return f"{when},{deal},{symbol},{word},{entry},{volume},{price},{deal},0.00,0.00,{profit},1.00,\n"


def _deals(size: int) -> Iterator[tuple[str, str]]:
    count = size // 75 // 2
    first = _HEADER + _row(0, 1, "balance", "", "", "", "1.00")

    def opened(price: Callable[[int], str], volume: str = "0.02") -> str:
        return first + "".join(_row(60 + n, 2 + n, "buy", "in", volume, price(n), "0.00") for n in range(count))

    def closed(profit: Callable[[int], str], volume: str = "0.02", entry: str = "out", many: int = count) -> str:
        return "".join(
            _row(60 + count + n, 2 + count + n, "sell", entry, volume, "2000.00", profit(n)) for n in range(many)
        )  # fmt: skip

    yield "one price, one second", opened(lambda _: "2000.00") + closed(lambda _: "0.00")
    yield "no profit distinguishes", opened(lambda n: f"{2000 + n / 100:.2f}") + closed(lambda _: "0.00")
    yield "profits at random", opened(lambda n: f"{2000 + n / 100:.2f}") + closed(lambda n: f"{n * 7919 % 1000 / 100:.2f}")
    yield "parts that never fit", opened(lambda n: f"{2000 + n % 50}", "0.03") + closed(lambda n: f"{n % 50}", "0.02")
    yield "parts that just fit", opened(lambda n: f"{2000 + n % 50}", "0.02") + closed(lambda _: "1.00", "0.01")
    yield "one stays open", opened(lambda n: f"{2000 + n % 50}") + closed(lambda n: f"{n % 50}", many=count - 1)
    yield "closes by", opened(lambda _: "2000.00") + closed(lambda _: "0.00", entry="out by")
    yield (
        "reversals",
        first
        + "".join(_row(60 + n, 2 + n, ("sell", "buy")[n % 2], "in/out", "0.02", "2000.00", "0.00") for n in range(2 * count)),
    )


def _books(size: int) -> Iterator[tuple[str, bytes]]:
    def sheet(rows: str, *, compress: bool = True, **parts: str) -> bytes:
        return _book({"xl/worksheets/sheet1.xml": _SHEET % rows, **parts}, compress=compress)

    cells = size // 30
    yield "formulas that never end", sheet('<row r="1">' + '<c r="A1"><f>' * cells + "</row>", compress=False)
    yield "formulas that never end, compress", sheet('<row r="1">' + '<c r="A1"><f>' * min(cells * 20, 600_000) + "</row>")
    yield (
        "formulas",
        sheet("".join(f'<row r="{n}"><c r="A{n}"><f>A1</f><v>1</v></c></row>' for n in range(1, cells)), compress=False),
    )
    yield "blanks in cells", sheet('<row r="1"><c r="A1"' + " " * size + "></row>", compress=False)
    yield "no rows", sheet("<c>" * (size // 3), compress=False)
    yield "far cells", sheet('<row r="1048576"><c r="A1048576"><v>1</v></c></row>')
    yield "wide cells", sheet("".join(f'<row r="{n}"><c r="XFD{n}"><v>1</v></c></row>' for n in range(1, 1000)))
    yield "zeros", sheet("<row>" + "<c><v>0</v></c>" * min(size * 4, 8_000_000 // 15) + "</row>")
    yield "declaration", sheet("", **{"xl/styles.xml": "<?xml " + " " * size + "?><a/>"}, compress=False)
    names = "".join(f'<sheet name="S{n}" sheetId="{n}" r:id="rId1"/>' for n in range(1, size // 60))
    yield "one sheet by many names", sheet("", **{"xl/workbook.xml": _WORKBOOK % names}, compress=False)
    yield "nested xml", sheet("<a>" * (size // 3), compress=False)


_XML = '<?xml version="1.0"?>'
_MAIN = 'xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"'
_OFFICE = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
_PACKAGE = "http://schemas.openxmlformats.org/package/2006"
_SHEET = f"{_XML}<worksheet {_MAIN}><sheetData>%s</sheetData></worksheet>"
_WORKBOOK = f'{_XML}<workbook {_MAIN} xmlns:r="{_OFFICE}"><sheets>%s</sheets></workbook>'


def _relation(kind: str, target: str) -> str:
    link = f'<Relationship Id="rId1" Type="{_OFFICE}/{kind}" Target="{target}"/>'
    return f'{_XML}<Relationships xmlns="{_PACKAGE}/relationships">{link}</Relationships>'


_PARTS = {
    "[Content_Types].xml": f'{_XML}<Types xmlns="{_PACKAGE}/content-types"/>',
    "_rels/.rels": _relation("officeDocument", "xl/workbook.xml"),
    "xl/_rels/workbook.xml.rels": _relation("worksheet", "worksheets/sheet1.xml"),
    "xl/workbook.xml": _WORKBOOK % '<sheet name="S" sheetId="1" r:id="rId1"/>',
}


def _book(parts: dict[str, str], *, compress: bool) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED if compress else zipfile.ZIP_STORED) as book:
        for name, text in (_PARTS | parts).items():
            book.writestr(name, text)
    return buffer.getvalue()


if __name__ == "__main__":
    sys.exit(main())
