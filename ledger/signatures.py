"""Signatures of decisions: what an approver signs, with whose key, and whether it is the key of the person who is named.

What is signed is one short text, so that another program can check it: UTF-8, a line feed behind each line::

    ledger approval 1
    journal 1f0c6a34-...
    account Broker-Live/70113
    rests_on 1402
    effect_digest 9f2c...

The version that the proposal rests on makes a signature good once: another proposal with the same effect rests on a later one.
A signature proves that whoever has the secret key approved this effect. It proves nothing about who proposed.
"""

from __future__ import annotations

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from attrs import frozen

from ledger import signing_keys
from ledger.approvals import Approvals, Decision, Proposal
from ledger.approvals.people import is_same_person
from ledger.errors import BadValue, RuleError
from ledger.events import DecisionOutcome
from ledger.journal.verify.walk import Problem
from ledger.text import json_text, visible
from ledger.values import AccountId

if TYPE_CHECKING:  # slow to load, and only needed to sign
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

MADE_BY: Final = "ledger keys operator"
_TITLE: Final = "ledger approval 1"
_REQUEST: Final = "ledger-approval."
_SIGNED: Final = "ledger-signature."
_REQUEST_WHAT: Final = "the text that ledger propose prints"
_SIGNED_WHAT: Final = "the text that ledger approve printed where it was signed"


@frozen(kw_only=True)
class Approval:
    """What is approved: an effect in an account of a journal, on top of the version that the proposal rests on."""

    journal_id: str
    account: AccountId
    rests_on: int
    effect_digest: str

    @property
    def message(self) -> bytes:
        """The bytes that are signed."""
        lines = (
            _TITLE,
            f"journal {self.journal_id}",
            f"account {_one_line(str(self.account))}",
            f"rests_on {self.rests_on}",
            f"effect_digest {self.effect_digest}",
        )
        return "".join(f"{line}\n" for line in lines).encode()


@frozen(kw_only=True)
class Signature:
    """A signature and the public key that it is checked with, both in hex."""

    key: str
    signature: str

    def is_of(self, approval: Approval) -> bool:
        """Return whether it is a signature of that approval."""
        return signing_keys.is_signed(approval.message, key=self.key, signature=self.signature)


def sign(approval: Approval, key: Ed25519PrivateKey) -> Signature:
    """Sign an approval."""
    public, signature = signing_keys.sign(approval.message, key)
    return Signature(key=public, signature=signature)


def _one_line(name: str) -> str:
    """Return a name as it is, as JSON text where it holds what a line cannot show."""
    return name if visible(name) == name and not name.startswith('"') else json_text(name)


# ---------------------------------------------------------------------------------------------------------- whose keys


@frozen
class OperatorKeys:
    """The public keys of operators, in hex: operator -> keys, several where one was replaced."""

    of: Mapping[str, tuple[str, ...]]

    def __attrs_post_init__(self) -> None:
        owners: dict[str, str] = {}
        for operator, keys in self.of.items():
            for key in keys:
                if not is_same_person(owners.setdefault(key, operator), operator):
                    raise BadValue(
                        f"{owners[key]} and {operator} have the same key, {signing_keys.fingerprint(key)}: "
                        "one person would be two. Each needs a key of their own"
                    )

    def owner(self, key: str) -> str | None:
        """Return whose key it is; None for a stranger's."""
        return next((operator for operator, keys in self.of.items() if key in keys), None)

    def _keys_of(self, operator: str) -> list[str]:
        """Return the keys of a person, however the name is written."""
        return [key for name, keys in self.of.items() if is_same_person(name, operator) for key in keys]

    def require(self, approval: Approval, signature: Signature, operator: str) -> None:
        """Refuse a signature that is none of the operator's.

        Raises:
            RuleError: It is of something else, or by a key of somebody else.
        """
        what = self.fault(approval, signature, operator)
        if what is not None:
            raise RuleError(f"the signature is not accepted: {what}")

    def fault(self, approval: Approval, signature: Signature, operator: str) -> str | None:
        """Return what is wrong with a signature; None for a good one."""
        if not signature.is_of(approval):
            return (
                f"it is of another approval than of effect {approval.effect_digest[:16]} on version {approval.rests_on} "
                f"of {approval.account}, or was changed"
            )
        if signature.key in self._keys_of(operator):
            return None
        owner = self.owner(signature.key)
        shown = signing_keys.fingerprint(signature.key)
        if owner is None:
            return f"nobody is known by the key {shown}; {operator} has {self._words(operator)}"
        return f"the key {shown} is {owner}'s, and {operator} is named"

    def _words(self, operator: str) -> str:
        return ", ".join(map(signing_keys.fingerprint, self._keys_of(operator))) or "none"


NO_KEYS: Final = OperatorKeys({})


def load_operator_keys(files: Mapping[str, Sequence[Path]]) -> OperatorKeys:
    """Read the public keys of operators.

    Raises:
        BadValue: A file has none, or two operators have the same.
        OSError: A file cannot be read.
    """
    return OperatorKeys(
        {name: tuple(signing_keys.load_public_key(path, MADE_BY) for path in paths) for name, paths in files.items()}
    )


# -------------------------------------------------------------------------------------------------- texts for pasting


@frozen(kw_only=True)
class Request:
    """What an approver signs on another machine: the approval, the version of the proposal, and the effect for the person."""

    approval: Approval
    version: int
    effect: Mapping[str, Any]


