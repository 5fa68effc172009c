"""Who sends a request, and what that person may do."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import frozen

from ledger.errors import NotPermitted
from ledger.page_settings import Role

if TYPE_CHECKING:
    from starlette.requests import HTTPConnection

__all__ = ["Principal", "Role", "principal_of", "require"]


@frozen
class Principal:
    """An operator whose identity was checked.

    Attributes:
        name: Who; it is recorded with every decision.
        role: What that person may do.
        via: How the identity was checked: "link" (a one-time link of this machine) or "proxy" (single sign-on).
    """

    name: str
    role: Role
    via: str


def principal_of(request: HTTPConnection) -> Principal:
    """Return who sends a request.

    Raises:
        NotPermitted: Nobody whose identity was checked.
    """
    found = getattr(request.state, "principal", None)
    if not isinstance(found, Principal):
        raise NotPermitted("this needs a person who is signed in, and nobody is: open a link of ledger page")
    return found


def require(request: HTTPConnection, role: Role) -> Principal:
    """Return who sends a request, provided that it is a person with a role, or a higher one.

    Raises:
        NotPermitted: It is not; the answer is 403.
    """
    principal = principal_of(request)
    if principal.role < role:
        raise NotPermitted(
            f"this needs the role {role.value}, and {principal.name} has the role {principal.role.value}: "
            "ask somebody who has it, or for a higher role in [page.operators] of ledger.toml"
        )
    return principal
