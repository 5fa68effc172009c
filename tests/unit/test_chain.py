"""The canonical bytes under the hash chain are those of the standard library's JSON, whoever writes them."""

from __future__ import annotations

import base64
import json
import sys
from binascii import crc_hqx
from hashlib import sha256

import pytest
from hypothesis import given

from ledger.codec import TEXT_COLUMNS, encode, natural_key
from ledger.journal.chain import COVERED, checks, covered, digest, is_link, with_hash
from tests.property.test_codec import events
from tools.testkit.stories import fill, opened

TERMS_FILTER = opened().terms
PREVIOUS = b"\x01" * 32
COMMENT = COVERED.index("comment")


def defined(columns):
    """The hash as it was defined once and for ever."""
    output = json.dumps(list(columns), ensure_ascii=False, separators=(",", ":"))
    return sha256(PREVIOUS + output.encode()).digest()


def row(event, version=7):
    return encode(event, TERMS_FILTER)._replace(version=version, recorded_us=8, natural_key=natural_key(event))


def test_every_character_is_written_as_it_was_always_written():
    columns = covered(row(fill(1)))
    step = 4096
    for first in range(0, sys.maxunicode + 1, step):
        text = "".join(chr(code) for code in range(first, first + step) if not 0xD800 <= code <= 0xDFFF)
        values = (*columns[:COMMENT], text, *columns[COMMENT + 1 :])
        assert digest(values, PREVIOUS) == defined(values), hex(first)


@pytest.mark.parametrize("number", [0, -1, 2**63 - 1, -(2**63), 2**63, 2**64, -(10**30)])
def test_every_number_is_written_as_it_was_always_written(number):
    columns = (number, *covered(row(fill(1)))[1:])
    assert digest(columns, PREVIOUS) == defined(columns)


@given(events)
def test_every_event_is_hashed_and_checked_as_defined(event):
    columns = covered(row(event))
    made = with_hash(row(event), PREVIOUS)
    assert made.hash == defined(columns)
    numbers = [
        65535 if value is None else value % 65521 if isinstance(value, int) else crc_hqx(value.encode(), 0) for value in columns
    ]
    assert checks(columns) == b"".join(number.to_bytes(2, "big") for number in numbers)
    assert is_link(columns, PREVIOUS, made.hash, made.checks)


def test_bytes_are_never_mistaken_for_the_text_that_json_would_write_for_them():
    raw = b"hidden"
    whole = with_hash(row(fill(1, comment=base64.b64encode(raw).decode())), PREVIOUS)
    columns = covered(whole)
    assert is_link(columns, PREVIOUS, whole.hash, whole.checks)
    forged = (*columns[:COMMENT], raw, *columns[COMMENT + 1 :])
    assert not is_link(forged, PREVIOUS, whole.hash, whole.checks)
    with pytest.raises(TypeError, match="something else"):
        digest(forged, PREVIOUS)


@pytest.mark.parametrize("number", [float("inf"), float("nan"), 1.0, True])
@pytest.mark.parametrize("name", ["magic", "order_ticket"])
def test_what_is_no_whole_number_is_never_mistaken_for_one_or_for_nothing(number, name):
    whole = with_hash(row(fill(1, magic=None)), PREVIOUS)
    at = COVERED.index(name)
    columns = covered(whole)
    forged = (*columns[:at], number, *columns[at + 1 :])
    assert not is_link(forged, PREVIOUS, whole.hash, whole.checks)
    with pytest.raises(TypeError, match="something else"):
        digest(forged, PREVIOUS)


def test_a_link_needs_hash_checks_and_predecessor():
    whole = with_hash(row(fill(1)), PREVIOUS)
    columns = covered(whole)
    assert not is_link(columns, b"\x02" * 32, whole.hash, whole.checks)
    assert not is_link(columns, PREVIOUS, b"\x02" * 32, whole.checks)
    assert not is_link(columns, PREVIOUS, whole.hash, b"\x00" * len(whole.checks))


@pytest.mark.parametrize("name", [name for name in COVERED if name not in TEXT_COLUMNS])
@pytest.mark.parametrize("text", ["a text", "%s", "%", "5"])
def test_a_text_where_there_is_a_number_is_no_link_even_if_its_hash_was_made_anew(name, text):
    content = covered(row(fill(1)))
    columns = tuple(text if one == name else value for one, value in zip(COVERED, content, strict=True))
    assert not is_link(columns, PREVIOUS, digest(columns, PREVIOUS), checks(content))
