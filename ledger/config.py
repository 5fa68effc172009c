"""Settings from ``ledger.toml``: where the file is read from, who may have written it, and what it may hold.

The file is the one of ``--config``, else the one in the folder of a SQLite journal. A journal that nothing else names is named
by the file in the current folder; where something else names it, that file is left alone: its gateway and policy would act
on another account's positions. Paths in the file are relative to its folder.
"""

from __future__ import annotations

import os
import stat
import tomllib
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Final

import msgspec
from attrs import evolve, field, fields, frozen

from ledger import alert_settings, page_settings
from ledger.alert_settings import AlertSettings
from ledger.errors import BadValue
from ledger.gateway.forms import Form
from ledger.marks import KEEP_DAYS, KEEP_DAYS_MAX, KEEP_DAYS_MIN
from ledger.orders.monitor_values import MonitorRules
from ledger.page_settings import PageSettings, PageTable
from ledger.reconcile.policy import DEFAULT, ReconcilePolicy
from ledger.text import visible
from ledger.upkeep import UpkeepRules
from ledger.values import AccountId

NAME: Final = "ledger.toml"
_OTHERS_WRITE: Final = 0o022
_Hours = Annotated[float, msgspec.Meta(gt=0, le=100_000)]


class _Gateway(msgspec.Struct, forbid_unknown_fields=True):
    url: str | None = None
    form: Form = "json"
    timeout_ms: Annotated[int, msgspec.Meta(ge=1)] | None = None
    server_key: str | None = None
    client_key: str | None = None
    insecure: bool = False
    terminal: str | None = None


class _Sync(msgspec.Struct, forbid_unknown_fields=True):
    interval_sec: Annotated[float, msgspec.Meta(gt=0, lt=86_400)] | None = None


class _Seal(msgspec.Struct, forbid_unknown_fields=True):
    key: str | None = None


class _Approvals(msgspec.Struct, forbid_unknown_fields=True):
    keys: dict[str, str | list[str]] = {}


class _Derived(msgspec.Struct, forbid_unknown_fields=True):
    follow: bool = True
    segments: str | None = None


class _Marks(msgspec.Struct, forbid_unknown_fields=True):
    keep_days: Annotated[int, msgspec.Meta(ge=KEEP_DAYS_MIN, le=KEEP_DAYS_MAX)] = KEEP_DAYS


class _Upkeep(msgspec.Struct, forbid_unknown_fields=True):
    verify_hours: _Hours = 48.0
    seal_hours: _Hours = 48.0
    backup_hours: _Hours = 26.0


class _Fleet(msgspec.Struct, forbid_unknown_fields=True):
    lease_sec: Annotated[float, msgspec.Meta(ge=1, le=3_600)] = 30.0
    grace_sec: Annotated[float, msgspec.Meta(ge=0, le=60)] = 2.0
    threads: Annotated[int, msgspec.Meta(ge=1, le=256)] = 8
    warm_accounts: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] = 2_500


class _Directory(msgspec.Struct, forbid_unknown_fields=True):
    url: str | None = None


class _Metrics(msgspec.Struct, forbid_unknown_fields=True):
    journal: bool = True


class _File(msgspec.Struct, forbid_unknown_fields=True):
    """What it may hold: ``ReconcilePolicy`` has those of policy, ``MonitorRules`` of monitors, ``alert_settings`` of alerts."""

    journal: str | None = None
    directory: _Directory = msgspec.field(default_factory=_Directory)
    journals: dict[str, str] = {}
    gateway: _Gateway = msgspec.field(default_factory=_Gateway)
    gateways: dict[str, _Gateway] = {}
    sync: _Sync = msgspec.field(default_factory=_Sync)
    policy: dict[str, Any] = {}
    seal: _Seal = msgspec.field(default_factory=_Seal)
    approvals: _Approvals = msgspec.field(default_factory=_Approvals)
    marks: _Marks = msgspec.field(default_factory=_Marks)
    derived: _Derived = msgspec.field(default_factory=_Derived)
    monitors: dict[str, Any] = {}
    upkeep: _Upkeep = msgspec.field(default_factory=_Upkeep)
    fleet: _Fleet = msgspec.field(default_factory=_Fleet)
    metrics: _Metrics = msgspec.field(default_factory=_Metrics)
    alerts: dict[str, Any] = {}
    page: PageTable = msgspec.field(default_factory=PageTable)


_GATEWAY_PATHS: Final = ("server_key", "client_key")


