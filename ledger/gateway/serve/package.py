"""Opens the official package in the terminal process, so that each call into it is reported before and after."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import wraps
from importlib import import_module
from typing import Any, Final

from ledger.gateway.mt5_orders import Mt5OrderTerminal

#: What names ``open_package`` to a terminal process.
OPENER: Final = f"{__name__}:open_package"
_MODULE: Final = "MetaTrader5"


def open_package(settings: Mapping[str, Any], report: Callable[[str | None], object]) -> Mt5OrderTerminal:
    """Return the terminal of the official package. Nothing is called yet.

    Args:
        settings: Arguments of ``Mt5Terminal``.
        report: Called with the name of each call into the package before it, and with None after it.

    Raises:
        ImportError: The package is not installed here.
    """
    return Mt5OrderTerminal(ReportedModule(import_module(_MODULE), report), **settings)


class ReportedModule:
    """A module whose calls are reported.

    Args:
        module: The package, or an object with its calls.
        report: Called with the name of a call before it, and with None after it.
    """

    def __init__(self, module: Any, report: Callable[[str | None], object]) -> None:
        self._module = module
        self._report = report

    def __getattr__(self, name: str) -> Any:
        """Return an attribute of the module; a function comes with its reports."""
        found = getattr(self._module, name)
        return self._reported(name, found) if callable(found) and not isinstance(found, type) else found

    def _reported(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(call)
        def reported(*arguments: Any, **named: Any) -> Any:
            self._report(name)
            try:  # the package counts an empty ** as an argument and refuses it
                return call(*arguments, **named) if named else call(*arguments)
            finally:
                self._report(None)

        return reported
