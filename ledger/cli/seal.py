"""The command ``seal``, and what ``verify`` needs of seals."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

import click

from ledger.cli.metrics import text_file, textfile_option
from ledger.cli.options import configuration, journal_option, open_ledger
from ledger.cli.output import warn
from ledger.cli.streams import print_text
from ledger.clock import SECOND_US
from ledger.errors import BadValue
from ledger.journal.upkeep import SEAL
from ledger.output_files import require_writable
from ledger.seals import Seal, create, load_key, read
from ledger.upkeep import note

_DEFAULT_KEY: Final = Path("keys/seal.pem")


@click.command("seal", short_help="Write a signed statement of all account heads.")
@click.option("--key", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="Secret key (ledger keys seal).")
@click.option("--out", "file", type=click.Path(dir_okay=False, path_type=Path), help="New file (default: standard output).")
@textfile_option
@journal_option
def seal(journal: str | None, key: Path | None, file: Path | None, textfile: Path | None) -> None:
    """Write a small signed text: the journal, the time, every account's version and head, and the seal before.

    Keep it where whoever can write to the journal cannot: with the auditor, in another account's bucket, in print. ledger
    verify --since SEAL proves from it that nothing up to then was changed, cut off, rewritten or put back.

    The key: --key, else $LEDGER_SEAL_KEY, else [seal] key in ledger.toml, else keys/seal.pem.

    \b
    Examples:
      ledger keys seal
      ledger seal --out 2026-06-15.seal
      ledger verify --since 2026-06-15.seal --trusted-key keys/seal.pub.pem
    """
    secret = load_key(_key_file(key))
    if file is not None and file.exists():
        raise BadValue(f"{file} exists: a seal is never overwritten; name a new file")
    with open_ledger(journal) as ledger:
        left, made_us = text_file(textfile, "seal", ledger), ledger.now_us()
        if file is not None:
            require_writable(file, journal=ledger.journal.file(), is_ours=lambda _: False)
        text = create(ledger.journal, secret, made_us).text
        _write(text, file)
        note(ledger.journal, SEAL, made_us)
    left.write_figures(made_us / SECOND_US)


def _write(text: str, file: Path | None) -> None:
    if file is None:
        print_text(text)
        return
    try:
        with file.open("x", encoding="utf-8", newline="\n") as out:
            out.write(text)
            out.flush()
            os.fsync(out.fileno())
    except FileExistsError:
        raise BadValue(f"{file} exists: a seal is never overwritten; name a new file") from None
    warn(f"sealed: {file}. Keep it where whoever can write to the journal cannot")


def _key_file(given: Path | None) -> Path:
    named = given or os.environ.get("LEDGER_SEAL_KEY") or configuration().seal_key
    path = Path(named) if named else _DEFAULT_KEY
    if not path.is_file():
        raise BadValue(f"there is no key to seal with at {path}: make one with ledger keys seal, or name it with --key")
    return path


def read_seal(path: Path) -> Seal:
    """Read the file of a seal. Raises as ``seals.read``."""
    try:
        return read(path.read_bytes().decode("utf-8"))
    except UnicodeDecodeError:
        raise BadValue(f"{path}: expected a seal as ledger seal writes it, found something else") from None


COMMANDS: Final = {"seal": seal}
