"""Whatever a gateway answers, reading it gives a value or one of its errors."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ledger.errors import GatewayError
from ledger.protocol import json_stream
from tools.faults.fuzz_gateway import NOISE, REQ_ID, Answer, answers, outcome, readers, valid_answers

READERS = tuple(valid_answers())
READ = readers()
FIELDS = ("status", "req_id", "positions", "deals", "ticket", "symbol", "type", "volume", "price_open", "time", "identifier")

scalars: st.SearchStrategy[Any] = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6)
objects = st.dictionaries(st.sampled_from(FIELDS) | st.text(max_size=3), scalars, max_size=8)
values = st.recursive(
    scalars | objects, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner)
)


def test_broken_answers_do_no_harm():
    outcomes = {outcome(answer) for answer in answers(4_000, seed=20)}
    assert {"Snapshot", "SnapshotRefused", "GatewayRefused", "RemoteHistory", "RemoteAccount", "tuple"} <= outcomes


@pytest.mark.parametrize("reader", READERS)
def test_valid_answers_are_read(reader):
    assert "Refused" not in outcome(Answer(reader, json.dumps(valid_answers()[reader]).encode()))


@pytest.mark.parametrize("raw", NOISE, ids=range(len(NOISE)))
@pytest.mark.parametrize("reader", READERS)
def test_noise_is_refused(reader, raw):
    assert (
        outcome(Answer(reader, raw)).endswith("Refused")
        or (reader, raw) == ("pong", b'{"status":"SUCCESS"}')
        or (reader == "pong" and raw.startswith(b'{"status":"SUCCESS","positions"'))
        or (reader == "foreign" and raw == b'{"positions":[]}')
    )


@given(st.sampled_from(READERS), st.binary(max_size=200))
def test_any_bytes_do_no_harm(reader, raw):
    outcome(Answer(reader, raw))


@given(st.sampled_from(READERS), st.sampled_from(("positions", "deals", "symbols", "account")), values, st.booleans())
@example("positions", "positions", [{"ticket": 1, "symbol": "\ud800", "type": "buy", "volume": 1, "price_open": 1}], True)
@example("deals", "deals", [{"ticket": 1, "type": 0, "time": 1, "volume": 0, "price": 1, "symbol": "X", "entry": 0}], False)
def test_any_value_anywhere_does_no_harm(reader, key, value, is_echoed):
    answer = {"status": "SUCCESS", "req_id": REQ_ID if is_echoed else value, key: value}
    outcome(Answer(reader, json.dumps(answer).encode()))


@given(st.sampled_from(READERS), st.data())
def test_any_value_in_any_field_does_no_harm(reader, data):
    answer = valid_answers()[reader]
    places = [answer] + [row for value in answer.values() if isinstance(value, list) for row in value]
    place = data.draw(st.sampled_from(places))
    place[data.draw(st.sampled_from(sorted(place)))] = data.draw(values)
    outcome(Answer(reader, json.dumps(answer).encode()))


@given(st.sampled_from(READERS), st.data(), st.integers(1, 40))
def test_an_answer_that_is_read_in_parts_reads_the_same(reader, data, part_bytes):
    answer = valid_answers()[reader]
    places = [answer] + [row for value in answer.values() if isinstance(value, list) for row in value]
    place = data.draw(st.sampled_from(places))
    place[data.draw(st.sampled_from(sorted(place)) | st.text(max_size=3))] = data.draw(values)
    raw = json.dumps(answer, ensure_ascii=data.draw(st.booleans()), indent=data.draw(st.none() | st.just(1))).encode(
        errors="surrogatepass"
    )
    raw = raw[: data.draw(st.just(len(raw)) | st.integers(0, len(raw)))]
    whole = output(reader, raw)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(json_stream, "PART_BYTES", part_bytes)
        assert output(reader, raw) == whole


@pytest.mark.parametrize("number", [b"70113.0", b"7.0113e4", b"7.0113e+4", b"7.0113E+04"])
@pytest.mark.parametrize("part_bytes", range(1, 60))
def test_a_number_that_is_cut_by_the_end_of_a_part_is_read_whole(number, part_bytes, monkeypatch):
    monkeypatch.setattr(json_stream, "PART_BYTES", part_bytes)
    snapshot = READ["positions"](b'{"status":"OK","req_id":"%s","login":%s,"positions":[]}' % (REQ_ID.encode(), number))
    assert snapshot.login == 70113


def output(reader: str, raw: bytes) -> object:
    try:
        return READ[reader](raw)
    except GatewayError as error:
        return type(error), getattr(error, "row", None), getattr(error, "field", None)
