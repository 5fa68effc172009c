"""What commands load: one that reads or records in a SQLite journal waits for none of the libraries that it does not need."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ledger import Ledger
from tests.support.journals import ACCOUNT, Clock, fill, new_url, opened

ROOT = Path(__file__).resolve().parents[2]

#: Runs commands one after the other, with all that the first has loaded: each is started as the first of a process would be,
#: as far as what must not be loaded goes.
_PROGRAM = """
import contextlib, io, json, sys
from ledger.cli import main
unwanted = set(sys.argv[2].split(","))
for words in json.loads(sys.argv[1]):
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()) as complaints:
        try:
            main(words)
        except SystemExit as end:
            code = end.code
    loaded = sorted(unwanted & {name.partition(".")[0] for name in sys.modules})
    print(json.dumps([words[0], code, loaded, complaints.getvalue() if code == 2 else ""]))
"""

_READING = [
    ["accounts"], ["positions"], ["positions", "--json"], ["trades"], ["balance"], ["report"], ["log"], ["replay"],
    ["replay", "--until", "2030-01-01"], ["replay", "--version", "2"], ["explain", "balance"], ["status"], ["equity"],
    ["monitors"], ["breaks"], ["incidents"], ["orders"], ["proposals"], ["verify"],
]  # fmt: skip
_WRITING = [["derive"], ["halt", "--reason", "a test"], ["resume", "--reason", "a test"]]


def loaded(url, commands, unwanted):
    """Return command -> exit code and what it had loaded of what it does not need."""
    asked = [[*words, "--journal", url] for words in commands]
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM, json.dumps(asked), ",".join(unwanted)],
        cwd=ROOT, env=os.environ, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.fixture
def url(tmp_path):
    url = new_url("sqlite", tmp_path)
    with Ledger.open(url, now_us=Clock()) as ledger:
        ledger.journal.append(ACCOUNT, [opened(), *(fill(n, n) for n in range(1, 5))])
    return url


def test_no_command_that_reads_or_records_in_sqlite_loads_what_makes_journals(url):
    unwanted = ("sqlalchemy", "alembic", "psycopg", "zmq", "asyncio")
    found = loaded(url, [*_READING, *_WRITING], unwanted)
    assert found == [[words[0], 0, [], ""] for words in (*_READING, *_WRITING)]


def test_output_for_programs_does_not_wait_for_what_draws_tables(url):
    commands = [["positions", "--json"], ["trades", "--csv"], ["log", "--json"], ["replay", "--json"]]
    assert loaded(url, commands, ("rich",)) == [[words[0], 0, [], ""] for words in commands]


@pytest.mark.parametrize(
    ("words", "at", "expected"),
    [
        ("ledger po", 1, {"positions", "policy"}),
        ("ledger positions --js", 2, {"--json"}),
        ("ledger replay --unt", 2, {"--until"}),
        ("ledger sync --wat", 2, {"--watch"}),
    ],
)
def test_a_shell_completes_without_a_journal_being_loaded(words, at, expected):
    program = (
        "import sys\nfrom ledger.cli import main\ntry: main()\nexcept SystemExit: pass\n"
        "print({'sqlalchemy', 'rich', 'ledger.service', 'ledger.events'} & {*sys.modules}, file=sys.stderr)"
    )
    asked = os.environ | {"_LEDGER_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": str(at)}
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, env=asked, capture_output=True, text=True, check=True)
    assert {line.partition(",")[2] for line in done.stdout.splitlines()} == expected
    assert done.stderr.strip() == "set()"
