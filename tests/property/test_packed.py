"""Packed postings are the rows that were packed: whatever is in them, and from any index to any other."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ledger.postings import NO_DEAL, Posting, place_of
from ledger.segments.packed import COLUMNS, ROWS_MAX, DamagedColumns, Packed, PackedSlice
from ledger.values import INT64_MAX

NUMBERS = st.integers(-200, 200) | st.integers(-INT64_MAX - 1, INT64_MAX) | st.integers(-(2**66), 2**66)
UNKNOWN = st.none()
MOMENTS = st.integers(1_700_000_000_000, 1_700_000_100_000) | st.integers(0, INT64_MAX)
FILL = Posting(
    1_700_000_000_000, 5, 1, "FillRecorded", 0, 0, 7, 6, "EURUSD", 100, 108_500, 0, 0, 0, 0, None, None, 1
)  # fmt: skip


@st.composite
def rows(draw):
    """Return postings that are nearly a fill of which everything is known."""
    values = list(FILL)
    values[0] = draw(MOMENTS)
    values[1] = draw(st.integers(1, 10**6) | st.just(NO_DEAL))
    values[2] = draw(st.integers(1, 10**6))
    for at in draw(st.sets(st.integers(4, 15), max_size=4)):
        values[at] = draw(NUMBERS | UNKNOWN) if at != 8 else draw(st.text(max_size=4) | UNKNOWN)
    if draw(st.integers(0, 9)) == 0:
        values[3] = draw(st.sampled_from(["BreakOpened", "CashMoved", "DealRevised"]))
    values[16] = draw(UNKNOWN | UNKNOWN | st.text(max_size=3))
    values[17] = draw(st.sampled_from([1, 1, 1, 2]))
    return tuple(values[: draw(st.sampled_from([18, 18, 18, 18, 17]))])


def repacked(some):
    return Packed.from_buffer(memoryview(Packed.pack(some).to_bytes()))


@given(st.lists(rows(), max_size=12), st.data())
@example([], None)
@example([FILL, FILL._replace(symbol="GBPUSD"), FILL._replace(symbol="\ud83d\ude00")], None)
@example([FILL._replace(version=2**63 - 1, deal=-(2**63) + 1), FILL._replace(version=-(2**63) + 1)], None)
@example([FILL._replace(magic=-128), FILL, FILL._replace(volume=-1)], None)
def test_what_was_packed_is_read(some, data):
    packed = repacked(some)
    assert packed.rows() == Packed.pack(some).rows() == some
    begin, end = (
        sorted((data.draw(st.integers(0, len(some))), data.draw(st.integers(0, len(some))))) if data else (0, len(some))
    )
    part = PackedSlice(packed, begin, end)
    assert (list(part), len(part), [part[at] for at in range(len(part))]) == (some[begin:end], end - begin, some[begin:end])
    assert list(part[1:-1]) == some[begin:end][1:-1]
    assert Packed.pack(packed.rows()).to_bytes() == packed.to_bytes()


@given(st.lists(rows().filter(lambda row: len(row) == 18), max_size=8))
def test_the_place_of_a_row_is_found_without_the_row(some):
    packed = repacked(some)
    assert [packed.place(at) for at in range(len(some))] == list(map(place_of, some))
    assert [packed.time_msc(at) for at in range(len(some))] == list(packed.times(0, len(some))) == [row[0] for row in some]
    assert [packed.version(at) for at in range(len(some))] == [row[2] for row in some]


@given(st.lists(rows(), max_size=6), st.data())
def test_a_damaged_buffer_is_refused_or_read_as_other_rows(some, data):
    buffer = bytearray(Packed.pack(some).to_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        buffer[data.draw(st.integers(0, len(buffer) - 1))] = data.draw(st.integers(0, 255))
    buffer = buffer[: len(buffer) - data.draw(st.sampled_from([0, 0, 1, 40]))]
    found: int | str
    try:
        found = len(Packed.from_buffer(bytes(buffer)).rows())
    except DamagedColumns as exc:
        found = str(exc)
    assert found == int.from_bytes(buffer[8:12], "little") or "pack them again" in str(found)  # as many as its head names


def test_fills_as_they_usually_are_take_a_fifth_of_their_numbers():
    some = [
        FILL._replace(
            time_msc=FILL.time_msc + 700 * at, deal=9000 + at, version=1 + at, position_id=4000 + at // 2, entry=at % 2
        )
        for at in range(4096)
    ]
    packed = repacked(some)
    assert not packed.whole
    widths = dict(zip(COLUMNS, (column.width for column in packed.columns), strict=True))
    assert widths["time_msc"] == widths["deal"] == widths["version"] == widths["magic"] == widths["symbol"] == 0
    assert (widths["position_id"], widths["entry"]) == (2, 1)
    assert len(packed.to_bytes()) < 4096 * 4


def test_rows_beyond_one_pack_are_refused():
    with pytest.raises(ValueError, match="65,537 rows do not fit one pack of 65,536"):
        Packed.pack([FILL] * (ROWS_MAX + 1))
