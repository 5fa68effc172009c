"""Every example of the manual runs, and prints what its page shows."""

from __future__ import annotations

import pytest

from tests.support.manual import ROOT, Example, Shell, blocks, play

DOCS = ROOT / "docs"
PAGES = {str(path.relative_to(DOCS)): path.read_text(encoding="utf-8") for path in sorted(DOCS.rglob("*.md"))}
WITH_EXAMPLES = sorted(name for name, page in PAGES.items() if any(block.language != "text" for block in blocks(page)))


@pytest.fixture
def shell(tmp_path, monkeypatch):
    shell = Shell.enter(tmp_path, monkeypatch)
    yield shell
    shell.close()


@pytest.mark.parametrize("name", WITH_EXAMPLES)
def test_the_examples_of_a_page_print_what_it_shows(name, shell):
    code = 0
    for example, printed in play(PAGES[name], shell):
        assert code == 0 or example.command == "echo $?", f"the exit code before $ {example.command} is not shown"
        assert example.fits(printed), f"$ {example.command}\n{printed}"
        code = shell.code
    assert code == 0, "the last exit code is not shown"


@pytest.mark.parametrize("name", sorted(PAGES))
def test_every_block_of_a_page_is_of_a_kind_that_is_run_or_is_only_text(name):
    only_with_title = {"toml", "ini", "sql"}
    known = {"console", "python", "text", "json"}
    odd = [block for block in blocks(PAGES[name]) if block.language not in (known | only_with_title if block.title else known)]
    assert odd == []
    assert PAGES[name].count("```") == 2 * len(blocks(PAGES[name])), "a block is in a list or has no language"


@pytest.mark.parametrize(
    ("shown", "printed", "fits"),
    [
        ("one\ntwo\n", "one  \ntwo\n\n", True),
        ("one\n", "one\ntwo\n", False),
        ("at ..., done\n", "at 12:00, done\n", True),
        ("first\n...\nlast\n", "first\nanother\nand one\nlast\n", True),
        ("a.c\n", "abc\n", False),
    ],
)
def test_dots_match_any_text(shown, printed, fits):
    assert Example("command", shown).fits(printed) == fits
