"""Laws of imports: what was simulated is what is read, in every format; and no bytes do more harm than being refused."""

from __future__ import annotations

import io
import zipfile
from collections import Counter, defaultdict
from contextlib import suppress
from decimal import Decimal
from functools import lru_cache

import attrs
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ledger.errors import LedgerError, MalformedExport
from ledger.imports import attribute, read_statement
from ledger.imports.cells import number_or_none
from ledger.values import MarginMode
from tests.support.reports import archived
from tools.samples.history import LANGUAGES, make_history, render_csv, render_html, render_xlsx

modes = st.sampled_from(["hedging", "netting"])
seeds = st.integers(0, 10**6)
formats = st.sampled_from(["html", "xlsx"])


def in_whole_seconds(history, first, last):
    """Widen a window of deals so that it does not cut through a second, as no date filter does."""
    second = [deal.time_msc // 1000 for deal in history.deals]
    while 0 < first < len(second) and second[first] == second[first - 1]:
        first -= 1
    while 0 < last < len(second) and second[last] == second[last - 1]:
        last += 1
    return history.window(first, last)


@st.composite
def histories(draw, sizes=(2, 15, 60, 150), windowed=True):
    history = make_history(
        draw(seeds),
        draw(modes),
        draw(st.sampled_from(sizes)),
        currency=draw(st.sampled_from(["USD", "JPY"])),
        fees=draw(st.booleans()),
        big_tickets=draw(st.booleans()),
    )
    if windowed and draw(st.booleans()):
        first = draw(st.integers(0, len(history.deals) - 1))
        return in_whole_seconds(history, first, draw(st.integers(first + 1, len(history.deals))))
    return history


def written(history, form, language="en"):
    columns = 14 if any(deal.fee for deal in history.deals) else 13
    if form == "html":
        return render_html(history, language, columns=columns + (columns == 14))
    return render_xlsx(history, language, columns=columns)


def read(data, tmp_path_factory):
    path = tmp_path_factory.getbasetemp() / "simulated"
    path.write_bytes(data)
    return read_statement(path)


def results(deals, position_ids):
    """Position ids by what their deals state: deals that nothing distinguishes may be swapped, and nothing else."""
    found: defaultdict[tuple[object, ...], Counter[int]] = defaultdict(Counter)
    for deal, position_id in zip(deals, position_ids, strict=True):
        if deal.side is not None and position_id is not None:
            what = (deal.time_msc, deal.symbol, deal.type, deal.entry, deal.volume, deal.price, deal.profit, deal.swap)
            found[(*what, deal.commission)][position_id] += 1
    return found


# --------------------------------------------------------------------------------------------------------------- what is read


@given(history=histories(), form=formats, language=st.sampled_from(LANGUAGES))
@settings(max_examples=40, deadline=None)
def test_the_deals_that_were_simulated_are_those_that_are_read(history, form, language, tmp_path_factory):
    report = read(written(history, form, language), tmp_path_factory)
    assert [(d.deal, d.time_msc, d.order or 0, d.volume or 0, d.price or 0, d.comment or "") for d in report.deals] == [
        (deal.ticket, deal.time_msc // 1000 * 1000, deal.order, deal.volume, deal.price, deal.comment) for deal in history.deals
    ]
    assert [(d.profit, d.commission, d.fee, d.swap, d.balance) for d in report.deals] == [
        (deal.profit, deal.commission, deal.fee, deal.swap, deal.balance) for deal in history.deals
    ]
    assert [(d.symbol, d.side.value, d.entry) for d in report.deals if d.side] == [
        (deal.symbol.name, deal.type, {"in": 0, "out": 1, "in/out": 2, "out by": 3}[deal.entry])
        for deal in history.deals
        if deal.symbol
    ]
    assert (report.balance, report.credit, report.opening) == (history.balance, history.credit, history.opening)


@given(history=histories(), form=formats)
@settings(max_examples=30, deadline=None)
def test_the_positions_that_were_simulated_are_those_that_are_read(history, form, tmp_path_factory):
    report = read(written(history, form), tmp_path_factory)
    assert [(r.position_id, r.symbol, r.side.value, r.volume, r.volume_opened or r.volume) for r in report.closed or ()] == [
        (row.position_id, row.symbol.name, row.side, row.volume, row.volume_opened) for row in history.closed
    ]
    assert [(r.price_open, r.price_close, r.commission, r.swap, r.profit) for r in report.closed or ()] == [
        (row.price_open, row.price_close, row.commission, row.swap, row.profit) for row in history.closed
    ]
    assert [(r.ticket, r.symbol, r.side.value, r.volume, r.price_open, r.profit) for r in report.open or ()] == [
        (row.ticket, row.symbol.name, row.side, row.volume, row.price_open, row.profit) for row in history.open
    ]


@given(history=histories())
@settings(max_examples=20, deadline=None)
def test_a_dump_has_the_simulated_deals_to_the_millisecond(history, tmp_path_factory):
    dump = read(render_csv(history), tmp_path_factory)
    assert [(d.deal, d.time_msc, d.money, d.position_id or 0) for d in dump.deals] == [
        (deal.ticket, deal.time_msc, deal.money, deal.position_id) for deal in history.deals
    ]


# ------------------------------------------------------------------------------------------------------- whose deal it is


@given(seed=seeds, mode=modes, size=st.sampled_from([20, 100, 300]), form=formats)
@settings(max_examples=30, deadline=None)
def test_in_a_file_from_the_first_deal_on_every_deal_finds_its_position(seed, mode, size, form, tmp_path_factory):
    history = make_history(seed, mode, size)
    report = read(written(history, form), tmp_path_factory)
    attribution = attribute(report, report.mode)
    assert attribution.notes == ()
    assert results(report.deals, attribution.position_ids) == results(
        report.deals, [d.position_id or None for d in history.deals]
    )


@given(history=histories(), tables=st.sampled_from(["closed", "open", ""]))
@settings(max_examples=80, deadline=None)
def test_what_is_recorded_is_true_whatever_the_file_leaves_out(history, tables, tmp_path_factory):
    report = read(written(history, "html"), tmp_path_factory)
    if tables:
        report = attrs.evolve(report, **{tables: None})
    attribution = attribute(report, report.mode)
    assert_true(report, attribution, [deal.position_id or None for deal in history.deals])


def assert_true(report, attribution, position_ids):
    """Compare what is determined with the truth; of positions that all end closed, a pairing may be chosen, and is noted."""
    chosen = {note.place for note in attribution.notes if "paired in order" in note.cause}
    determined = [
        None if f"deal {deal.deal} (row {deal.row})" in chosen else position_id
        for deal, position_id in zip(report.deals, attribution.position_ids, strict=True)
    ]
    simulated = results(report.deals, position_ids)
    for what, ids in results(report.deals, determined).items():
        assert ids <= simulated[what]


@given(seed=seeds, mode=modes, cuts=st.lists(st.integers(1, 150), min_size=2, max_size=2))
@settings(max_examples=30, deadline=None)
@example(seed=47, mode="netting", cuts=[110, 141])  # an opening order filled twice, on both sides of the cut
@example(seed=161, mode="netting", cuts=[10, 15])  # a closed row that ends with a reversal, not flat
def test_a_longer_export_reports_the_same_about_the_deals_they_share(seed, mode, cuts, tmp_path_factory):
    history = make_history(seed, mode, 150)
    first, last = sorted(cuts)
    known: dict[int, int] = {}
    for part in (
        in_whole_seconds(history, 0, first),
        in_whole_seconds(history, 0, last),
        in_whole_seconds(history, first, last),
    ):
        if not part.deals:
            continue
        report = read(written(part, "html"), tmp_path_factory)
        for deal, position_id in zip(report.deals, attribute(report, report.mode).position_ids, strict=True):
            if deal.side is not None and position_id is not None:
                assert known.setdefault(deal.deal, position_id) == position_id


# ------------------------------------------------------------------------------------------------------------ broken bytes


@lru_cache
def whole(form):
    history = make_history(9, "hedging", 25)
    if form == "mht":
        return archived(render_html(history).decode("utf-16")[:4000] + "</table></html>", "utf-8", "quoted-printable")
    return render_csv(history) if form == "csv" else written(history, form)


@st.composite
def damages(draw, data):
    """Cut a piece out, put something in, or end early."""
    start = draw(st.integers(0, len(data)))
    end = draw(st.integers(start, min(len(data), start + 40)))
    what = draw(st.one_of(st.binary(max_size=8), st.sampled_from([b"<", b'"', b"1e999", b"9" * 25, b"\x00", b"<!--", b"nan"])))
    return data[:start] + what + (b"" if draw(st.integers(0, 9)) == 0 else data[end:])


@pytest.mark.parametrize("form", ["html", "csv", "xlsx", "mht"])
@given(data=st.data())
@settings(max_examples=150, deadline=None)
def test_no_bytes_raise_anything_but_a_ledger_error(form, data, tmp_path_factory):
    broken = data.draw(damages(whole(form)))
    try:
        statement = read(broken, tmp_path_factory)
    except LedgerError:
        return
    attribute(statement, MarginMode.HEDGING)
    attribute(statement, MarginMode.NETTING)


@given(data=st.data(), name=st.sampled_from(["xl/worksheets/sheet1.xml", "xl/sharedStrings.xml", "xl/workbook.xml"]))
@settings(max_examples=150, deadline=None)
def test_no_bytes_inside_a_workbook_raise_anything_but_a_ledger_error(data, name, tmp_path_factory):
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(whole("xlsx"))) as source, zipfile.ZipFile(buffer, "w") as target:
        for part in source.namelist():
            content = source.read(part)
            if part == name:
                content = data.draw(damages(content.decode("utf-16").encode()))
            target.writestr(part, content)
    try:
        read(buffer.getvalue(), tmp_path_factory)
    except LedgerError:
        return


@given(text=st.text(max_size=40))
@settings(max_examples=200, deadline=None)
@example(text="1" * 5000)
@example(text="1e-99")
def test_any_cell_is_a_number_or_none(text):
    number = number_or_none(text)
    assert number is None or (number.is_finite() and abs(number) < Decimal(10) ** 18)


@given(row=st.lists(st.text(alphabet="0123456789.: buysellinout/<&", max_size=20), min_size=1, max_size=16))
@settings(max_examples=200, deadline=None)
def test_any_row_is_read_or_refused(row, tmp_path_factory):
    cells = "".join(f"<td>{cell.replace('&', '&amp;').replace('<', '&lt;')}</td>" for cell in ["2024.01.02 10:00:00", *row])
    with suppress(MalformedExport):
        read(f"<html><table><tr>{cells}</tr></table></html>".encode(), tmp_path_factory)
