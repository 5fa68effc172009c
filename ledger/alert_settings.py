"""Settings of alerts: channels, when they get a notice, and where their secrets are. Read from ``[alerts]`` of ``ledger.toml``.

Secrets are never part of settings: a setting names the file or the environment variable that holds one.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal, get_args

import msgspec
from attrs import field, frozen

from ledger.errors import BadValue
from ledger.text import visible
from ledger.values import AccountId

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,31}")
_ADDRESS: Final = re.compile(r"[^\s@<>,;\"]+@[^\s@<>,;\"]+")
_ENVIRONMENT: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_SECRET_BYTES_MAX: Final = 64 * 1024
_PORTS: Final = {"starttls": 587, "tls": 465, "none": 25}

_Seconds = Annotated[float, msgspec.Meta(gt=0, le=300)]
_Port = Annotated[int, msgspec.Meta(ge=1, le=65_535)]


@frozen(kw_only=True)
class Secret:
    """Where a secret is: a file, or an environment variable. It is read when it is used, and shown nowhere.

    ``setting`` names the setting for messages: who puts a secret where its file belongs does not read it in a log.
    """

    setting: str
    file: Path | None = field(default=None, repr=False)
    variable: str | None = field(default=None, repr=False)

    def read(self) -> str:
        """Return the secret, without white space around it.

        Raises:
            BadValue: There is none.
        """
        found = os.environ.get(self.variable or "", "") if self.file is None else self._read_file(self.file)
        if not found.strip():
            what = "the file" if self.variable is None else "the environment variable"
            raise BadValue(f"{self.setting}: expected a secret in {what} that it names, found nothing there")
        return found.strip()

    def _read_file(self, path: Path) -> str:
        try:
            with path.open("rb") as file:
                return file.read(_SECRET_BYTES_MAX).decode("utf-8")
        except (OSError, ValueError) as error:  # a name with a null byte, or bytes that are no UTF-8, too
            why = error.strerror if isinstance(error, OSError) else "it is no file of UTF-8 text"
            raise BadValue(f"{self.setting}: the file that it names cannot be read: {why}") from None


class _Channel(msgspec.Struct, forbid_unknown_fields=True, tag_field="type", kw_only=True):
    pass


class Webhook(_Channel, tag="webhook"):
    """JSON to a URL, signed with HMAC-SHA256 where there is a secret."""

    url_file: str | None = None
    url_env: str | None = None
    secret_file: str | None = None
    secret_env: str | None = None
    timeout_sec: _Seconds = 10.0


class Alertmanager(_Channel, tag="alertmanager"):
    """Alerts to Alertmanager's own interface, version 2."""

    url: str | None = None
    url_file: str | None = None
    url_env: str | None = None
    timeout_sec: _Seconds = 10.0


class Smtp(_Channel, tag="smtp"):
    """Mail through a server."""

    host: str
    sender: str = msgspec.field(name="from")
    to: list[str]
    port: _Port | None = None
    tls: Literal["starttls", "tls", "none"] = "starttls"
    ca_file: str | None = None
    user: str | None = None
    password_file: str | None = None
    password_env: str | None = None
    timeout_sec: _Seconds = 10.0

    @property
    def port_used(self) -> int:
        """The port, that of the protocol without a setting."""
        return self.port or _PORTS[self.tls]


class Command(_Channel, tag="command"):
    """A program that gets JSON on its standard input. No shell reads its arguments."""

    command: Annotated[list[str], msgspec.Meta(min_length=1)]
    timeout_sec: _Seconds = 10.0


class Apprise(_Channel, tag="apprise"):
    """What the package apprise can reach, the extra `[alerts]`: Telegram, Slack, Matrix and the rest, by one of its URLs."""

    url_file: str | None = None
    url_env: str | None = None


ChannelSettings = Webhook | Alertmanager | Smtp | Command | Apprise
_TYPES: Final[dict[str, type[ChannelSettings]]] = {
    "webhook": Webhook, "smtp": Smtp, "command": Command, "alertmanager": Alertmanager, "apprise": Apprise,
}  # fmt: skip


class _Deadman(msgspec.Struct, forbid_unknown_fields=True):
    url_file: str | None = None
    url_env: str | None = None
    every_sec: Annotated[float, msgspec.Meta(ge=1, le=86_400)] = 60.0
    fail_after_sec: Annotated[float, msgspec.Meta(ge=0)] = 900.0
    timeout_sec: _Seconds = 10.0


