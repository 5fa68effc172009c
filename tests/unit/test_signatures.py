"""A signature is good for one approval by one person: whatever is changed of either, it is not accepted."""

from __future__ import annotations

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger import BadValue, RuleError
from ledger.signatures import (
    MADE_BY,
    Approval,
    Request,
    Signature,
    is_request,
    is_signed_request,
    load_operator_keys,
    read_request,
    read_signed,
    request_text,
    sign,
    signed_text,
)
from ledger.signing_keys import fingerprint, load_key, make_keys
from ledger.values import AccountId

ABOUT = Approval(journal_id="1f0c", account=AccountId("Broker-Live", 70113), rests_on=1402, effect_digest="9f" * 32)
SERVERS = st.text(st.characters(exclude_categories=("Cs", "Zs", "Cc"), exclude_characters="/") | st.just("\n"), min_size=1).map(
    lambda one: f"S{one}S"
)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("keys")
    return {name: make_keys(folder, name) for name in ("ann", "bob", "bob-2", "eve")}


@pytest.fixture(scope="module")
def keys(files):
    return load_operator_keys({"ann": [files["ann"][0]], "bob": [files["bob"][0], files["bob-2"][0]]})


def signature_of(files, name, about=ABOUT):
    return sign(about, load_key(files[name][1], MADE_BY))


def test_what_is_signed_is_a_text_that_others_can_check():
    assert ABOUT.message == (
        b"ledger approval 1\njournal 1f0c\naccount Broker-Live/70113\nrests_on 1402\neffect_digest " + b"9f" * 32 + b"\n"
    )


@pytest.mark.parametrize("name", ["bob", "bob-2"])
def test_each_key_of_the_operator_who_is_named_is_accepted(name, files, keys):
    keys.require(ABOUT, signature_of(files, name), "bob")


@pytest.mark.parametrize(
    ("signer", "operator", "words"),
    [
        ("ann", "bob", "is ann's, and bob is named"),
        ("eve", "bob", "nobody is known by the key"),
        ("bob", "eve", "is bob's, and eve is named"),
        ("eve", "eve", "eve has none"),
    ],
)
def test_the_key_of_somebody_else_is_refused_and_named(signer, operator, words, files, keys):
    with pytest.raises(RuleError, match=words):
        keys.require(ABOUT, signature_of(files, signer), operator)


@pytest.mark.parametrize(
    "change",
    [
        {"journal_id": "1f0d"}, {"account": AccountId("Broker-Live", 70114)}, {"account": AccountId("Broker-Demo", 70113)},
        {"rests_on": 1403}, {"effect_digest": "9e" * 32},
    ],
)  # fmt: skip
def test_a_signature_of_another_approval_is_refused(change, files, keys):
    assert keys.fault(ABOUT, signature_of(files, "bob", attrs.evolve(ABOUT, **change)), "bob").startswith("it is of another")


@given(
    at=st.integers(0, 127), digit=st.sampled_from("0123456789abcdef"),
    name=SERVERS, other=SERVERS,
)  # fmt: skip
def test_no_change_of_a_signature_or_a_name_is_accepted(at, digit, name, other, files, keys):
    good = signature_of(files, "bob")
    changed = attrs.evolve(good, signature=good.signature[:at] + digit + good.signature[at + 1 :])
    assert (keys.fault(ABOUT, changed, "bob") is None) is (changed == good)
    first, second = (attrs.evolve(ABOUT, account=AccountId(one, 1)) for one in (name, other))
    assert (first.message == second.message) is (first == second)
    assert first.message.count(b"\n") == ABOUT.message.count(b"\n")


@pytest.mark.parametrize("broken", [{"key": ""}, {"key": "zz"}, {"signature": ""}, {"signature": "zz"}])
def test_what_is_no_signature_is_refused(broken, files, keys):
    assert keys.fault(ABOUT, attrs.evolve(signature_of(files, "bob"), **broken), "bob").startswith("it is of another")


def test_one_key_for_two_persons_is_refused(files):
    with pytest.raises(BadValue, match=r"ann and bob have the same key, SHA256:.*one person would be two"):
        load_operator_keys({"ann": [files["ann"][0]], "bob": [files["bob"][0], files["ann"][0]]})


def test_what_is_no_public_key_is_refused_with_the_command_that_makes_one(files):
    with pytest.raises(BadValue, match=r"ann\.pem: expected a public key .*ledger keys operator"):
        load_operator_keys({"ann": [files["ann"][1]]})
    public = files["ann"][0]
    public.chmod(0o600)
    with pytest.raises(BadValue, match=r"expected a secret key \(ledger keys operator\)"):
        load_key(public, MADE_BY)


def test_people_compare_fingerprints():
    assert fingerprint("00" * 32) == "SHA256:Zmh6rfhivXdsj8GLjp+OIAiXFIVu4jOzkCpZHQ1fKSU"


# -------------------------------------------------------------------------------------------------- texts for pasting

REQUEST = Request(approval=ABOUT, version=1403, effect={"balance": ["10", "-5.25"], "symbol": "EURUSD \u202e💶"})


@given(width=st.integers(1, 90))
def test_texts_survive_being_wrapped_by_a_mail(width, files):
    def wrapped(text):
        return "\n ".join(text[at : at + width] for at in range(0, len(text), width)) + "\n"

    signature = signature_of(files, "bob")
    text, signed = wrapped(request_text(REQUEST)), wrapped(signed_text(REQUEST, signature))
    assert (is_request(text), is_signed_request(text), is_request(signed), is_signed_request(signed)) == (
        True, False, False, True,
    )  # fmt: skip
    assert read_request(text) == REQUEST
    found = read_signed(signed)
    assert (found.account, found.version, found.effect_digest) == (ABOUT.account, 1403, ABOUT.effect_digest)
    assert found.signature == signature == Signature(key=signature.key, signature=signature.signature)


@given(cut=st.integers(1, 100))
def test_half_a_text_is_refused(cut, files):
    text, signed = request_text(REQUEST), signed_text(REQUEST, signature_of(files, "bob"))
    with pytest.raises(BadValue, match="copied whole"):
        read_request(text[:-cut])
    with pytest.raises(BadValue, match="copied whole"):
        read_signed(signed[:-cut])


@pytest.mark.parametrize("text", ["", "1403", *(f"ledger-approval.{one}" for one in ("", "e30", "💶", "W10"))])
def test_what_is_no_request_is_refused(text):
    with pytest.raises(BadValue, match="expected the text that ledger propose prints"):
        read_request(text)
