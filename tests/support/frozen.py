"""This module is the frozen journals: each opens as the program that knew its schema left it."""

from __future__ import annotations

import json
import lzma
from pathlib import Path
from typing import Any

import psycopg

from tests.support.journals import empty_postgres_url
from tools.testkit.frozen import FOLDER


def revisions() -> list[str]:
    """Return the schemas that are frozen, oldest first."""
    return sorted(path.stem for path in FOLDER.glob("*.json"))


def expected(revision: str) -> list[dict[str, Any]]:
    """Return what the program that knew a schema made of its journal."""
    found: list[dict[str, Any]] = json.loads((FOLDER / f"{revision}.json").read_text(encoding="utf-8"))
    return found


def thawed(revision: str, kind: str, folder: Path) -> str:
    """Return the URL of a frozen journal, as it was left by the program that knew its schema."""
    if kind == "sqlite":
        (folder / "frozen.db").write_bytes(lzma.decompress((FOLDER / f"{revision}.db.xz").read_bytes()))
        return f"sqlite:///{folder}/frozen.db"
    url = empty_postgres_url()
    with psycopg.connect(url.replace("+psycopg", ""), autocommit=True) as connection:
        connection.execute(lzma.decompress((FOLDER / f"{revision}.sql.xz").read_bytes()))
    return url
