"""Names that were replaced: the old ones work for one minor version longer and warn when they are used."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import wraps
from importlib import import_module
from typing import Any, ParamSpec, TypeVar, cast
from warnings import warn

P = ParamSpec("P")
R = TypeVar("R")
C = TypeVar("C")


def module_getattr(module: str, replacements: Mapping[str, str]) -> Callable[[str], Any]:
    """Return a ``__getattr__`` for a module.

    Args:
        module: The module's ``__name__``.
        replacements: Old name -> dotted path of what replaces it, ``ledger.terms.AccountTerms``.
    """

    def getattr_of(name: str) -> Any:
        if name not in replacements:
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        home, _, new = replacements[name].rpartition(".")
        _warn(f"{module}.{name}", replacements[name], level=2)
        return getattr(import_module(home), new)

    return getattr_of


class Alias:
    """The old name of an attribute or a method: reads and writes the one that replaced it.

    ```python
    class Account:
        standing = Alias("terms")
    ```
    """

    def __init__(self, new: str) -> None:
        self._new = new
        self._old = ""

    def __set_name__(self, owner: type, name: str) -> None:
        self._old = f"{owner.__name__}.{name}"

    def __get__(self, instance: object, owner: type) -> Any:
        """Return the attribute of the instance, or that of the class where there is none."""
        _warn(self._old, self._new, level=2)
        return getattr(owner if instance is None else instance, self._new)

    def __set__(self, instance: object, value: object) -> None:
        """Set the attribute that replaced it."""
        _warn(self._old, self._new, level=2)
        setattr(instance, self._new, value)


def arguments(**replacements: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Return a decorator of a function: it accepts old keyword arguments, ``old="new"``."""

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        @wraps(function)
        def call(*args: Any, **given: Any) -> R:
            for old in [name for name in given if name in replacements]:
                new = replacements[old]
                if new in given:
                    raise TypeError(f"{function.__qualname__} got both {new} and {old}, its deprecated name")
                _warn(f"{function.__qualname__}({old}=)", f"{new}=", level=2)
                given[new] = given.pop(old)
            return function(*args, **given)

        return cast("Callable[P, R]", call)

    return decorate


def init_arguments(**replacements: str) -> Callable[[type[C]], type[C]]:
    """Return a decorator of a class: its constructor accepts old keyword arguments, ``old="new"``."""

    def decorate(cls: type[C]) -> type[C]:
        setattr(cls, "__init__", arguments(**replacements)(cls.__init__))  # noqa: B010  # no name of the type's own
        return cls

    return decorate


def _warn(old: str, new: str, *, level: int) -> None:
    warn(f"{old} is deprecated: use {new}", DeprecationWarning, stacklevel=level + 1)