@frozen(kw_only=True)
class Configuration:
    """The settings of a file, checked.

    Attributes:
        path: The file; None where none is read, and every setting has its default.
        left_alone: The file of the current folder, where it is not the one that is read.
        journal: URL of the journal that it names.
        directory: URL of the directory of journals that it names.
        journals: Name -> URL, of journals of a directory that are opened by another URL here.
        gateway: What holds for all gateways.
        gateways: Account -> what holds for its gateway, beside that.
        interval_sec: Between two syncs.
        policy: What to do about disagreements.
        seal_key: The secret key to seal with.
        operator_keys: Operator -> the files of that person's public keys.
        keep_marks_days: So many days marks are there.
        follow_derived: Whether a daemon keeps the derived tables up.
        segments: The folder of the segments of a journal on Postgres.
        upkeep: How old the last verification, seal and backup may be.
        monitors: Account -> what it may lose.
        fleet: How the workers of a fleet work (``ledger.fleet.worker.FleetSettings``).
        journal_metrics: Whether a daemon serves the metrics of the journal beside its own.
        alerts: Who is notified, and when.
        page: Where the operator's page listens, and who may use it.
    """

    path: Path | None = None
    left_alone: Path | None = None
    journal: str | None = None
    directory: str | None = None
    journals: Mapping[str, str] = {}
    gateway: Mapping[str, Any] = {}
    gateways: Mapping[AccountId, Mapping[str, Any]] = {}
    interval_sec: float | None = None
    policy: ReconcilePolicy = DEFAULT
    seal_key: str | None = None
    operator_keys: Mapping[str, tuple[Path, ...]] = {}
    keep_marks_days: int = KEEP_DAYS
    follow_derived: bool = True
    segments: Path | None = None
    upkeep: UpkeepRules = field(factory=UpkeepRules)
    monitors: Mapping[AccountId, MonitorRules] = {}
    fleet: Mapping[str, Any] = {}
    journal_metrics: bool = True
    alerts: AlertSettings = field(factory=AlertSettings)
    page: PageSettings = field(factory=PageSettings)

    def __str__(self) -> str:
        return str(self.path) if self.path is not None else f"no {NAME}"


def find(*, config: Path | None, journal: str | None) -> Configuration:
    """Return the settings that belong to a journal.

    Args:
        config: The file that ``--config`` names.
        journal: URL of the journal, if something else than a file names it.

    Raises:
        BadValue: A file cannot be trusted or understood, or two files claim the same journal.
    """
    here = Path(NAME).absolute()
    if config is not None:
        if not config.is_file():
            raise BadValue(f"there is no file {config}: --config names a file like {NAME}")
        return read(config.absolute())
    if journal is not None:
        beside = _beside(journal)
        found = read(beside) if beside is not None and beside.is_file() else Configuration()
        is_other = here.is_file() and found.path != here
        return evolve(found, left_alone=here) if is_other else found
    if not here.is_file():
        return Configuration()
    found = read(here)
    beside = None if found.journal is None else _beside(found.journal)
    if beside is not None and beside != here and beside.is_file():
        raise BadValue(
            f"{here} names a journal that has settings of its own, {beside}: choose one of the two with --config FILE"
        )
    return found


def _beside(journal: str) -> Path | None:
    """Return where the settings of a SQLite journal would be; None for another database."""
    if journal.startswith("memory:"):
        return None
    from ledger.journal.sql.urls import journal_url, sqlite_path

    path = sqlite_path(journal_url(journal))
    return None if path is None else path.absolute().parent / NAME


def read(path: Path) -> Configuration:
    """Read a file.

    Raises:
        BadValue: Others than we and root may have written it, or it is none of settings.
    """
    raw = _parsed(path)
    for where, found, known in _unknown(raw):
        near = get_close_matches(found, known, 1, 0.5)
        meant = f" Did you mean {near[0]}?" if near else ""
        raise BadValue(f"{path}: there is no {where} {visible(found)!r}.{meant} There are: {', '.join(known)}")
    try:
        checked = msgspec.convert(raw, _File)
        policy = ReconcilePolicy(**checked.policy)
        gateways = {AccountId.parse(name): _with_paths(table, path) for name, table in raw.get("gateways", {}).items()}
        monitors = dict(_monitors(checked.monitors))
        alerts = alert_settings.read(checked.alerts, path.parent)
        page = _page(checked.page, path)
    except msgspec.ValidationError as error:
        raise BadValue(f"{path}: {_where(str(error))}") from None
    except (TypeError, ValueError, BadValue) as error:
        raise BadValue(f"{path}: {error}") from None
    if checked.journal is not None and checked.directory.url is not None:
        raise BadValue(f"{path}: journal names one journal and [directory] several: write one of the two")
    return Configuration(
        path=path,
        journal=None if checked.journal is None else _journal(checked.journal, path),
        directory=None if checked.directory.url is None else _journal(checked.directory.url, path),
        journals={name: _journal(url, path) for name, url in checked.journals.items()},
        gateway=_with_paths(raw.get("gateway", {}), path),
        gateways=gateways,
        interval_sec=checked.sync.interval_sec,
        policy=policy,
        keep_marks_days=checked.marks.keep_days,
        follow_derived=checked.derived.follow,
        segments=None if checked.derived.segments is None else path.parent / checked.derived.segments,
        upkeep=UpkeepRules(
            verify_sec=checked.upkeep.verify_hours * 3600,
            seal_sec=checked.upkeep.seal_hours * 3600,
            backup_sec=checked.upkeep.backup_hours * 3600,
        ),
        monitors=monitors,
        fleet=msgspec.structs.asdict(checked.fleet),
        journal_metrics=checked.metrics.journal,
        alerts=alerts,
        operator_keys={name: tuple(_public_keys(files, path)) for name, files in checked.approvals.keys.items()},
        page=page,
        seal_key=None if checked.seal.key is None else str(path.parent / checked.seal.key),
    )


