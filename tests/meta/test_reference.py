"""The reference pages of the manual state what the code does."""

from __future__ import annotations

import pytest

from tools.dev import reference

PAGES = reference.pages()


@pytest.mark.parametrize("name", sorted(PAGES))
def test_a_page_is_what_the_script_writes(name):
    written = (reference.FOLDER / name).read_text(encoding="utf-8")
    assert written == PAGES[name], "run: python3 tools/dev/reference.py"


def test_every_command_and_its_options_are_listed():
    from ledger.cli import COMMANDS

    assert [name for name in COMMANDS if f"## ledger {name}\n" not in PAGES["commands.md"]] == []
    assert "`--known-at TIME`" in PAGES["commands.md"]


def test_every_event_and_every_error_is_listed():
    from ledger import errors
    from ledger.codec import KINDS

    assert [name for name in KINDS if f"### {name}\n" not in PAGES["events.md"]] == []
    classes = [one for one in vars(errors).values() if isinstance(one, type) and issubclass(one, errors.LedgerError)]
    assert [one.__name__ for one in classes if one.__name__ not in PAGES["errors.md"]] == []


def test_every_public_name_is_on_one_of_the_pages():
    import ledger

    headings = {line.lstrip("# ") for page in PAGES.values() for line in page.splitlines() if line.startswith("##")}
    cells = {line.split("`")[1] for line in PAGES["errors.md"].splitlines() if line.startswith("| `")}
    parts_of_events = {"Event", "Recorded", "BreakEnd", "BreakKind", "Origin"}
    assert set(ledger.__all__) - headings - cells - parts_of_events - {"LedgerError"} == set()


def test_no_page_shows_an_address_in_memory():
    assert [name for name, page in PAGES.items() if " at 0x" in page] == []
