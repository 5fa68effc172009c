"""What people record through the page: proposals, decisions, notes, policies; and comparisons and tests that record nothing.

Each is one call of ``ledger.proposals`` with the name of the person who is signed in. Reads go through the reader, and only
these appends through the writer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from ledger import proposals
from ledger.approvals import LAPSES_MIN
from ledger.errors import BadValue, LedgerError, NotPermitted
from ledger.events.approvals import SUBJECTS
from ledger.gateway.mt5_module import is_module_address
from ledger.json_views import Json, account_json, drift_json, no_drift_json, proposal_json, recorded_json
from ledger.page.principals import Role
from ledger.proposals import CorrectionRequest, Result
from ledger.service import Account
from ledger.values import AccountId

if TYPE_CHECKING:  # gateways and reconcilers take long to load, and a page has to start quickly
    from ledger.gateway_settings import GatewaySettings, SyncSettings
    from ledger.page.endpoints import Call

_TEXT_MAX: Final = 10_000


# ------------------------------------------------------------------------------------------------------------ proposals


def propose(call: Call) -> Json:
    """Propose a correction, for another person to approve."""
    body = _body(call, {"correction": dict, "reason": str}, urgent=bool, lapses_min=int, effect_digest=str, **{"break": int})
    request = CorrectionRequest(body["correction"])
    if request.recipe["what"] == "policy":
        _require(call, Role.ADMIN)
    account = _writable(call)
    minutes = body.get("lapses_min")
    made = proposals.propose(
        account,
        request,
        operator=call.principal.name,
        reason=body["reason"],
        urgent=body.get("urgent") or False,
        lapses_min=LAPSES_MIN if minutes is None else minutes,
        break_version=body.get("break"),
        effect_digest=body.get("effect_digest"),
    )
    return result_json(account, made)


def correct(call: Call) -> Json:
    """Apply a correction where the policy asks for one person, else propose it, as ``ledger correct`` does."""
    body = _body(call, {"correction": dict, "reason": str, "effect_digest": str})
    request = CorrectionRequest(body["correction"])
    if request.recipe["what"] == "policy":
        _require(call, Role.ADMIN)
    account = _writable(call)
    made = proposals.correct(
        account, request, operator=call.principal.name, reason=body["reason"], effect_digest=body["effect_digest"]
    )
    return result_json(account, made)


def preview(call: Call) -> Json:
    """Return what a correction would change now, and whether this person may apply it alone. Nothing is recorded."""
    body = _body(call, {"correction": dict, "reason": str})
    account = call.account
    found = proposals.draft(
        account, CorrectionRequest(body["correction"]), operator=call.principal.name, reason=body["reason"]
    )  # fmt: skip
    return {
        "account": account_json(account.terms),
        "correction": dict(found.recipe),
        "effect": found.effect,
        "effect_digest": found.digest,
        "version": found.version,
        "waits": found.waits(account.approvals.policy) or call.principal.role < Role.APPROVER,
    }


def decide(call: Call) -> Json:
    """Approve, reject or withdraw a proposal."""
    body = _body(call, {"outcome": str}, effect_digest=str, reason=str)
    outcome, reason, who = body["outcome"], body.get("reason"), call.principal.name
    if outcome not in ("approved", "rejected", "withdrawn"):
        raise BadValue(f"outcome: expected approved, rejected or withdrawn, found {outcome[:40]!r}")
    if outcome != "withdrawn":
        _require(call, Role.APPROVER)
    account, version = _writable(call), call.path["version"]
    if outcome == "withdrawn":
        return result_json(account, proposals.withdraw(account, version, operator=who, reason=reason))
    if outcome == "rejected":
        if not reason:
            raise BadValue("reason: expected why it is rejected, found none")
        return result_json(account, proposals.reject(account, version, operator=who, reason=reason))
    if body.get("effect_digest") is None:
        raise BadValue("effect_digest: expected the digest of the effect that you looked at, found none")
    made = proposals.approve(account, version, operator=who, effect_digest=body["effect_digest"], reason=reason)
    return result_json(account, made)


def note(call: Call) -> Json:
    """Note something about a break, or take it over."""
    body = _body(call, {"text": str}, owner=str)
    account = _writable(call)
    made = proposals.note(
        account, call.path["version"], operator=call.principal.name, text=body["text"], owner=body.get("owner")
    )
    return result_json(account, made)


def set_policy(call: Call) -> Json:
    """Set how many persons a correction needs."""
    body = _body(call, {"approvals": int, "reason": str}, corrections=list, signed=bool)
    account = _writable(call)
    corrections = body.get("corrections")
    made = proposals.set_policy(
        account,
        approvals=body["approvals"],
        operator=call.principal.name,
        reason=body["reason"],
        corrections=SUBJECTS if corrections is None else tuple(map(str, corrections)),
        signed=body.get("signed") or False,
    )
    return result_json(account, made)


def result_json(account: Account, made: Result) -> Json:
    """What became of a request."""
    terms = account.terms
    return {
        "account": account_json(terms),
        "became": made.became,
        "outcome": made.became,
        "proposal": None if made.proposal is None else proposal_json(made.proposal, terms.clock),
        "changed": None if made.changed is None else dict(made.changed),
        "advice": made.advice,
        **recorded_json(made.events, terms, account.version),
    }


def _require(call: Call, role: Role) -> None:
    """Refuse who has a lower role: the endpoint alone does not know what is asked for.

    Raises:
        NotPermitted: It is lower.
    """
    who = call.principal
    if who.role < role:
        raise NotPermitted(f"this needs the role {role.value}, and {who.name} has the role {who.role.value}")


def _writable(call: Call) -> Account:
    """Return the account to append to.

    Raises:
        NotPermitted: The page only reads.
        AccountUnknown: The journal does not hold it.
    """
    reason = call.desk.read_only_reason
    if reason is not None:
        raise NotPermitted(reason)
    return call.desk.source.to_write(call.account.name)


def _body(call: Call, required: Mapping[str, type], **optional: type) -> dict[str, Any]:
    """Return the members of a body, of the types that they have to have; one that is null counts as left out.

    Raises:
        BadValue: One is missing, of another type, or not known.
    """
    known = {**required, **optional}
    found = {name: value for name, value in call.body.items() if value is not None}
    for name, value in found.items():
        if name not in known:
            raise BadValue(f"there is no member {name[:40]!r} here; there are: {', '.join(known)}")
        kind = known[name]
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            raise BadValue(f"{name}: expected {_WORDS[kind]}, found {type(value).__name__}")
        if isinstance(value, str) and len(value) > _TEXT_MAX:
            raise BadValue(f"{name}: expected at most {_TEXT_MAX} characters, found {len(value)}")
    missing = [name for name in required if name not in found]
    if missing:
        raise BadValue(f"expected {', '.join(missing)} in the body, found none")
    return found


_WORDS: Final = {str: "text", int: "a whole number", bool: "true or false", dict: "an object", list: "a list"}


# -------------------------------------------------------------------------------------------------- what records nothing


def compare_now(call: Call) -> Json:
    """Compare the account with its broker's snapshot, as ``ledger drift`` does. Nothing is recorded."""
    from ledger.gateway_settings import SyncSettings

    _body(call, {})
    account = call.account
    target = _gateway_of(call, account.name)
    settings = call.desk.source.configuration
    sync = SyncSettings(policy=settings.policy, monitors=settings.monitors)
    return _asked(lambda: _drift(account, target, sync), account, target)


