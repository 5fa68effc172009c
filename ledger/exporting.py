"""The old name of ``ledger.exporter``, for one minor version."""

from __future__ import annotations

from ledger.deprecation import module_getattr

_SAME = ("Exported", "Record", "export", "is_earlier_export", "is_export", "record", "records")

__getattr__ = module_getattr(
    __name__,
    {name: f"ledger.exporter.{name}" for name in _SAME}
    | {
        "take_back": "ledger.exporter.import_json_lines",
        "TakenBack": "ledger.exporter.ImportedAccount",
    },
)
