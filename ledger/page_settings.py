"""Settings of the operator's page: where it listens, who may use it, in which role. Read from ``[page]`` of ``ledger.toml``.

Options of ``ledger page`` replace them. Secrets are never part of settings: a setting names the file that has one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import Enum
from functools import total_ordering
from pathlib import Path
from typing import Annotated, Final

import msgspec
from attrs import frozen

from ledger.approvals.people import is_same_person, person
from ledger.errors import BadValue
from ledger.text import visible

PORT: Final = 8077
#: In Chromium and Firefox a name of this machine, whatever a name server has, and of no other program: so is its cookie.
HOST: Final = "desk.localhost"
_HOST: Final = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?|\[[0-9a-f:.]{2,45}\]")
_NAME_MAX: Final = 100
_PATHS: Final = ("socket", "cert", "key", "proxy_secret_file", "access_log", "folder")


@total_ordering
class Role(Enum):
    """What a person may do: each role includes those before it.

    A viewer reads; an operator also notes, proposes and compares; an approver also decides proposals of others; an admin also
    sets the policy.
    """

    VIEWER = "viewer"
    OPERATOR = "operator"
    APPROVER = "approver"
    ADMIN = "admin"

    def __lt__(self, other: object) -> bool:
        if not isinstance(other, Role):
            return NotImplemented
        roles = list(Role)
        return roles.index(self) < roles.index(other)


class PageTable(msgspec.Struct, forbid_unknown_fields=True):
    """The table as it is written."""

    port: Annotated[int, msgspec.Meta(ge=0, le=65_535)] = PORT
    hosts: list[str] = []
    listen: str | None = None
    socket: str | None = None
    socket_group: str | None = None
    cert: str | None = None
    key: str | None = None
    proxy_secret_file: str | None = None
    allow_writes: bool = False
    writer: str | None = None
    operators: dict[str, Role] = {}
    groups: dict[str, Role] = {}
    access_log: str | None = None
    folder: str | None = None
    link_min: Annotated[float, msgspec.Meta(gt=0, le=1440)] = 10
    session_hours: Annotated[float, msgspec.Meta(gt=0, le=168)] = 12
    idle_min: Annotated[float, msgspec.Meta(gt=0, le=10_080)] = 120


@frozen(kw_only=True)
class PageSettings:
    """The settings of the page, checked.

    Attributes:
        port: On which it listens; 0 for a free one.
        hosts: The names that a browser may call it by beside those of this machine. The first is in links.
        listen: An address of this machine that others reach; None for this machine only.
        socket: A Unix socket to listen on instead of a port.
        socket_group: The group that may connect to it, beside the user who runs the page.
        cert: Certificates for TLS, in PEM.
        key: Their secret key.
        proxy_secret_file: What a trusted proxy sends with each request, where it does not come by the socket.
        allow_writes: Whether anything but reading is possible.
        writer: The journal's URL with the role that may append; None where it is the same.
        operators: Person -> role. Where there are any, nobody else signs in by a link.
        groups: Group of the single sign-on -> role.
        access_log: File for sign-ins and reads; None for standard error.
        folder: Where links wait until they are used; None for the folder of the session, or of temporary files.
        link_min: So many minutes a link can be used.
        session_hours: So long somebody is signed in at most.
        idle_min: So many minutes without a request end a sign-in.
    """

    port: int = PORT
    hosts: tuple[str, ...] = ()
    listen: str | None = None
    socket: Path | None = None
    socket_group: str | None = None
    cert: Path | None = None
    key: Path | None = None
    proxy_secret_file: Path | None = None
    allow_writes: bool = False
    writer: str | None = None
    operators: Mapping[str, Role] = {}
    groups: Mapping[str, Role] = {}
    access_log: Path | None = None
    folder: Path | None = None
    link_min: float = 10
    session_hours: float = 12
    idle_min: float = 120

    def operator(self, name: str) -> tuple[str, Role | None]:
        """Return how a person's name is written in the settings, and the role there; the name as it is and None otherwise."""
        return next(((one, role) for one, role in self.operators.items() if is_same_person(one, name)), (name, None))


def of_table(table: PageTable, folder: Path) -> PageSettings:
    """Check a table; relative paths in it are read from a folder.

    Raises:
        BadValue: It has what is no name of a host or person.
    """
    written = msgspec.structs.asdict(table)
    paths = {name: folder / written[name] for name in _PATHS if written[name] is not None}
    return PageSettings(
        **written | paths | {"hosts": tuple(host_name(one) for one in table.hosts), "operators": _persons(table.operators)}
    )


def host_name(text: str) -> str:
    """Return a host's name as browsers write it, without a port.

    Raises:
        BadValue: It is none.
    """
    found = text.lower()
    if not _HOST.fullmatch(found):
        raise BadValue(f"expected the name of a host without a port, as desk.example.com or [::1], found {visible(text)!r}")
    return found


def person_name(text: str) -> str:
    """Return the name of a person.

    Raises:
        BadValue: It is empty or long, or has characters that do not show.
    """
    if not text or text != text.strip() or len(text) > _NAME_MAX or visible(text) != text or not text.isprintable():
        raise BadValue(f"expected the name of a person, at most {_NAME_MAX} visible characters, found {visible(text[:200])!r}")
    return text


def _persons(operators: Mapping[str, Role]) -> Mapping[str, Role]:
    seen: dict[str, str] = {}
    for name in operators:
        same = person(person_name(name))
        if same in seen:
            raise BadValue(f"[page.operators] has {name!r} and {seen[same]!r}, which are one person: write one")
        seen[same] = name
    return operators
