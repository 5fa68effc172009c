"""The old name of ``ledger.importer``, for one minor version."""

from __future__ import annotations

from ledger.deprecation import module_getattr

_SAME = ("FileReport", "import_files")

__getattr__ = module_getattr(
    __name__,
    {name: f"ledger.importer.{name}" for name in _SAME}
    | {
        "Told": "ledger.importer.ImportOptions",
    },
)