def _gateway_of(call: Call, name: AccountId) -> GatewaySettings:
    from ledger.gateway_settings import gateways_of

    found = next((one for one in gateways_of(call.desk.source.configuration) if one.account == name), None)
    if found is None:
        raise BadValue(f'{name} has no gateway in the settings of this page: write [gateways."{name}"] into ledger.toml')
    if is_module_address(found.url):
        raise BadValue(f"{found.url} is a terminal of another process: ledger drift beside the terminal compares it")
    return found


def _drift(account: Account, target: GatewaySettings, sync: SyncSettings) -> Json:
    from ledger.gateway_settings import reconciler_of

    reconciler = reconciler_of(account.ledger, target, sync)
    try:
        return drift_json(account.terms, reconciler.differences())
    finally:
        reconciler.gateway.close()


def _asked(ask: Callable[[], Json], account: Account, target: GatewaySettings) -> Json:
    """Return an answer; where there is no usable snapshot that is the answer."""
    try:
        return ask()
    except LedgerError as error:
        return no_drift_json(account_json(account.terms), target.url, error)


def send_test_notices(call: Call) -> Json:
    """Send a test notice through every channel of the settings."""
    from ledger.alerts.trial import send_tests, tried_json

    _body(call, {})
    channels = call.desk.source.configuration.alerts.channels
    if not channels:
        raise BadValue("there are no channels in the settings of this page: write [alerts.channels] into ledger.toml")
    return {"channels": [tried_json(one) for one in send_tests(list(channels.values()), call.desk.now_us())]}
