"""The export case of a break: one file with all that shows what happened, which can be checked without the ledger."""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Iterable, Iterator
from importlib.resources import files
from typing import TYPE_CHECKING, Final

from ledger.clock import utc_text_us
from ledger.codec import Stored
from ledger.errors import LedgerError
from ledger.events import BreakOpened
from ledger.journal.chain import COVERED, canonical, covered
from ledger.json_views import Json, break_json, log_json, replay_json
from ledger.page.accounts import replayed_at
from ledger.page.endpoints import Download
from ledger.page.life import break_life, life_of
from ledger.postings import Selection
from ledger.service import Account
from ledger.text import json_text

if TYPE_CHECKING:
    from ledger.page.endpoints import Call

#: A longer piece of the chain is left out: then the journal's own seal and verify have to show that the events are in it.
CHAIN_MAX: Final = 10_000
_README: Final = """\
Export case: {kind}, {account}, version {version}
Made {made} by the ledger {program}, of journal {journal}.

case.json               what the case is about, how the break is now, every event of its life
events.jsonl            the events of its life, one a line: as they are read (event), as they are stored (row),
                        and the text that the chain of hashes covers (chained)
chain.jsonl             {chain}
evidence/               the raw answers of the broker that the events rest on; each is named by its SHA-256
portfolio_before.json   what the ledger believed directly before the break was opened
portfolio_after.json    what it believes with everything up to the last event of the case
seal.txt                {seal}
check.py                checks all of it; it needs Python alone

How to check it offline
  python3 check.py
It computes the hash of every event anew, follows the chain from the first event of the case to the version that the
seal names, compares both, checks the signature of the seal where the package cryptography is installed, and compares
the raw answers with their digests. Exit code 0: all of it holds.

Without the script: hash = SHA-256(prev_hash as bytes, followed by the text of chained in UTF-8). The columns of chained are:
{columns}

What it proves: that no event and no answer was changed since the seal was made, as long as you know the public key of the
seal from somewhere else. case.json and the portfolios are what the ledger of whoever exported them made of the events: no
hash covers them, and ledger replay makes them anew. What it does not prove: that the names of persons are theirs. Whoever
may append to the journal can append any name; signed decisions are stronger.
"""


def case_zip(call: Call) -> Download:
    """Return the export case of a break."""
    account = call.account
    life = call.desk.work.patiently(lambda: break_life(call))
    events = life_of(call)
    first, last = events[0].version, events[-1].version
    seal = _last_seal(account)
    sealed = _sealed_version(account, seal)
    upto = max(last, min(sealed or 0, first + CHAIN_MAX))
    rows = list(account.ledger.journal.rows(account.name, after=first - 1, upto=upto)) if upto - first < CHAIN_MAX else []
    terms, wanted = account.terms, {one.version: one for one in events}
    stored = {row.version: row for row in (rows or _rows_of(call, wanted)) if row.version in wanted}
    chain = f"all events from {first} to {upto}" if rows else "left out: there are too many; compare with: ledger verify"
    about = {
        "account": str(account.name),
        "journal": account.ledger.journal.identity(),
        "made": utc_text_us(call.desk.now_us()),
        "by": call.principal.name,
        "program": call.desk.program,
        "versions": {"first": first, "last": last, "chain": upto if rows else None, "sealed": sealed},
        "columns": list(COVERED),
        "life": life,
    }
    readme = _README.format(
        kind=_kind_of(events[0].event), account=account.name, version=first, made=about["made"], program=call.desk.program,
        journal=about["journal"], chain=chain, columns=", ".join(COVERED),
        seal="the last seal of the journal" if seal else "not there: no seal was made of the journal yet (ledger seal)",
    )  # fmt: skip
    parts: list[tuple[str, bytes]] = [
        ("README.txt", readme.encode()),
        ("case.json", _json(about)),
        ("events.jsonl", _lines(_row_json(stored[one.version]) | {"event": log_json(one, terms)} for one in events)),
        *([("chain.jsonl", _lines(map(_chain_json, rows)))] if rows else []),
        *_evidence(account, stored.values()),
        ("portfolio_before.json", _json(_portfolio(call, account, first - 1))),
        ("portfolio_after.json", _json(_portfolio(call, account, last))),
        *([("seal.txt", seal.encode())] if seal else []),
        ("check.py", files("ledger.page").joinpath("case_check.py").read_bytes()),
    ]
    return Download(name=f"{_file_name(account)}-v{first}.zip", content=_zip(parts), media="application/zip")


def _kind_of(event: object) -> str:
    return event.kind.value if isinstance(event, BreakOpened) else "break"


def _rows_of(call: Call, wanted: Iterable[int]) -> list[Stored]:
    from ledger.journal.sql.looks import rows_of

    return rows_of(call.desk.source.sql_journal, call.name, sorted(wanted))


def _last_seal(account: Account) -> str | None:
    seals = account.ledger.journal.seals()
    return seals[-1] if seals else None


def _sealed_version(account: Account, seal: str | None) -> int | None:
    from ledger.seals import read  # cryptography is slow to load

    try:
        found = None if seal is None else read(seal).accounts.get(account.name)
    except LedgerError:
        return None
    return None if found is None else found.version


def _portfolio(call: Call, account: Account, version: int) -> Json:
    selection = Selection(version=version)
    portfolio, selected = call.desk.work.patiently(lambda: replayed_at(call.desk, account, selection, call.principal.name))
    chain = account.ledger.journal.hash_at(account.name, version)
    found = replay_json(
        portfolio, until=None, known_at=None, version=version, head=(chain or b"").hex(), selected=selected,
        orders=account.orders(version=version),
        approvals=account.approvals_at(version=version),
    )  # fmt: skip
    return found | {"breaks": [break_json(one, portfolio.terms.clock) for one in portfolio.breaks]}


def _evidence(account: Account, rows: Iterable[Stored]) -> Iterator[tuple[str, bytes]]:
    for digest in sorted({row.evidence for row in rows if row.evidence is not None}):
        yield f"evidence/{digest}.txt", account.evidence(digest)


def _chain_json(row: Stored) -> Json:
    return {
        "version": row.version,
        "kind": row.kind,
        "prev_hash": row.prev_hash.hex(),
        "hash": row.hash.hex(),
        "chained": canonical(covered(row)).decode(),
    }


def _row_json(row: Stored) -> Json:
    shown = {name: value.hex() if isinstance(value, bytes) else value for name, value in row._asdict().items()}
    return _chain_json(row) | {"row": shown}


def _json(value: Json) -> bytes:
    return (json_text(value, indent=2) + "\n").encode()


def _lines(values: Iterable[Json]) -> bytes:
    return "".join(json_text(value) + "\n" for value in values).encode()


def _file_name(account: Account) -> str:
    return re.sub(r"[^A-Za-z0-9.-]+", "-", str(account.name)).strip("-") or "account"


def _zip(parts: Iterable[tuple[str, bytes]]) -> bytes:
    """Return a zip file; the same parts give the same bytes."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in parts:
            info = zipfile.ZipInfo(name, (2020, 1, 1, 0, 0, 0))
            info.compress_type = zipfile.ZIP_DEFLATED
            info.external_attr = 0o644 << 16
            archive.writestr(info, content)
    return out.getvalue()
