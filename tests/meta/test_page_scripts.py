"""The page's own files fit its content security policy: no markup from text, no inline script or style, nothing of others."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Final

import pytest

from ledger.text import visible

STATIC: Final = Path(__file__).resolve().parents[2] / "ledger" / "page" / "static"
SCRIPTS: Final = sorted(STATIC.glob("*.js"))
#: What a file of the page does not contain, and why.
REFUSED: Final = {
    r"(inner|outer)HTML\b|insertAdjacentHTML|document\.write|DOMParser|createContextualFragment|setHTML": "text is no markup",
    r"\beval\b|\bnew Function\b|set(Timeout|Interval)\(\s*[\"'`]": "text is never run as a program",
    r"[{,]\s*style:|[\"']style[\"']|\sstyle=|<style|cssText": "style-src 'self' refuses inline styles",
    r"(?<![\w\"])on[a-z]+\s*=\s*[\"']|javascript:": "script-src 'self' refuses inline scripts",
    r"[\"'`(](https?:|wss?:)?//(?!www\.w3\.org/2000/svg)[a-z0-9-]+\.[a-z]": "nothing comes from outside",
    r"localStorage\.(?!getItem|setItem\(\"?(ledger-|SETTING))": "what is stored in the browser is named after the ledger",
    r"\bdebugger\b|console\.log": "what is for trying things out is not shipped",
}
IMPORT: Final = re.compile(r"^import (?:\{([^}]*)\}|\* as \w+) from \"\./([\w.-]+)\";", re.MULTILINE)
NAMED: Final = re.compile(r"""(?:from |src=|href=)["'](?:\./|/static/)([\w./-]+)["']""")


def files() -> list[Path]:
    return [*SCRIPTS, *STATIC.glob("*.html"), *STATIC.glob("*.css"), *STATIC.glob("*.svg")]


def test_the_files_of_the_page_are_there():
    assert {"index.html", "style.css", "app.js", "dom.js"} <= {one.name for one in files()}


@pytest.mark.parametrize("pattern", REFUSED)
def test_no_file_of_the_page_contains_what_its_policy_refuses(pattern):
    wrong = [
        f"{path.name}:{number}: {line.strip()[:100]}"
        for path in files()
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if re.search(pattern, line)
    ]
    assert wrong == [], REFUSED[pattern]


@pytest.mark.parametrize(
    "text",
    [
        'a.innerHTML = "<b>"', "x.insertAdjacentHTML(", "document.write(x)", "eval(x)", 'setTimeout("x()", 1)',
        'h("p", { style: "x" })', '<p style="color:red">', '<a onclick="x()">', "javascript:void(0)",
        'import "https://cdn.example.com/x.js"', 'src="//cdn.example.com/x.js"',
        'localStorage.setItem("token", x)', "console.log(1)",
    ],
)  # fmt: skip
def test_each_of_them_is_found(text):
    assert any(re.search(pattern, text) for pattern in REFUSED)


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_a_script_begins_with_what_it_is(path):
    first = path.read_text(encoding="utf-8").splitlines()[0]
    assert first.startswith("// "), f"expected a comment about {path.name} in its first line, found {first[:60]!r}"


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_a_script_imports_what_another_one_exports(path):
    for names, module in IMPORT.findall(path.read_text(encoding="utf-8")):
        exported = (STATIC / module).read_text(encoding="utf-8")
        for name in filter(None, (one.split(" as ")[0].strip() for one in names.split(","))):
            pattern = rf"^export (async )?(const|let|function\*?|class) {name}\b|^export \{{[^}}]*\b{name}\b"
            assert re.search(pattern, exported, re.MULTILINE), f"{path.name} imports {name}, which {module} does not export"


def test_every_file_that_a_script_or_the_document_names_is_shipped():
    named = {name for path in files() for name in NAMED.findall(path.read_text(encoding="utf-8"))}
    views = re.findall(r": \"\./(\w+\.js)\"", (STATIC / "app.js").read_text(encoding="utf-8"))
    named |= set(views)
    assert {"app.js", "dom.js", "style.css", "overview.js", "account.js"} <= named
    assert {name for name in named if not (STATIC / name).is_file()} == set()


def test_the_page_writes_out_the_same_characters_as_the_command_line():
    """Whoever compares both sees one text: what is invisible on the terminal is not invisible here, and the other way round."""
    source = (STATIC / "dom.js").read_text(encoding="utf-8")
    escaped = "".join(re.findall(r'"([^"]*)"', source.partition("const HIDDEN")[2].partition('"gu"')[0]))
    points = re.compile(r"\\\\u(?:\{([0-9a-f]+)\}|([0-9a-f]{4}))")
    named = points.sub(lambda found: re.escape(chr(int(found[1] or found[2], 16))), escaped)
    every = "".join(map(chr, range(sys.maxunicode + 1)))
    assert "".join(re.findall(named, every)) == "".join(one for one in every if visible(one) != one)
