"""Checks an export case without the ledger, without a network: python3 check.py, in the folder of the case.

It needs Python alone. Where the package cryptography is installed, the signature of the seal is checked too.
"""

from __future__ import annotations

import hashlib
import json
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

#: What nobody may have left out of what people read.
_PEOPLE = ("operator", "reason", "text", "outcome", "effect_digest", "signature", "key", "owner")


def check(folder: Path) -> list[str]:
    """Return what is wrong with a case, a line each; nothing where all of it holds."""
    case = json.loads((folder / "case.json").read_text("utf-8"))
    events = _lines(folder / "events.jsonl")
    chain = _lines(folder / "chain.jsonl")
    found = [problem for one in (*events, *chain) for problem in _hash_problems(one)]
    found += [problem for one in events for problem in _row_problems(one, case["columns"])]
    found += _chain_problems(events, chain)
    found += _evidence_problems(folder, events)
    found += _seal_problems(folder, case, chain)
    return found


def _lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()] if path.is_file() else []


def _hash_problems(one: dict[str, Any]) -> list[str]:
    """Compute the hash of an event anew: of its predecessor's hash and of the text that is chained."""
    version = one["version"]
    digest = hashlib.sha256(bytes.fromhex(one["prev_hash"]) + one["chained"].encode("utf-8")).hexdigest()
    columns = json.loads(one["chained"])
    found = [] if digest == one["hash"] else [f"event {version}: its hash is not that of its content"]
    if columns[0] != version or columns[1] != one["kind"]:
        found.append(f"event {version}: it was chained as version {columns[0]}, {columns[1]}")
    if "event" in one and (one["event"]["version"], one["event"]["kind"]) != (columns[0], columns[1]):
        found.append(f"event {version}: its readable form is another event")
    return found


def _row_problems(one: dict[str, Any], names: list[str]) -> list[str]:
    """Compare what people read of an event with what was chained."""
    version, row, event = one["version"], one["row"], one["event"]
    if [row.get(name) for name in names] != json.loads(one["chained"]):
        return [f"event {version}: its row is not what was chained"]
    kept = {name: row[name] for name in ("natural_key", "correlation")}
    shown = {name: event.get(name) for name in kept}
    data = json.loads(row["data"] or "{}")
    texts = {name: value for name, value in data.items() if isinstance(value, str) and name in (*event["data"], *_PEOPLE)}
    if shown != kept or any(event["data"].get(name) != value for name, value in texts.items()):
        return [f"event {version}: its readable form is not what was chained"]
    return []


def _chain_problems(events: list[dict[str, Any]], chain: list[dict[str, Any]]) -> list[str]:
    """Compare neighbours, and the events of the case with their places in the chain."""
    found = []
    for before, after in pairwise(chain):
        if after["version"] != before["version"] + 1 or after["prev_hash"] != before["hash"]:
            found.append(f"chain: {after['version']} does not follow {before['version']}")
    places = {one["version"]: one["hash"] for one in chain}
    if chain:
        found += [
            f"event {one['version']}: the chain has another one there"
            for one in events
            if places.get(one["version"]) != one["hash"]
        ]
    return found


def _evidence_problems(folder: Path, events: list[dict[str, Any]]) -> list[str]:
    found = [
        f"{path.name}: it is not the answer that was recorded"
        for path in sorted((folder / "evidence").glob("*.txt"))
        if hashlib.sha256(path.read_bytes()).hexdigest() != path.stem
    ]
    there = {path.stem for path in (folder / "evidence").glob("*.txt")}
    named = {json.loads(one["chained"])[8] for one in events} - {None}
    return found + [f"evidence {digest}: it is missing" for digest in sorted(named - there)]


def _seal_problems(folder: Path, case: dict[str, Any], chain: list[dict[str, Any]]) -> list[str]:
    """Compare the seal with the chain: the account's line has a version and the hash there."""
    path = folder / "seal.txt"
    if not path.is_file():
        return []
    text = path.read_text("utf-8")
    found = _signature_problems(text)
    lines = [line.split(" ", 4) for line in text.splitlines() if line.startswith("account ")]
    sealed = next(((int(parts[1]), parts[2]) for parts in lines if _name(parts[4]) == case["account"]), None)
    if sealed is None:
        return [*found, "seal: it does not name the account"]
    place = next((one for one in chain if one["version"] == sealed[0]), None)
    if place is not None and place["hash"] != sealed[1]:
        found.append(f"seal: it has another hash for version {sealed[0]} than the chain")
    return found


def remarks(folder: Path) -> list[str]:
    """Return what a seal does not show, a line each."""
    path = folder / "seal.txt"
    versions = json.loads((folder / "case.json").read_text("utf-8"))["versions"]
    chained = {one["version"] for one in _lines(folder / "chain.jsonl")}
    if path.is_file() and versions["sealed"] in chained and versions["sealed"] >= versions["last"]:
        return []
    return ["no seal is behind all of the case: nothing shows since when it is so (ledger seal, then export it again)"]


def _name(written: str) -> str:
    return str(json.loads(written)) if written.startswith('"') else written


def _signature_problems(text: str) -> list[str]:
    signed, _, signature = text.rpartition("signature ")
    key = next(line.removeprefix("key ") for line in signed.splitlines() if line.startswith("key "))
    try:
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    except ImportError:
        print("the signature of the seal is not checked: the package cryptography is not installed here")  # noqa: T201
        return []
    try:
        Ed25519PublicKey.from_public_bytes(bytes.fromhex(key)).verify(bytes.fromhex(signature.strip()), signed.encode("utf-8"))
    except (InvalidSignature, ValueError):
        return ["seal: its signature is not that of its key"]
    return []


def main(folder: Path) -> int:
    """Print what is wrong, and return 1 if anything is."""
    found = check(folder)
    for line in found:
        print(line)  # noqa: T201
    for line in remarks(folder):
        print(line)  # noqa: T201
    print("all of it holds" if not found else f"{len(found)} problems")  # noqa: T201
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1] if len(sys.argv) > 1 else ".")))