def _page(table: PageTable, file: Path) -> PageSettings:
    found = page_settings.of_table(table, file.parent)
    return found if found.writer is None else evolve(found, writer=_journal(found.writer, file))


def _public_keys(files: str | list[str], file: Path) -> Iterator[Path]:
    """Yield the files of an operator's public keys; refuse those that others may have written."""
    for one in [files] if isinstance(files, str) else files:
        path = file.parent / one
        if path.is_file():
            _check_writers(path, path.stat(), "whose approvals count")
        yield path


def _monitors(tables: Mapping[str, Any]) -> Iterator[tuple[AccountId, MonitorRules]]:
    names: dict[AccountId, str] = {}
    for name, table in tables.items():
        try:
            account, rules = AccountId.parse(name), MonitorRules.of_table(table)
        except BadValue as error:
            raise BadValue(f'[monitors."{visible(name)}"]: {error}') from None
        if account in names:
            raise BadValue(
                f'[monitors."{visible(name)}"] is {account}, as [monitors."{visible(names[account])}"] is: write one'
            )
        names[account] = name
        yield account, rules


def _parsed(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            _check_writers(path, os.fstat(file.fileno()))
            return tomllib.load(file)
    except OSError as error:
        raise BadValue(f"{path}: it cannot be read: {error.strerror or error}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadValue(f"{path}: expected TOML, found {error}") from None


def _check_writers(path: Path, found: os.stat_result, what: str = "what is done to positions") -> None:
    """Refuse a file that others may have written: it decides something. Windows has no such rights."""
    if os.name != "posix":
        return
    if found.st_uid not in (0, os.geteuid()):
        raise BadValue(f"{path} belongs to user {found.st_uid}, and it decides {what}: chown it, or move it")
    if found.st_mode & _OTHERS_WRITE:
        mode = stat.filemode(found.st_mode)
        raise BadValue(f"others can write to {path} ({mode}), and it decides {what}: chmod go-w it")


def _unknown(raw: Mapping[str, Any]) -> Iterator[tuple[str, str, tuple[str, ...]]]:
    """Yield what is not known: which kind of name it is, the name, and those that there are."""
    known = _File.__struct_fields__
    yield from (("table or setting", name, known) for name in raw if name not in known)
    tables: list[tuple[str, Any, tuple[str, ...]]] = [
        ("directory", raw.get("directory"), _Directory.__struct_fields__),
        ("gateway", raw.get("gateway"), _Gateway.__struct_fields__),
        ("sync", raw.get("sync"), _Sync.__struct_fields__),
        ("seal", raw.get("seal"), _Seal.__struct_fields__),
        ("approvals", raw.get("approvals"), _Approvals.__struct_fields__),
        ("marks", raw.get("marks"), _Marks.__struct_fields__),
        ("metrics", raw.get("metrics"), _Metrics.__struct_fields__),
        ("upkeep", raw.get("upkeep"), _Upkeep.__struct_fields__),
        ("derived", raw.get("derived"), _Derived.__struct_fields__),
        ("fleet", raw.get("fleet"), _Fleet.__struct_fields__),
        ("page", raw.get("page"), PageTable.__struct_fields__),
        ("policy", raw.get("policy"), tuple(one.name for one in fields(ReconcilePolicy))),
    ]
    gateways = raw.get("gateways")
    if isinstance(gateways, Mapping):
        tables += [(f"gateways.{name!r}", table, _Gateway.__struct_fields__) for name, table in gateways.items()]
    tables += alert_settings.tables(raw.get("alerts"))
    for table, content, settings in tables:
        if isinstance(content, Mapping):
            yield from ((f"setting in [{table}]", name, settings) for name in content if name not in settings)


def _where(message: str) -> str:
    """Say in TOML's own words where msgspec found something wrong."""
    what, _, where = message.partition(" - at `$.")
    return f"{where.rstrip('`')}: {what[:1].lower()}{what[1:]}" if where else what


def _with_paths(table: Mapping[str, Any], file: Path) -> dict[str, Any]:
    return {name: str(file.parent / value) if name in _GATEWAY_PATHS else value for name, value in table.items()}


def _journal(url: str, file: Path) -> str:
    """Return a journal's URL with a relative path read from the folder of its file, as the current folder may be another."""
    from ledger.journal.sql.urls import SqliteUrl, journal_url, sqlite_path

    path = sqlite_path(journal_url(url))
    return url if path is None or path.is_absolute() else str(SqliteUrl(str(file.parent / path)))
