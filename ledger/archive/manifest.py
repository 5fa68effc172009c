"""The manifest of an archived account: which segments there are, and what proves that they are what was recorded.

It is JSON, written last and as a whole: a segment counts from the moment on at which a manifest names it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from attrs import asdict, field, frozen

from ledger.archive.form import FORM, MANIFEST, file_name
from ledger.errors import BadValue, CorruptEvent
from ledger.journal import Head
from ledger.journal.admission import start
from ledger.journal.location import ARRIVING, MOVED, MOVING, FormerJournal, Location
from ledger.output_files import written_whole
from ledger.terms import AccountTerms
from ledger.values import PRICE_SCALE, VOLUME_SCALE, AccountId

_TEXTS: Final = ("before", "head", "schema", "seal", "file", "sha256")
_NEWER: Final = "expected an archive of form {}, found {}: use a newer ledger"


@frozen(kw_only=True)
class File:
    """A file of a segment: its name, rows, size in bytes and SHA-256 (hex)."""

    file: str
    rows: int
    bytes: int
    sha256: str


@frozen(kw_only=True)
class Segment:
    """The events from one version to another inclusive.

    Attributes:
        first: The first version.
        last: The last version.
        before: The chain hash (hex) of the event before; that of no event is the account's own (``chain.genesis``).
        head: The chain hash of the last event.
        recorded_us: When the last event was recorded, UTC microseconds.
        last_msc: Broker time of the latest event that had arrived in the fold order.
        last_deal: Its deal.
        schema: The revision of the journal's schema that it was read from.
        events: Its events.
        evidence: The raw answers that these are the first to name, None without any.
        seal: The file of the seal of the run that wrote it, None without one. It states the head of the run's last segment.
    """

    first: int
    last: int
    before: str
    head: str
    recorded_us: int
    last_msc: int
    last_deal: int
    schema: str
    events: File
    evidence: File | None = None
    seal: str | None = None

    @property
    def end(self) -> Head:
        """The account's head behind it."""
        return Head(self.last, bytes.fromhex(self.head), self.recorded_us, self.last_msc, self.last_deal)


@frozen(kw_only=True)
class Manifest:
    """What is archived of an account. ``journal_id`` is the journal that it was last written from.

    ``scales`` state what whole numbers of the columns mean: the decimals of money, prices and volumes, and by symbol.
    ``location`` and ``origins`` are what that journal had about moves of the account, at the end of the run.
    """

    account: AccountId
    journal_id: str
    scales: Mapping[str, Any]
    segments: tuple[Segment, ...]
    location: Location = field(factory=Location)
    origins: tuple[FormerJournal, ...] = ()

    @property
    def head(self) -> Head:
        """The account's head as it is archived."""
        return self.segments[-1].end if self.segments else start(self.account)

    def files(self) -> set[str]:
        """Return the names of all files that it names."""
        return {one.file for part in self.segments for one in (part.events, part.evidence) if one is not None}


def scales_of(terms: AccountTerms) -> dict[str, Any]:
    """Return what whole numbers of an account's columns mean."""
    opened = terms.opened
    return {
        "currency": opened.currency,
        "money": opened.money_scale,
        "price": PRICE_SCALE,
        "volume": VOLUME_SCALE,
        "symbols": {name: {"price": one.price_scale, "volume": one.volume_scale} for name, one in terms.symbols.items()},
        "clock": terms.clock.name,
    }


def write_manifest(place: Path, manifest: Manifest) -> None:
    """Write the manifest of an account's folder, whole and durable."""
    fields = {
        "form": FORM,
        "account": {"server": manifest.account.server, "login": manifest.account.login},
        "journal": manifest.journal_id,
        "first": 1,
        "last": manifest.head.version,
        "head": manifest.head.hash.hex(),
        "scales": manifest.scales,
        "location": asdict(manifest.location),
        "origins": [one._asdict() for one in manifest.origins],
        "segments": [asdict(one) for one in manifest.segments],
    }
    with written_whole(place / MANIFEST) as partial:
        partial.write_text(json.dumps(fields, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def read_manifest(place: Path) -> Manifest | None:
    """Return the manifest of an account's folder, None where there is none.

    Raises:
        BadValue: It is of a newer form.
        CorruptEvent: It is no manifest, or its segments do not follow one another.
    """
    path = place / MANIFEST
    try:
        fields = json.loads(path.read_bytes())
        if fields["form"] != FORM:
            raise BadValue(f"{path}: {_NEWER.format(FORM, fields['form'])}")
        account = _account(fields["account"])
        found = Manifest(
            account=account,
            journal_id=fields["journal"],
            scales=fields["scales"],
            segments=tuple(map(_segment, fields["segments"])),
            location=_location(fields["location"]),
            origins=tuple(map(_origin, fields["origins"])),
        )
        _require_chain(path, found, fields)
    except FileNotFoundError:
        return None
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise CorruptEvent(f"{path}: expected the manifest of an archived account, found something else: {error}") from error
    return found


def _account(fields: Mapping[str, Any]) -> AccountId:
    try:
        return AccountId(fields["server"], fields["login"])
    except BadValue as error:
        raise ValueError(f"account: {error}") from error


def _segment(fields: Mapping[str, Any]) -> Segment:
    files = {name: None if fields[name] is None else File(**_checked(fields[name])) for name in ("events", "evidence")}
    return Segment(**{**_checked({name: value for name, value in fields.items() if name not in files}), **files})


def _checked(fields: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the fields of a segment, or of a file, if each is of its type."""
    for name, value in fields.items():
        expected: type = str if name in _TEXTS else int
        if type(value) is not expected and not (name == "seal" and value is None):
            raise TypeError(f"{name}: expected {'a text' if expected is str else 'a whole number'}, found {value!r}")
    return fields


def _location(fields: Mapping[str, Any]) -> Location:
    found = Location(**fields)
    names = (found.other, found.other_id)
    is_known = found.state in (None, MOVING, ARRIVING, MOVED) and all(isinstance(one, str | None) for one in names)
    if not is_known or type(found.epoch) is not int or found.epoch < 1:
        raise ValueError(f"a location with an epoch, a state and another journal was expected, found {dict(fields)}")
    return found


def _origin(fields: Mapping[str, Any]) -> FormerJournal:
    if not isinstance(fields["journal_id"], str) or type(fields["version"]) is not int:
        raise ValueError(f"a former journal with its last version was expected, found {dict(fields)}")
    return FormerJournal(**fields)


def _require_chain(path: Path, manifest: Manifest, fields: Mapping[str, Any]) -> None:
    """Refuse segments of which one does not begin where the one before ends."""
    head = start(manifest.account)
    for one in manifest.segments:
        if (one.first, one.before) != (head.version + 1, head.hash.hex()) or one.last < one.first:
            raise CorruptEvent(f"{path}: expected a segment behind version {head.version}, found {one.first} to {one.last}")
        count = one.last - head.version
        for kind, file in (("events", one.events), ("evidence", one.evidence)):
            expected = file_name(kind, one.first, one.last)
            if file is not None and file.file != expected:
                raise CorruptEvent(f"{path}: expected the file {expected}, found {file.file!r}")
        if one.events.rows != count:
            raise CorruptEvent(f"{path}: expected {count} events in {one.events.file}, found {one.events.rows}")
        head = one.end
    if (fields["last"], fields["head"]) != (head.version, head.hash.hex()):
        raise CorruptEvent(f"{path}: expected version {head.version} as the last one, found {fields['last']}")
