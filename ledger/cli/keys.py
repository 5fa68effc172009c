"""The commands about keys: for gateways on other machines, for seals, and for operators who sign decisions."""

from __future__ import annotations

import getpass
from pathlib import Path
from typing import Final

import click

from ledger.cli.options import json_option
from ledger.cli.output import print_json, print_line, print_table

_FOLDER: Final = "keys"
_AUTHORISED: Final = "authorised"
_DIR: Final = click.Path(file_okay=False, path_type=Path)


@click.group("keys", short_help="Make and authorise keys for gateways; make keys for seals and operators.")
def keys() -> None:
    """Make CURVE keys, and list whose keys a server accepts; make keys for seals, and for operators who sign decisions.

    \b
    Example, for a gateway and an engine:
      ledger keys make gateway            on the gateway's machine
      ledger keys make engine             on the engine's machine
      ledger keys authorise engine.key    on the gateway's, with the engine's public file
      ledger sync --gateway tcp://10.0.0.7:5555 --client-key keys/engine.key_secret \\
                  --server-key gateway.key
    Only files that end in .key are ever copied to another machine.
    """


@keys.command("make")
@click.argument("name")
@click.option("--dir", "folder", type=_DIR, default=_FOLDER, show_default=True, help="Where to put the two files.")
def make(name: str, folder: Path) -> None:
    """Make a pair of keys. The secret file can be read by its owner only; nothing is overwritten."""
    from ledger.gateway.curve import make_keys

    public, secret = make_keys(folder, name)
    print_line(f"public key:  {public}  (copy it to the other side)")
    print_line(f"secret key:  {secret}  (never leaves this machine)")


@keys.command("authorise")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--dir", "folder", type=_DIR, default=_AUTHORISED, show_default=True, help="The server's accepted clients.")
def authorise_key(file: Path, folder: Path) -> None:
    """Let a server accept the client whose public key this is, from now on. To undo it, remove the file."""
    from ledger.gateway.curve import authorise

    print_line(f"authorised: {authorise(file, folder)}")


@keys.command("list")
@click.option("--dir", "folder", type=_DIR, default=_FOLDER, show_default=True, help="Where to look.")
@json_option
def list_keys(folder: Path, as_json: bool) -> None:  # noqa: FBT001
    """List the public keys of a folder: our own, or with --dir authorised the clients that are let in."""
    from ledger.gateway.curve import public_key

    found = [{"file": path.name, "public_key": public_key(path)} for path in sorted(folder.glob("*.key"))]
    if as_json:
        print_json(found)
        return
    print_table("keys", ["file", "public key"], [list(key.values()) for key in found], empty=f"none in {folder}")


@keys.command("seal")
@click.argument("name", default="seal")
@click.option("--dir", "folder", type=_DIR, default=_FOLDER, show_default=True, help="Where to put the two files.")
def make_seal_keys(name: str, folder: Path) -> None:
    """Make a pair of keys to seal journals with. The secret file can be read by its owner only; nothing is overwritten."""
    from ledger.signing_keys import make_keys

    public, secret = make_keys(folder, name)
    print_line(f"public key:  {public}  (for whoever verifies, by a way that the journal's keeper cannot reach)")
    print_line(f"secret key:  {secret}  (never store it beside the journal)")


@keys.command("operator")
@click.argument("name", default=getpass.getuser)
@click.option("--dir", "folder", type=_DIR, default=_FOLDER, show_default=True, help="Where to put the two files.")
def make_operator_keys(name: str, folder: Path) -> None:
    """Make a pair of keys for an operator to sign decisions with: NAME (default: your login name).

    The secret file can be read by its owner only; nothing is overwritten. Whoever approves or verifies names the public file in
    [approvals.keys] of ledger.toml, and compares its fingerprint with the operator's by another way.
    """
    from ledger.signatures import MADE_BY
    from ledger.signing_keys import fingerprint, load_public_key, make_keys

    public, secret = make_keys(folder, name)
    print_line(f"public key:  {public}  (for whoever approves and verifies)")
    print_line(f"fingerprint: {fingerprint(load_public_key(public, MADE_BY))}")
    print_line(f"secret key:  {secret}  (the operator's alone: it never leaves this machine)")
    print_line("in ledger.toml, beside the journal and wherever it is verified:")
    print_line("[approvals.keys]")
    print_line(f'"{name}" = "{public.as_posix()}"')


COMMANDS: Final = {"keys": keys}
