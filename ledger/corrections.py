"""The old name of ``ledger.adjustments``, for one minor version."""

from __future__ import annotations

from ledger.deprecation import module_getattr

_SAME = (
    "Proposal",
    "apply",
    "propose_acceptance",
    "propose_add",
    "propose_balance",
    "propose_close",
    "propose_update",
    "propose_withdrawal",
)

__getattr__ = module_getattr(__name__, {name: f"ledger.adjustments.{name}" for name in _SAME})
