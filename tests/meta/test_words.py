"""The project is written in the standard terms: words that were retired stay out of code and documents."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).resolve().parents[2]

RETIRED: Final = {  # what is not written -> what is written instead
    r"\b(told|untold|tellings?)\b": "recorded, reported, given, incomplete, record",
    r"\btells?\b": "reports, states, shows; distinguishes",
    r"\b\w*standing(_\w+)?\b": "account terms, open",
    r"\bstands? (at|for|in|beside|before|behind|open)\b": "is at, means, is",
    r"\b(by hand|a hand|the hand|hands out|at hand)\b": "manually, a manual trade, assigns, installed",
    r"\b([Ff]aces|\w+_faces?)\b": "JSON output, json_views",
    r"\b(doors?|floors?)\b": "interface, layer",
    r"\b(lives|lived|living)\b": "trades, positions; is played; survives",
    r"\b(lies?|lay) (in|at|beside|behind|before|between|there|here)\b": "is, is stored",
    r"\b(as_they_lie|as_it_lies|take_back|TakenBack|left_to_live|live_next|timeout_msc|TIMEOUT_MSC)\b": "their new names",
    r"\b(Circumstances|heads_apart|chain_stays|verify_rest|count_apart|refuse_stranger|is_in_the_way)\b": "their new names",
}

#: Where a retired word is quoted on purpose, and why.
QUOTED: Final = {
    "tests/meta/test_words.py": "the list itself",
    "tests/unit/test_deprecation.py": "old names that still work",
    "ledger/deprecation.py": "the example",
    "CHANGELOG.md": "the table of renames",
    "tools/testkit/frozen.py": "a recorded journal, whose hashes it is part of",
    "ledger/exporting.py": "old names that still work",
}
_ALIAS: Final = re.compile(
    r"""\bAlias\(|module_getattr|arguments\(|deprecated|_DEPRECATED|ix_events_standing|"(lived|TIMEOUT_MSC|Told|Standing|STANDING_KINDS)\""""
)


def files() -> list[str]:
    """Return the paths of what people read: code, tests, tools and documents, without migrations and recorded data."""
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    kinds = (".py", ".md", ".toml", ".yml")
    return [one for one in listed if one.endswith(kinds) and not one.startswith("migrations/") and one not in QUOTED]


@pytest.mark.parametrize("pattern", RETIRED)
def test_a_retired_word_is_not_written(pattern):
    wrong = [
        f"{path}:{number}: {line.strip()[:100]}"
        for path in files()
        for number, line in enumerate((ROOT / path).read_text(encoding="utf-8").splitlines(), 1)
        if re.search(pattern, line, re.IGNORECASE if pattern.islower() else 0) and not _ALIAS.search(line)
    ]
    assert wrong == [], f"write instead: {RETIRED[pattern]}"


@pytest.mark.parametrize("path", QUOTED)
def test_a_file_that_quotes_retired_words_does(path):
    text = (ROOT / path).read_text(encoding="utf-8")
    assert any(re.search(pattern, text) for pattern in RETIRED), f"{path} needs no exception any more"