class _Alerts(msgspec.Struct, forbid_unknown_fields=True):
    grace_sec: Annotated[float, msgspec.Meta(ge=0, le=86_400)] = 60.0
    escalate_min: list[Annotated[float, msgspec.Meta(gt=0)]] = msgspec.field(default_factory=lambda: [15.0, 60.0, 240.0])
    routes: list[list[str]] | None = None
    accounts: list[str] | None = None
    channels: dict[str, Any] = {}
    deadman: dict[str, Any] | None = None


@frozen(kw_only=True)
class Channel:
    """A channel: its name, what it is, and where its secrets are.

    Attributes:
        name: As routes name it.
        settings: As the file has them.
        secrets: By what they are of: url, secret, password.
        folder: What paths of the settings are relative to.
    """

    name: str
    settings: ChannelSettings
    secrets: Mapping[str, Secret] = {}
    folder: Path = Path()

    @property
    def type(self) -> str:
        """The word for what it is."""
        return next(word for word, kind in _TYPES.items() if isinstance(self.settings, kind))


@frozen(kw_only=True)
class Deadman:
    """The dead-man's switch: where it is, how often it gets a sign of life, how long something may be unsafe."""

    url: Secret
    every_sec: float = 60.0
    fail_after_sec: float = 900.0
    timeout_sec: float = 10.0


@frozen(kw_only=True)
class AlertSettings:
    """When which channel gets a notice.

    Attributes:
        grace_sec: What is over sooner is not reported.
        escalate_min: Ages at which a notice goes on to the next stage.
        routes: Names of channels by stage; of a stage behind the last, those of the last.
        channels: Name -> channel.
        accounts: The watched ones; None for all.
        deadman: The dead-man's switch.
    """

    grace_sec: float = 60.0
    escalate_min: tuple[float, ...] = (15.0, 60.0, 240.0)
    routes: tuple[tuple[str, ...], ...] = ()
    channels: Mapping[str, Channel] = {}
    accounts: frozenset[AccountId] | None = None
    deadman: Deadman | None = None


def tables(raw: object) -> Iterator[tuple[str, object, tuple[str, ...]]]:
    """Yield the tables of ``[alerts]``: their names, contents, and the settings that each can have."""
    if not isinstance(raw, Mapping):
        return
    yield "alerts", raw, _names(_Alerts)
    yield "alerts.deadman", raw.get("deadman"), _names(_Deadman)
    channels = raw.get("channels")
    for name, content in channels.items() if isinstance(channels, Mapping) else ():
        word = content.get("type") if isinstance(content, Mapping) else None
        if isinstance(word, str) and (kind := _TYPES.get(word)) is not None:
            yield f"alerts.channels.{name}", content, ("type", *_names(kind))


def read(raw: Mapping[str, Any], folder: Path) -> AlertSettings:
    """Read the table ``[alerts]``.

    Args:
        raw: Its content.
        folder: What paths in it are relative to.

    Raises:
        BadValue: A setting is not what it has to be.
    """
    found = _converted(raw, _Alerts, "alerts")
    channels = {name: _channel(name, content, folder) for name, content in found.channels.items()}
    if found.escalate_min != sorted(set(found.escalate_min)):
        raise BadValue(f"alerts.escalate_min: expected minutes that rise, as [15, 60, 240], found {found.escalate_min}")
    return AlertSettings(
        grace_sec=found.grace_sec,
        escalate_min=tuple(found.escalate_min),
        routes=_routes(found.routes, channels),
        channels=channels,
        accounts=None if found.accounts is None else frozenset(map(AccountId.parse, found.accounts)),
        deadman=None if found.deadman is None else _deadman(found.deadman, folder),
    )


def _converted(raw: object, kind: Any, where: str) -> Any:
    try:
        return msgspec.convert(raw, kind)
    except msgspec.ValidationError as error:
        what, _, path = str(error).partition(" - at `$")
        if what.startswith("Invalid enum value"):  # it may be a secret in the wrong place
            fields = {f".{one.encode_name}": one for one in msgspec.structs.fields(kind)}
            words = get_args(fields[path.rstrip("`")].type)
            what = f"expected one of {', '.join(words)}, found something else"
        raise BadValue(f"{where}{path.rstrip('`')}: {what[:1].lower()}{what[1:]}") from None


