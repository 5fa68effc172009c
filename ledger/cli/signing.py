"""Signing an approval: where the journal is, or elsewhere with the text that a proposal prints; and whose keys are known."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import click

from ledger.approvals.effect import digest_of
from ledger.cli.effects import effect_rows, print_effect
from ledger.cli.options import Command, configuration, require_consent
from ledger.cli.output import print_json, print_line
from ledger.cli.streams import print_text
from ledger.errors import BadValue
from ledger.signatures import (
    MADE_BY,
    OperatorKeys,
    load_operator_keys,
    read_request,
    sign,
    signed_text,
)
from ledger.signing_keys import load_key

_VARIABLE: Final = "LEDGER_OPERATOR_KEY"


def key_option(command: Command) -> Command:
    """Take ``--key``."""
    return click.option(
        "--key", type=click.Path(exists=True, dir_okay=False, path_type=Path), metavar="FILE",
        help=f"Sign with this secret key ({MADE_BY}), else with ${_VARIABLE}.",
    )(command)  # fmt: skip


def key_file(given: Path | None) -> Path | None:
    """Return the secret key to sign with; None where none is named."""
    named = given or os.environ.get(_VARIABLE)
    return Path(named) if named else None


def known_keys(given: Iterable[str] = ()) -> OperatorKeys:
    """Return whose public keys are known: those of ledger.toml, and those that are named as ``NAME=FILE``.

    Raises:
        BadValue: What is named is no key, or two persons have the same.
        OSError: A file cannot be read.
    """
    files = dict(configuration().operator_keys)
    for one in given:
        name, is_named, file = one.partition("=")
        if not is_named or not name or not file:
            raise BadValue(f"expected an operator's key as NAME=FILE, found {one!r}")
        files[name] = (*files.get(name, ()), Path(file))
    return load_operator_keys(files)


def sign_text(text: str, key: Path | None, *, yes: bool, as_json: bool) -> None:
    """Sign the text that a proposal printed: show what it would change, ask, and print what is pasted back.

    Raises:
        BadValue: It is no such text, or states another effect than it shows; or there is no key.
    """
    request = read_request(text)
    if digest_of(request.effect) != request.approval.effect_digest:
        raise BadValue("the text was changed: the effect that it shows is not the one that would be signed. Copy it again")
    file = key_file(key)
    if file is None:
        raise BadValue(f"with which key? Name it with --key FILE, or set {_VARIABLE}; {MADE_BY} makes one")
    secret = load_key(file, MADE_BY)
    about = request.approval
    if not as_json:
        try:
            effect_rows(request.effect)
        except (AttributeError, KeyError, TypeError, ValueError):
            raise BadValue("the text holds no effect of a correction: nothing is signed that cannot be shown") from None
        print_effect(f"{about.account} would change", request.effect)
        print_line(f"proposal v{request.version} on version {about.rests_on}, journal {about.journal_id}")
    require_consent(yes=yes, question="Sign this approval?", what="a signature", err=as_json)
    signed = signed_text(request, sign(about, secret))
    if as_json:
        print_json({"version": request.version, "effect_digest": about.effect_digest, "signed": signed})
        return
    print_line("signed. Where the journal is: ledger approve, and this text:")
    print_text(f"{signed}\n")
