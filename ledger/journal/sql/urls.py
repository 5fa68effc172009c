"""The URL of a journal: what counts as one, and how it is shown without its secrets.

One of Postgres is SQLAlchemy's, which is loaded for it. One of SQLite is only a file.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeAlias
from urllib.parse import quote, quote_plus

from attrs import frozen

from ledger.errors import BadValue

if TYPE_CHECKING:
    from sqlalchemy.engine import URL

    Url: TypeAlias = URL | "SqliteUrl"

_EXPECTED: Final = "a journal is sqlite:///FILE or postgresql+psycopg://HOST/DB"
_POSTGRES: Final = ("postgresql", "postgres", "postgresql+psycopg")
_SQLITE: Final = ("sqlite", "sqlite+pysqlite")

#: A scheme (longer than the letter of a drive), or what is left of one whose colon was forgotten.
_LOOKS_LIKE_URL: Final = re.compile(
    r"[a-z][a-z0-9+.-]+:|(sqlite|postgres|mysql|maria|oracle|mssql|https?|file|memory)[a-z0-9+.-]*//", re.IGNORECASE
)
_SCHEME: Final = re.compile(r"([a-z][a-z0-9+.-]*):?(/*)", re.IGNORECASE)
_KNOWN_SCHEME: Final = re.compile(r"(sqlite|postgres|mysql|maria|oracle|mssql|http|file|memory)[a-z0-9+.-]*", re.IGNORECASE)
_USER: Final = re.compile(r"[\w.+-]*")
_HOST: Final = re.compile(r"(\[[0-9a-f:.]+\]|[\w.-]*)(:\d*)?", re.IGNORECASE)
_DATABASE: Final = re.compile(r"[\w.-]*")
#: Options that are shown, with what their values look like; anything else may be a secret.
_SHOWN_OPTIONS: Final = {
    "application_name": re.compile(r"[\w.-]*"),
    "connect_timeout": re.compile(r"\d*"),
    "host": re.compile(r"[\w.:%,-]*"),
    "port": re.compile(r"[\d,]*"),
    "sslmode": re.compile(r"[a-z-]*"),
    "target_session_attrs": re.compile(r"[a-z-]*"),
}
_HIDDEN: Final = "***"


@frozen
class SqliteUrl:
    """The file of a SQLite journal, with what is asked of both kinds of URL."""

    database: str
    drivername: str = "sqlite"

    def __str__(self) -> str:
        """Return the URL."""
        return f"sqlite:///{self.database}"

    def render_as_string(self, hide_password: bool = True) -> str:  # noqa: ARG002, FBT001, FBT002  # as SQLAlchemy's
        """Return the URL, which has no secrets."""
        return str(self)


def journal_url(text: str) -> Url:
    """Read a journal URL; a plain path is a SQLite file, named exactly.

    Raises:
        BadValue: The text is no URL of a journal, or it looks like a URL and is none.
    """
    if "\0" in text or not text.strip() or not _names_a_file(text):
        raise BadValue(f"{_EXPECTED}, found {redacted(text)!r}")
    if not looks_like_url(text):
        return _sqlite_url(text)
    scheme, mark, rest = text.partition("://")
    if mark and scheme in _SQLITE:
        return _sqlite_url(_path_of(rest, text))
    url = _parse(text)
    if url is None or url.drivername not in _POSTGRES:
        raise BadValue(f"{_EXPECTED}, found {redacted(text)!r}")
    return url.set(drivername="postgresql+psycopg")


def _names_a_file(text: str) -> bool:
    """Return whether the file system has bytes for a text: a lone surrogate has none."""
    try:
        os.fsencode(text)
    except UnicodeEncodeError:
        return False
    return True


def looks_like_url(text: str) -> bool:
    """Return whether a text was meant as a URL, rightly or wrongly written: it must not become the name of a file."""
    text = text.strip()
    return (
        "://" in text or bool(_LOOKS_LIKE_URL.match(text)) or ("@" in text and bool(re.match(r"[^/\\]*(:|//)[^/\\]*@", text)))
    )


def _path_of(rest: str, text: str) -> str:
    """Return the file of a SQLite URL, exactly as it is written behind the third slash."""
    if rest and not rest.startswith("/"):
        raise BadValue(
            f"a SQLite journal is a file, and its URL has three slashes, as in sqlite:///desk.db: found {redacted(text)!r}"
        )
    if "?" in rest:
        raise BadValue(
            f"a SQLite journal takes no options, found {redacted(text)!r}. "
            "A file that has a ? in its name is named by its plain path"
        )
    return rest[1:]


def _parse(text: str) -> URL | None:
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        return make_url(text)
    except (ArgumentError, ValueError):  # ValueError: the port is no number
        return None


def _sqlite_url(path: str) -> SqliteUrl:
    if path in ("", ":memory:"):
        raise BadValue("a SQLite journal needs a file, as in sqlite:///desk.db: memory is not durable")
    if looks_like_url(path):
        raise BadValue(f"{_EXPECTED}, found {redacted(path)!r}")
    if path.startswith("~"):
        try:
            path = str(Path(path).expanduser())
        except RuntimeError:
            raise BadValue(f"{path!r}: there is no home folder of that user; name the file in full") from None
    return SqliteUrl(path)


def sqlite_path(url: Url) -> Path | None:
    """Return the file of a SQLite journal, None for another database."""
    return Path(url.database) if isinstance(url, SqliteUrl) else None


# ------------------------------------------------------------------------------------------------------------ secrets


def shown(url: Url | str) -> str:
    """Write a URL as people may see it: user, host, port, database and harmless options, and no secret in any position."""
    if isinstance(url, str):
        return redacted(url)
    path = sqlite_path(url)
    return f"sqlite:///{path}" if path is not None else redacted(url.render_as_string(hide_password=False))


def redacted(text: str) -> str:
    """Write what somebody named as a journal without what may be a secret, be it a URL or a broken one; paths as they are."""
    text = text.strip()
    if not looks_like_url(text):
        return text
    match = _SCHEME.match(text)
    begin = match[0] if match and (_KNOWN_SCHEME.fullmatch(match[1]) or "://" in match[0]) else ""
    rest = text[len(begin) :]
    if begin.lower().startswith(tuple(f"{one}:///" for one in _SQLITE)):
        path, mark, _ = rest.partition("?")
        return f"{begin}{redacted(path)}{mark and '?' + _HIDDEN}"
    user_info, at, rest = rest.rpartition("@")
    address, mark, options = rest.partition("?")
    hosts, slash, database = address.partition("/")
    if "%40" in database:  # an @ of the password that was not written as %40 made its end the host
        hosts = " "
    shown_hosts = ",".join(map(_shown_host, hosts.split(",")))
    shown_options = "&".join(map(_shown_option, filter(None, options.split("&"))))
    shown_database = database if _DATABASE.fullmatch(database) else _HIDDEN
    return f"{begin}{_shown_user(user_info)}{at}{shown_hosts}{slash}{shown_database}{mark}{shown_options}"


def _shown_user(user_info: str) -> str:
    user, colon, password = user_info.partition(":")
    if "@" in password or not _USER.fullmatch(user):
        return _HIDDEN
    return f"{user}{colon and ':' + _HIDDEN}"


def _shown_host(host: str) -> str:
    if _HOST.fullmatch(host):
        return host
    name, colon, _ = host.partition(":")
    return f"{name if colon and _DATABASE.fullmatch(name) else _HIDDEN}{colon and ':' + _HIDDEN}"


def _shown_option(option: str) -> str:
    name, _, value = option.partition("=")
    return option if _is_shown(name, value) else _HIDDEN


def split_secrets(url: URL) -> tuple[URL, dict[str, str | tuple[str, ...]]]:
    """Return a Postgres URL without password and options that are not shown, and those as arguments of the driver."""
    kept = {name: value for name, value in url.query.items() if _is_shown(name, value)}
    secret: dict[str, str | tuple[str, ...]] = {name: value for name, value in url.query.items() if name not in kept}
    if url.password is not None:
        secret["password"] = str(url.password)
    return url.set(query=kept)._replace(password=None), secret


def _is_shown(name: str, value: str | tuple[str, ...]) -> bool:
    pattern = _SHOWN_OPTIONS.get(name)
    return pattern is not None and all(pattern.fullmatch(one) for one in ((value,) if isinstance(value, str) else value))


def spellings(secret: dict[str, str | tuple[str, ...]]) -> frozenset[str]:
    """Return every way in which an error could repeat a secret: as it is, and percent-encoded."""
    values = [one for value in secret.values() for one in ((value,) if isinstance(value, str) else value)]
    return frozenset(
        spelled for one in values if one for spelled in (one, quote(one, safe=""), quote_plus(one), repr(one)[1:-1])
    )