@frozen(kw_only=True)
class SignedRequest:
    """What comes back: the account, the version of the proposal, and the signature."""

    account: AccountId
    version: int
    effect_digest: str
    signature: Signature


def request_text(request: Request) -> str:
    """Write a request as one word, which a person copies to where the key is."""
    about = request.approval
    return _REQUEST + _packed(
        {
            "journal": about.journal_id,
            "account": str(about.account),
            "version": request.version,
            "rests_on": about.rests_on,
            "effect_digest": about.effect_digest,
            "effect": request.effect,
        }
    )


def read_request(text: str) -> Request:
    """Read what ``request_text`` wrote. That the effect is the one of the digest is for the reader to check.

    Raises:
        BadValue: It is no request, or not all of one.
    """
    found = _unpacked(text, _REQUEST, _REQUEST_WHAT)
    try:
        approval = Approval(
            journal_id=str(found["journal"]),
            account=AccountId.parse(found["account"]),
            rests_on=int(found["rests_on"]),
            effect_digest=str(found["effect_digest"]),
        )
        return Request(approval=approval, version=int(found["version"]), effect=dict(found["effect"]))
    except (KeyError, TypeError, ValueError) as error:
        raise BadValue(f"expected {_REQUEST_WHAT}, found one without {error}") from None


def signed_text(request: Request, signature: Signature) -> str:
    """Write a signature as one word, which a person pastes where the journal is."""
    return _SIGNED + _packed(
        {
            "account": str(request.approval.account),
            "version": request.version,
            "effect_digest": request.approval.effect_digest,
            "key": signature.key,
            "signature": signature.signature,
        }
    )


def read_signed(text: str) -> SignedRequest:
    """Read what ``signed_text`` wrote. Raises as ``read_request``."""
    found = _unpacked(text, _SIGNED, _SIGNED_WHAT)
    try:
        return SignedRequest(
            account=AccountId.parse(found["account"]),
            version=int(found["version"]),
            effect_digest=str(found["effect_digest"]),
            signature=Signature(key=str(found["key"]), signature=str(found["signature"])),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise BadValue(f"expected {_SIGNED_WHAT}, found one without {error}") from None


def is_request(text: str) -> bool:
    """Return whether a text ends with one for signing."""
    return _REQUEST in _joined(text)


def is_signed_request(text: str) -> bool:
    """Return whether a text ends with a signature."""
    return _SIGNED in _joined(text)


def _packed(content: Mapping[str, Any]) -> str:
    return urlsafe_b64encode(json_text(content).encode()).decode().rstrip("=")


def _joined(text: str) -> str:
    """Return a text without the breaks that a mail or a terminal put in."""
    return "".join(text.split())


def _unpacked(text: str, prefix: str, what: str) -> dict[str, Any]:
    word = _joined(text).rpartition(prefix)[2]  # what was printed before it may have been copied too
    try:
        found = json.loads(urlsafe_b64decode(word + "=" * (-len(word) % 4)))
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise BadValue(f"expected {what}, found something else: was it copied whole?")
    return found


# --------------------------------------------------------------------------------------------------------- verification


def problems(
    account: AccountId, approvals: Approvals, journal_ids: Mapping[str, int | None], keys: OperatorKeys
) -> Iterator[Problem]:
    """Yield what is wrong with the signatures of an account's decisions.

    Args:
        account: Whose decisions.
        approvals: All of its proposals and decisions.
        journal_ids: The journal, and the parents that it was restored from -> the last version that they share; None for all.
        keys: Whose keys are known. Where nobody's are, only that a signature is one of its decision is checked.
    """
    for proposal in approvals.proposals:
        for decision in proposal.decisions:
            if decision.outcome is DecisionOutcome.APPROVED:
                what = _fault(account, proposal, decision, journal_ids, keys)
                if what is not None:
                    yield Problem(account=str(account), version=decision.version, field="signature", what=what)


def signed_decisions(approvals: Approvals) -> int:
    """Return how many decisions carry a signature."""
    return sum(one.signature is not None for proposal in approvals.proposals for one in proposal.decisions)


def _fault(
    account: AccountId,
    proposal: Proposal,
    decision: Decision,
    journal_ids: Mapping[str, int | None],
    keys: OperatorKeys,
) -> str | None:
    """Return what is wrong with the signature of a decision; None for a good one, and without one.

    Whether there has to be one is a matter of the policy: ``ledger.approvals.check`` names one that is missing.
    """
    if decision.signature is None or decision.key is None:
        return None
    if (decision.rests_on, decision.effect_digest) != (proposal.rests_on, proposal.effect_digest):
        return f"the signature of {decision.operator} is of another proposal than version {proposal.version}"
    signature = Signature(key=decision.key, signature=decision.signature)
    possible = [
        Approval(journal_id=one, account=account, rests_on=proposal.rests_on, effect_digest=proposal.effect_digest)
        for one, shared in journal_ids.items()
        if shared is None or decision.version <= shared
    ]
    about = next((one for one in possible if signature.is_of(one)), None)
    if about is None:
        return f"the signature of {decision.operator} does not hold: it is of another approval, or was changed"
    fault = keys.fault(about, signature, decision.operator) if keys.of else None
    return None if fault is None else f"the signature of {decision.operator} is not accepted: {fault}"
