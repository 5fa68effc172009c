"""This module is how commands are called within a test: with streams of bytes whose encoding the test chooses."""

from __future__ import annotations

import io
import json
import sys
from typing import Any

from attrs import frozen

from ledger.cli import main


@frozen
class Ran:
    """What a command left: its exit code, and the bytes of its outputs."""

    code: int
    out: bytes
    err: bytes

    @property
    def text(self) -> str:
        return (self.out + self.err).decode()

    def json(self) -> Any:
        return json.loads(self.out)


def run(*words: str, encoding: str = "utf-8", journal: str | None = None) -> Ran:
    """Call a command and return what it left."""
    before = sys.stdout, sys.stderr
    out, err = (io.TextIOWrapper(io.BytesIO(), encoding=encoding, write_through=True) for _ in range(2))
    sys.stdout, sys.stderr = out, err
    code: object = None
    try:
        main([*(("--journal", journal) if journal else ()), *words])
    except SystemExit as ended:
        code = ended.code
    finally:
        sys.stdout, sys.stderr = before
    assert isinstance(code, int)
    return Ran(code, out.detach().getvalue(), err.detach().getvalue())
