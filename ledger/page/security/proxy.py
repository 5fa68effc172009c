"""Single sign-on: what a trusted proxy states about a person. From anybody else such a header is a forgery and is refused."""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from ledger.approvals.people import person
from ledger.errors import BadValue
from ledger.page.principals import Principal
from ledger.page.security.refusals import Refused
from ledger.page_settings import PageSettings, Role, person_name

SECRET_HEADER: Final = b"x-ledger-proxy-secret"
_USER: Final = b"x-forwarded-user"
_GROUPS: Final = b"x-forwarded-groups"
_SECRET_MIN: Final = 32
_STATED_MAX: Final = 100
_SECRET_MAX: Final = 4096
_OTHERS_READ: Final = 0o004
_Headers = list[tuple[bytes, bytes]]


class Proxy:
    """What a page believes of the proxy in front of it.

    Args:
        settings: Who has which role, and where the secret is.

    Raises:
        BadValue: The secret cannot be read, others can read it, or it is short.
    """

    def __init__(self, settings: PageSettings) -> None:
        self._settings = settings
        self._is_trusted_way = settings.socket is not None
        self._secret = None if settings.proxy_secret_file is None else read_secret(settings.proxy_secret_file)
        self._groups: Mapping[str, Role] = settings.groups

    def is_from(self, headers: _Headers) -> bool:
        """Return whether a request came through the trusted proxy.

        Raises:
            Refused: It has a wrong secret.
        """
        sent = _one(headers, SECRET_HEADER)
        if sent is None:
            return self._is_trusted_way
        if self._secret is None or not hmac.compare_digest(sent, self._secret):
            raise Refused(403, "ProxyUnknown", "the proxy's secret is not the one that the page was started with")
        return True

    def principal(self, headers: _Headers) -> Principal | None:
        """Return who sends a request as the trusted proxy states it; None where it states nobody.

        Raises:
            Refused: The headers did not come from the proxy, are no name, or the person has no role.
        """
        user, groups = _one(headers, _USER), _one(headers, _GROUPS)
        is_trusted = self.is_from(headers)
        if user is None and groups is None:
            return None
        if not is_trusted:
            raise Refused(
                403,
                "ProxyUnknown",
                "X-Forwarded-User and X-Forwarded-Groups are believed only on the Unix socket, or with the proxy's secret "
                "(--proxy-secret-file)",
            )
        name, role = self._settings.operator(_name(user))
        roles = [self._groups[one] for one in _words(groups) if one in self._groups]
        best = max([*roles, *([role] if role else [])], default=None)
        if best is None:
            raise Refused(
                403,
                "NotPermitted",
                f"{name} has no role here: name the person in [page.operators] or a group in [page.groups] of ledger.toml",
            )
        return Principal(name if role else person(name), best, "proxy")


def stated_name(headers: _Headers) -> str | None:
    """Return whom the proxy states, for the access log; None where it states nobody."""
    found = [value for name, value in headers if name == _USER]
    return found[0].decode("utf-8", "replace")[:_STATED_MAX] if found else None


def read_secret(path: Path) -> bytes:
    """Return the secret of the proxy.

    Raises:
        BadValue: It cannot be read, others can read it, or it is short.
    """
    try:
        if path.stat().st_mode & _OTHERS_READ:
            raise BadValue(f"others can read the proxy's secret in {path}: chmod o-r it, and make a new one if they may have")
        with path.open("rb") as file:
            found = file.read(_SECRET_MAX).strip()
    except OSError as error:
        raise BadValue(f"the proxy's secret in {path} cannot be read: {error.strerror or error}") from None
    if len(found) < _SECRET_MIN or not found.isascii() or b"\n" in found:
        raise BadValue(
            f"expected a line of at least {_SECRET_MIN} characters of ASCII in {path}: openssl rand -hex 32 makes one"
        )
    return found


def _one(headers: _Headers, name: bytes) -> bytes | None:
    found = [value for one, value in headers if one == name]
    if len(found) > 1:
        raise Refused(400, "HeaderTwice", f"expected {name.decode()} once, found it {len(found)} times")
    return found[0] if found else None


def _name(user: bytes | None) -> str:
    try:
        return person_name((user or b"").decode("utf-8"))
    except (UnicodeDecodeError, BadValue):
        raise Refused(400, "BadValue", "expected the name of a person in X-Forwarded-User, found something else") from None


def _words(groups: bytes | None) -> list[str]:
    return [one.strip() for one in (groups or b"").decode("utf-8", "replace").split(",")]
