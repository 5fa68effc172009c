"""The manual builds strictly, and its pages load nothing from elsewhere."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tools import test as command

ROOT = Path(__file__).resolve().parents[2]
#: What makes a browser fetch something; a link that a reader follows does not.
_LOADS = re.compile(r"<(?:script|img|iframe|link)\b[^>]*\b(?:src|href)=\"?((?:https?:)?//[^\s\">]+)")


def build(project: Path, folder: Path) -> subprocess.CompletedProcess[str]:
    """Build the manual of a project as the step of the test command does, into a folder's ``manual``."""
    [step] = [step for step in command._steps([], folder / "report.xml") if step.name == "manual"]
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    words = [sys.executable, *step.command]
    return subprocess.run(words, cwd=project, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("manual")
    built = build(ROOT, folder)
    assert built.returncode == 0, built.stdout + built.stderr
    return folder / "manual"


@pytest.mark.parametrize("link", ["[a page](nowhere.md)", "[a heading](index.md#nowhere)", "![a picture](nowhere.svg)"])
def test_a_link_to_nowhere_fails_the_build(link, tmp_path):
    shutil.copy(ROOT / "mkdocs.yml", tmp_path)
    shutil.copytree(ROOT / "docs", tmp_path / "docs")
    with (tmp_path / "docs" / "index.md").open("a", encoding="utf-8") as page:
        page.write(f"\n{link}\n")
    built = build(tmp_path, tmp_path)
    assert built.returncode != 0
    assert "nowhere" in built.stdout + built.stderr


def test_every_page_is_built(site):
    pages = {path.relative_to(ROOT / "docs").with_suffix(".html") for path in (ROOT / "docs").rglob("*.md")}
    assert {page for page in pages if not (site / page).is_file()} == set()


def test_no_page_loads_anything_from_elsewhere(site):
    loaded = {(path.name, found[1]) for path in site.rglob("*.html") for found in _LOADS.finditer(path.read_text("utf-8"))}
    assert loaded == set()


def test_no_style_loads_anything_from_elsewhere(site):
    styles = list(site.rglob("*.css"))
    assert styles
    assert [path.name for path in styles if re.search(r"url\([\"']?(?:https?:)?//", path.read_text("utf-8"))] == []


@pytest.mark.parametrize(
    ("html", "is_loaded"),
    [
        ('<script src="https://cdn.example/x.js">', True),
        ('<link rel="stylesheet" href="//fonts.example/css">', True),
        ('<a href="https://example.org">', False),
        ('<script src="assets/x.js">', False),
    ],
)
def test_what_a_browser_fetches_is_found(html, is_loaded):
    assert bool(_LOADS.search(html)) == is_loaded
