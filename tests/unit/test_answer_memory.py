"""The memory that reading an answer of 15 MB takes, measured in a process of its own."""

from __future__ import annotations

import subprocess
import sys

import pytest

SIZE = 15_000_000
MOST_MB = 150

#: The kernel's own count of this process: that of getrusage begins with what the parent had.
PROGRAM = """
import sys
from pathlib import Path
from ledger.errors import SnapshotRefused
from ledger.gateway import client
from ledger.protocol.echo import Asked
from ledger.protocol.read import read_deals, read_snapshot

kind, head, row, tail, size = sys.argv[1], *(text.encode() for text in sys.argv[2:5]), int(sys.argv[5])
raw = bytearray(head)
number = 0
while len(raw) < size:
    number += 1
    raw += row.replace(b"<n>", b"%d" % number)
answer = bytes(raw[:-1] + tail)
del raw
read = {"positions": read_snapshot, "deals": read_deals}[kind]
try:
    found = getattr(read(answer, Asked("a1")), kind)
    assert len(found) == number
    outcome = "read"
except SnapshotRefused:
    outcome = "refused"
status = Path("/proc/self/status").read_text()
print(outcome, int(status.split("VmHWM:")[1].split()[0]) // 1024)
"""

HEAD = '{"status":"SUCCESS","req_id":"a1","%s":['
SHORT = '{"ticket":<n>,"symbol":"X","type":0,"volume":0.<n>,"price_open":1},'
FULL = (
    '{"ticket":<n>, "identifier":<n>, "symbol":"EURUSD", "type":"buy", "volume":0.1, "price_open":1.<n>, "profit":-1.<n>, '
    '"time":1704153600, "time_msc":1704153600123, "time_update_msc":1704153600123, "magic":7, "swap":-0.<n>, "sl":0.0, '
    '"tp":0.0, "comment":"at 10:00 \u00e9 <n>"},'
)
DEAL = (
    '{"ticket":<n>, "order":<n>, "time":1704153600, "time_msc":1704153600123, "type":"buy", "entry":"in", "magic":7, '
    '"position_id":<n>, "reason":3, "volume":0.1, "price":1.<n>, "commission":-0.35, "swap":0.0, "profit":0.<n>, "fee":0, '
    '"symbol":"EURUSD", "comment":"", "external_id":""},'
)
CALM = HEAD % "positions" + "]"


@pytest.mark.parametrize(("kind", "head", "row", "tail", "outcome"), [
    ("positions", HEAD % "positions", SHORT, "]}", "read"),
    ("positions", HEAD % "positions", FULL, "]}", "read"),
    ("deals", HEAD % "deals", DEAL, "]}", "read"),
    ("positions", HEAD % "positions", "{},", "]}", "refused"),
    ("positions", CALM + ',"junk":[', "[],", "]}", "refused"),
    ("positions", CALM + ",", '"k<n>":{},', "}", "refused"),
    ("positions", HEAD % "positions" + '{"x":[', "0.5,", "]}]}", "refused"),
], ids=["short positions", "full positions", "deals", "empty rows", "junk", "fields", "one row"])  # fmt: skip
def test_an_answer_of_15_mb_takes_at_most_150(kind, head, row, tail, outcome):
    command = [sys.executable, "-c", PROGRAM, kind, head, row, tail, str(SIZE)]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()  # our own program
    assert output[0] == outcome
    assert int(output[1]) <= MOST_MB
