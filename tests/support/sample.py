"""This module is the invented account of ``tools/sample_history.py``, importable by tests."""

from __future__ import annotations

import sys
from pathlib import Path

_TOOLS = str(Path(__file__).resolve().parents[2] / "tools")
if _TOOLS not in sys.path:
    sys.path.append(_TOOLS)  # scripts in tools/ import one another by bare name, as Python runs them

from sample_history import (  # noqa: E402
    LANGUAGES,
    LOGIN,
    SERVER,
    Deal,
    History,
    main,
    make_history,
    render_csv,
    render_html,
    render_xlsx,
)

__all__ = [
    "LANGUAGES",
    "LOGIN",
    "SERVER",
    "Deal",
    "History",
    "main",
    "make_history",
    "render_csv",
    "render_html",
    "render_xlsx",
]