def _names(kind: type[msgspec.Struct]) -> tuple[str, ...]:
    return tuple(one.encode_name for one in msgspec.structs.fields(kind))


def _routes(found: list[list[str]] | None, channels: Mapping[str, Channel]) -> tuple[tuple[str, ...], ...]:
    if found is None:
        return (tuple(channels),) if channels else ()
    for number, names in enumerate(found):
        for name in names:
            if name not in channels:
                known = ", ".join(channels) or "none"
                raise BadValue(f"alerts.routes[{number}]: there is no channel {visible(name)!r}; there are: {known}")
    if channels and not any(found):
        raise BadValue('alerts.routes: expected names of channels by stage, as [["desk"], ["desk", "mail"]], found none')
    return tuple(tuple(dict.fromkeys(names)) for names in found)


def _channel(name: str, content: Any, folder: Path) -> Channel:
    where = f"alerts.channels.{visible(name)}"
    if not _NAME.fullmatch(name):
        raise BadValue(f"{where}: expected a plain name (letters, digits, '-', '_'), at most 32 characters")
    kind = content.get("type") if isinstance(content, Mapping) else None
    if not isinstance(kind, str) or kind not in _TYPES:
        found = "none" if kind is None else "something else"  # it may be a secret in the wrong place
        raise BadValue(f'{where}: expected type = "{"|".join(_TYPES)}", found {found}')
    settings: ChannelSettings = _converted(content, _TYPES[kind], where)
    secrets = {
        what: secret
        for what, is_needed in _SECRETS[kind].items()
        if (secret := _secret(content, what, where, folder, is_needed=is_needed)) is not None
    }
    _check(settings, secrets, where)
    return Channel(name=name, settings=settings, secrets=secrets, folder=folder)


#: Type -> what is secret of it -> whether there has to be one.
_SECRETS: Final = {
    "webhook": {"url": True, "secret": False},
    "smtp": {"password": False},
    "command": {},
    "alertmanager": {"url": False},
    "apprise": {"url": True},
}


def _secret(content: Mapping[str, Any], what: str, where: str, folder: Path, *, is_needed: bool) -> Secret | None:
    file, variable = content.get(f"{what}_file"), content.get(f"{what}_env")
    if file is not None and variable is not None:
        raise BadValue(f"{where}: expected {what}_file or {what}_env, found both")
    if file is not None:
        if "://" in file:
            raise BadValue(f"{where}.{what}_file: expected the name of a file that holds the {what}, found the {what} itself")
        return Secret(setting=f"{where}.{what}_file", file=folder / file)
    if variable is not None:
        if not _ENVIRONMENT.fullmatch(variable):
            raise BadValue(f"{where}.{what}_env: expected the name of an environment variable, found something else")
        return Secret(setting=f"{where}.{what}_env", variable=variable)
    if is_needed:
        raise BadValue(f'{where}: expected {what}_file = "FILE" or {what}_env = "NAME", which hold the {what}, found neither')
    return None


def _check(settings: ChannelSettings, secrets: Mapping[str, Secret], where: str) -> None:
    """Check what depends on several settings of a channel.

    Raises:
        BadValue: They do not fit.
    """
    match settings:
        case Alertmanager() if (settings.url is None) is ("url" not in secrets):
            raise BadValue(f'{where}: expected one of url = "http://127.0.0.1:9093", url_file and url_env')
        case Smtp():
            for address in (settings.sender, *settings.to):
                if not _ADDRESS.fullmatch(address) or visible(address) != address:
                    raise BadValue(f"{where}: expected addresses as desk@example.com, found {visible(address)!r}")
            if not settings.to:
                raise BadValue(f'{where}.to: expected addresses, as ["desk@example.com"], found none')
            if (settings.user is None) is ("password" in secrets):
                raise BadValue(f"{where}: expected user together with password_file or password_env, or neither")
            if settings.user is not None and settings.tls == "none":
                raise BadValue(f'{where}: with tls = "none" anybody between could read the password: leave tls out')
        case _:
            pass


def _deadman(raw: dict[str, Any], folder: Path) -> Deadman:
    where = "alerts.deadman"
    found = _converted(raw, _Deadman, where)
    url = _secret(raw, "url", where, folder, is_needed=True)
    assert url is not None, "one is needed"
    return Deadman(url=url, every_sec=found.every_sec, fail_after_sec=found.fail_after_sec, timeout_sec=found.timeout_sec)
