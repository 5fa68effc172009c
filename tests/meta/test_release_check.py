"""The checklist of a release names what is missing."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools import release_check

ROOT = Path(__file__).resolve().parents[2]
DATED = "# Changelog\n\n## [0.2.0] - 2026-11-27\n\n- Added: this.\n\n## 0.1.0 - 2026-01-02\n"


@pytest.mark.parametrize(
    ("text", "version", "missing"),
    [
        (DATED, "0.2.0", []),
        (DATED.replace("Changelog\n", "Changelog\n\n## Unreleased\n"), "0.2.0", []),
        (DATED, "0.3.0", ["CHANGELOG.md has no section '## 0.3.0 - YYYY-MM-DD'"]),
        (DATED.replace(" - 2026-11-27", ""), "0.2.0", ["CHANGELOG.md has no section '## 0.2.0 - YYYY-MM-DD'"]),
        (DATED, "0.1.0", ["the newest section of CHANGELOG.md is 0.2.0, and pyproject.toml has 0.1.0"]),
        (
            DATED.replace("Changelog\n", "Changelog\n\n## Unreleased\n\n- Added: that.\n"),
            "0.2.0",
            ["CHANGELOG.md has changes under Unreleased: move them to 0.2.0"],
        ),
    ],
)
def test_a_changelog_of_another_version_or_without_a_date_is_named(text, version, missing):
    assert list(release_check.changelog_problems(text, version)) == missing


def test_a_schema_without_its_frozen_journal_is_named(tmp_path):
    for place in ("migrations/versions/0001_journal.py", "migrations/versions/0002_more.py", "tests/journals/0002.json"):
        (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / place).touch()
    [missing] = release_check.frozen_problems(tmp_path)
    assert missing == "tests/journals has no 0002.db.xz, 0002.sql.xz: run python3 tools/dev/freeze_journal.py"


def test_this_schema_has_its_frozen_journal():
    assert list(release_check.frozen_problems(ROOT)) == []


def test_a_folder_outside_git_cannot_be_released(tmp_path):
    [missing] = release_check.uncommitted(tmp_path)
    assert missing.startswith("git ")


def test_the_version_is_the_projects():
    from importlib.metadata import version

    assert release_check.project_version(ROOT) == version("mt5-position-ledger")
