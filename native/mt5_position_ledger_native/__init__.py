"""The native loop of mt5-position-ledger: one shared library, which ``ledger.segments.native`` loads if this is installed."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

__all__ = ["LIBRARY", "__version__"]

__version__: Final = "0.2.0"

_NAMES: Final = {"win32": "ledger_native.dll", "darwin": "libledger_native.dylib"}

#: The shared library.
LIBRARY: Final = Path(__file__).with_name(_NAMES.get(sys.platform, "libledger_native.so"))
