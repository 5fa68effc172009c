"""Which ``MetaTrader5`` module an address names: ``mt5:`` the official one, ``mt5:MODULE`` or ``mt5:MODULE:NAME`` another one.

Modules are imported when such an address is opened, and not before: the ledger depends on none of them.
"""

from __future__ import annotations

import re
from importlib import import_module
from typing import Any, Final

from ledger.errors import BadValue

SCHEME: Final = "mt5:"
OFFICIAL: Final = "MetaTrader5"
_NAMED: Final = re.compile(r"(?P<module>[^\W\d]\w*(?:\.[^\W\d]\w*)*)(?::(?P<name>[^\W\d]\w*))?")
_INSTALL: Final = (
    "it exists for Windows only: pip install MetaTrader5 there, on the terminal's machine. From another machine name a gateway "
    "(--gateway tcp://HOST:PORT), or a module with the same calls (--gateway mt5:MODULE:NAME)"
)


def is_module_address(address: object) -> bool:
    """Return whether an address names a module rather than an endpoint."""
    return isinstance(address, str) and address.startswith(SCHEME)


def load_module(address: str) -> Any:
    """Import the module that an address names, and return it: or what ``NAME`` is in it, or what that returns if it is called.

    Raises:
        BadValue: It is no such address, or there is no such module or name.
    """
    rest = address.removeprefix(SCHEME) or OFFICIAL
    named = _NAMED.fullmatch(rest)
    if named is None:
        raise BadValue(f"expected mt5:, mt5:MODULE or mt5:MODULE:NAME, found {address!r}")
    module = _import(named["module"])
    if named["name"] is None:
        return module
    try:
        found = getattr(module, named["name"])
    except AttributeError:
        raise BadValue(f"module {named['module']} has no {named['name']}: name an object with MetaTrader 5's calls") from None
    return found() if callable(found) and not hasattr(found, "positions_get") else found


def _import(name: str) -> Any:
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or name.partition(".")[0] != error.name.partition(".")[0]:
            raise BadValue(f"module {name} needs {error.name}, which is not installed here") from error
        if name == OFFICIAL:
            raise BadValue(f"the package {OFFICIAL} is not installed: {_INSTALL}") from None
        raise BadValue(f"there is no module {error.name}: it has to be installed, or in a folder of PYTHONPATH") from None
    except ImportError as error:  # a part of it is not there, as numpy of another version
        raise BadValue(f"module {name} cannot be imported: {error}") from error
