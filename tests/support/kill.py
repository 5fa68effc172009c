"""This module is ``tools/kill.py``, importable by tests."""

from __future__ import annotations

from tests.support import sample

assert sample.__name__, "loading it makes the scripts in tools/ importable"

from kill import Broken, Run, run  # noqa: E402

__all__ = ["Broken", "Run", "run"]
