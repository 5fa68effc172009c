"""The Account and Log views: what a drag shows, what links check, what charts draw and read out, what the log filters."""

from __future__ import annotations

import math
import re
from contextlib import closing
from itertools import pairwise
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from playwright.sync_api import Route, expect

from ledger import Ledger
from tools.testkit.facts import fill
from tools.testkit.page_desk import MAIN
from tools.testkit.page_process import path_of

SHOWN = "() => document.querySelector('[data-part=figures] [data-figure=events] .figure').textContent"
SLIDE = """(at) => {
  const slider = document.querySelector('input[data-axis=until]');
  slider.value = at;
  slider.dispatchEvent(new Event('input', { bubbles: true }));
}"""


def steps_of(person):
    return int(person.page.locator("input[data-axis=until]").get_attribute("max"))


def test_a_drag_shows_no_older_answer_over_a_newer_one_and_asks_for_no_step_in_between(visit, desk):
    ann = visit(desk, path=path_of(MAIN)).ready("account")
    held: list[Route] = []
    asked: list[str] = []

    def hold(route: Route) -> None:
        asked.append(route.request.url)
        if held or len(asked) > 1:
            route.continue_()
        else:
            held.append(route)

    ann.page.route(re.compile(r"/api/accounts/[^/]+/\d+\?"), hold)
    last = steps_of(ann)
    with ann.page.expect_request(re.compile(r"/\d+\?until")):
        ann.page.evaluate(SLIDE, 5)
    for at in range(6, last - 1):
        ann.page.evaluate(SLIDE, at)
    assert len(asked) == 1
    ann.page.evaluate("""() => {
      window.shown = [];
      const part = document.querySelector('[data-part=figures]');
      const events = () => Number(part.querySelector('[data-figure=events] .figure').textContent.replace(',', ''));
      new MutationObserver(() => window.shown.push(events())).observe(part, { childList: true });
    }""")
    held.pop().continue_()
    expect(ann.part("figures")).to_contain_text(f"events{last - 1}")
    ann.page.wait_for_function("window.shown.length >= 2")
    shown = ann.page.evaluate("window.shown")
    assert shown == sorted(shown)
    assert (len(asked), len(shown)) == (2, 2)


COPY = """() => {
  window.copied = null;
  navigator.clipboard.writeText = async (text) => { window.copied = text; };
}"""


def link_of(person, path):
    person.go(path)
    person.page.evaluate(COPY)
    person.page.keyboard.press("c")
    person.page.wait_for_function("window.copied !== null")
    return person.page.evaluate("window.copied")


@pytest.mark.parametrize("moment", ["", "?v=30"])
def test_a_link_states_whether_it_shows_the_moment_that_was_sent(visit, desk, moment):
    ann = visit(desk).ready()
    url = link_of(ann, path_of(MAIN, moment))
    sent = parse_qs(urlsplit(url).query)
    assert sent.keys() >= {"known_at", "v", "h", "f"}
    view = ann.page.locator(".view")
    figures = ann.page.evaluate(SHOWN)
    for name, link in (
        ("same", url),
        ("history", re.sub(r"h=[0-9a-f]{4}", "h=0bad", url)),
        ("fold", re.sub(r"f=[0-9a-f]{4}", "f=0bad", url)),
    ):
        ann.page.goto(link)
        ann.ready("account", state="past")
        expect(view).to_have_attribute("data-link", name)
        assert ann.page.evaluate(SHOWN) == figures
    expect(ann.page.locator("[data-banner=view].warn")).to_contain_text("fold rules have changed")
    expect(ann.page.locator(".chart-moment")).to_have_attribute("style", re.compile(r"translateX\(\d"))


COLUMN = st.tuples(st.integers(-999, 999), st.integers(0, 50), st.integers(0, 50))


@settings(max_examples=30, deadline=None)
@given(values=st.lists(COLUMN, min_size=1, max_size=250), gaps=st.lists(st.integers(1, 9), min_size=250, max_size=250))
def check_curves(page, values, gaps):
    begin = 0
    columns: list[Any] = []
    for (close, down, up), gap in zip(values, gaps, strict=False):
        columns.append([begin, f"{close - down}.50", f"{close + up}.75", f"{close}.60", begin + 1000])
        begin += 1000 * gap
    found = page.evaluate(
        """async (columns) => {
          const charts = await import('/static/charts.js');
          const steps = charts.stepPoints(columns, 0), samples = charts.samplePoints(columns, 1500);
          const gaps = samples.filter(([, value]) => value === null).length;
          return { merged: charts.merged(columns), steps, gaps, laid: charts.overlay([steps, samples]) };
        }""",
        columns,
    )
    lows, highs = [float(one[1]) for one in columns], [float(one[2]) for one in columns]
    assert len(found["merged"]) <= 100
    assert min(float(one[1]) for one in found["merged"]) == min(lows)
    assert max(float(one[2]) for one in found["merged"]) == max(highs)
    assert {one[i] for one in found["merged"] for i in (1, 2, 3)} <= {one[i] for one in columns for i in (1, 2, 3)}
    for at, low, high, *_ in columns:
        drawn = [value for x, value in found["steps"] if x == at]
        assert {float(low), float(high)} <= set(drawn)
    assert found["gaps"] == sum(after[0] - before[4] > 1500 for before, after in pairwise(columns))
    assert found["laid"][0] == sorted(found["laid"][0])


def test_a_curve_has_the_extremes_of_every_column_exactly_and_bridges_no_gap(visit, desk):
    ann = visit(desk).ready()
    check_curves(ann.page)


def test_a_chart_is_read_out_by_keys_and_has_a_short_table(visit, desk):
    ann = visit(desk, path=path_of(MAIN)).ready("account")
    chart = ann.page.get_by_role("figure")
    expect(chart).to_contain_text(re.compile(r"Balance from .*: lowest .*, highest .*, last .* USD\."))
    plot, spoken = chart.get_by_role("application"), chart.get_by_role("status")
    plot.focus()
    said = []
    for key in ("Home", "ArrowRight", "End", "ArrowLeft"):
        plot.press(key)
        expect(spoken).to_contain_text("balance")
        said.append(spoken.inner_text())
    assert len(set(said)) == 4
    plot.press("Enter")
    expect(ann.page.locator(".travel")).to_have_attribute("data-moment", "past")
    chart.get_by_text("table", exact=True).click()
    expect(chart.locator("tbody tr").first).to_be_visible()
    assert 1 < chart.locator("tbody tr").count() <= 100


def test_enter_on_a_position_lists_every_event_of_it(visit, desk):
    ann = visit(desk, path=path_of(MAIN)).ready("account")
    ann.page.keyboard.press("j")
    position = ann.page.locator(":focus").inner_text()
    ann.page.keyboard.press("Enter")
    ann.ready("log")
    assert f"position={position}" in ann.page.url
    cells = ann.page.locator("tbody tr[data-id] td[data-label=position]")
    assert set(cells.all_inner_texts()) == {position}


def test_a_box_drawn_in_the_log_filters_both_clocks(visit, desk):
    ann = visit(desk, path=path_of(MAIN, "/log")).ready("log")
    all_rows = ann.page.locator("tr[data-id]").count()
    plot = ann.page.locator(".u-over").bounding_box()
    left, top = plot["x"] + plot["width"] * 0.5, plot["y"] + plot["height"] * 0.1
    ann.page.mouse.move(left, top)
    ann.page.mouse.down()
    ann.page.mouse.move(left + plot["width"] * 0.3, top + plot["height"] * 0.6, steps=3)
    ann.page.mouse.up()
    expect(ann.page).to_have_url(re.compile("recorded_to="))
    ann.ready("log")
    box = {name: values[0] for name, values in parse_qs(urlsplit(ann.page.url).query).items()}
    rows = ann.page.evaluate(
        """() => [...document.querySelectorAll('tr[data-id]')]
             .map((row) => [...row.querySelectorAll('time')].map((one) => one.dateTime))"""
    )
    assert 0 < len(rows) < all_rows
    for happened, recorded in rows:
        assert box["from"] <= happened <= box["to"]
        assert box["recorded_from"] <= recorded <= box["recorded_to"]


def test_an_event_is_shown_in_full_with_its_place_in_the_chain(visit, desk):
    ann = visit(desk).ready().go(path_of(MAIN, "/log#v30"))
    panel = ann.page.locator("[data-event='30']")
    hashes = panel.locator("dd code").all_inner_texts()
    assert [len(one) for one in hashes] == [64, 64]
    ann.page.evaluate("location.hash = 'v29'")
    expect(ann.page.locator("[data-event='29']").locator("dd code").first).to_have_text(hashes[1])
    ann.page.get_by_role("button", name="Portfolio before | after").click()
    expect(ann.page.locator("[data-diff]")).to_be_visible()
    assert math.isfinite(float(ann.page.locator("[data-event='29'] dd").first.inner_text()))


# ------------------------------------------------------------------------------------------------ moments that a link names


def moment_line(person):
    return person.page.locator(".chart-moment")


@pytest.mark.parametrize(
    "written", ["{day}", "{day}T{minute}", "{day} {minute}", "1h", ""], ids=["day", "minute", "space", "ago", "empty"]
)
def test_a_moment_that_a_person_wrote_is_the_one_that_the_figures_are_of(visit, desk, written):
    ann = visit(desk, path=path_of(MAIN), timezone_id="Asia/Tokyo").ready("account")
    (first, *_) = ann.page.evaluate(STEPS, path_of(MAIN))
    text = written.format(day=first["at"][:10], minute=first["at"][11:16])
    ann.go(f"{path_of(MAIN)}?until={text}")
    shown = ann.page.locator("output[data-axis=until]").inner_text()
    asked = parse_qs(urlsplit(ann.page.url).query).get("until", ["now"])[0]
    assert asked.replace("T", " ").startswith(shown)
    expected = {"{day}": "23:59:59.999", "{day}T{minute}": f"{first['at'][11:16]}:59.999", "": "now"}.get(written, "")
    assert shown.endswith(expected)


STEPS = """async (account) => {
  const answer = await fetch(`/api/accounts${account.slice(2)}/steps`);
  return (await answer.json()).until;
}"""


@pytest.mark.parametrize(("named", "is_locked"), [("until", False), ("known_at", False), ("both", True), ("locked", True)])
def test_where_a_link_has_one_of_the_two_times_the_other_stays_at_now(visit, desk, named, is_locked):
    ann = visit(desk, path=path_of(MAIN)).ready("account")
    at = ann.page.evaluate(STEPS, path_of(MAIN))[-4]["at"]
    words = {"both": f"until={at}&known_at={at}", "locked": f"until={at}&lock=1"}.get(named, f"{named}={at}")
    ann.go(f"{path_of(MAIN)}?{words}")
    expect(ann.page.locator(".travel-buttons button").first).to_have_attribute("aria-pressed", str(is_locked).lower())
    ann.page.keyboard.press("[")
    ann.page.wait_for_function("(at) => !location.search.includes(encodeURIComponent(at))", arg=at)
    now = [one.inner_text() == "now" for one in ann.page.locator("output[data-axis]").all()]
    assert now == {"until": [False, True], "known_at": [True, False]}.get(named, [False, False])


def test_the_moment_is_on_the_curve_also_after_all_that_happened(visit, desk):
    ann = visit(desk, path=path_of(MAIN)).ready("account")
    expect(moment_line(ann)).to_be_hidden()
    ann.go(f"{path_of(MAIN)}?known_at=0s")
    expect(moment_line(ann)).to_be_visible()
    line, plot = (ann.page.locator(one).bounding_box() for one in (".chart-moment", ".u-over"))
    assert 0 <= plot["x"] + plot["width"] - line["x"] <= 3


def test_a_past_curve_has_no_sample_that_was_not_known_then(visit, desk):
    ann = visit(desk, path=path_of(MAIN)).ready("account")
    at = ann.page.evaluate(STEPS, path_of(MAIN))[30]["at"]
    ann.go(f"{path_of(MAIN)}?known_at={at}")
    expect(ann.page.get_by_role("figure")).to_contain_text(re.compile(r"Equity from .* to "))
    (last,) = re.findall(r"Equity from .*? to (\S+ \S+):", ann.page.locator("figcaption").inner_text())
    assert last <= at.replace("T", " ")


def test_the_lowest_balance_of_a_curve_states_that_it_was_before_the_first_deal(visit, desk):
    ann = visit(desk, path=path_of(MAIN)).ready("account")
    expect(ann.page.get_by_role("figure")).to_contain_text("lowest 0.00 (before the first deal of this window), highest")


KEPT = """const ask = window.fetch;
window.fetch = async (url, options) => {
  const answer = await ask(url, options);
  if (!String(url).includes('/curve')) return answer;
  const { status, headers } = answer;
  return new Response(JSON.stringify({ ...await answer.json(), behind: 1 }), { status, headers });
};"""


def test_a_curve_that_rests_on_tables_that_are_behind_states_by_how_many_events(visit, own_desk):
    behind = re.compile("events? behind")
    ann = visit(own_desk, path=path_of(MAIN)).ready("account")
    with closing(Ledger.open(own_desk.journal)) as ledger:
        account = ledger.account(MAIN)
        account.record(fill(77_000_000_002, profit="-1", position_id=5, time_msc=account.portfolio.newest_known_msc - 5))
        balance = account.portfolio.balance
    chart = ann.page.get_by_role("figure")
    expect(chart).to_contain_text(f"last {balance:.2f} USD")  # a short history is folded from the events
    expect(chart).not_to_contain_text(behind)
    ann.page.add_init_script(KEPT)
    ann.go(path_of(MAIN))
    expect(chart).to_contain_text("the curve is 1 event behind")


def test_a_link_to_a_log_of_a_kind_shows_which_one_it_is(visit, desk):
    ann = visit(desk).ready()
    for kind in ("approvals", "SymbolSpecified"):
        ann.go(f"{path_of(MAIN, '/log')}?kind={kind}")
        expect(ann.page.locator("select[name=kind]")).to_have_value(kind)


def test_what_somebody_types_into_the_filters_stays_when_events_arrive(visit, own_desk):
    ann = visit(own_desk, path=path_of(MAIN, "/log")).ready("log")
    ann.page.locator("input[name=position]").type("500")
    with closing(Ledger.open(own_desk.journal)) as ledger:
        account = ledger.account(MAIN)
        account.record(fill(77_000_000_003, position_id=5, time_msc=account.portfolio.newest_known_msc - 5))
        version = account.version
    expect(ann.page.locator(f'tr[data-id="{version}"]')).to_be_visible()
    expect(ann.page.locator("input[name=position]")).to_have_value("500")
    expect(ann.page.locator("input[name=position]")).to_be_focused()


def test_who_reads_the_curve_by_keys_stays_there_when_events_arrive(visit, own_desk):
    ann = visit(own_desk, path=path_of(MAIN)).ready("account")
    chart = ann.page.get_by_role("figure")
    plot, spoken = chart.get_by_role("application"), chart.get_by_role("status")
    expect(chart).to_have_attribute("data-drawn", re.compile("."))
    plot.press("Home")
    begun = "balance 0.00 to 10000.00, last 10000.00"
    expect(spoken).to_contain_text(begun)
    with closing(Ledger.open(own_desk.journal)) as ledger:
        account = ledger.account(MAIN)
        account.record(fill(77_000_000_004, profit="-1", position_id=5, time_msc=account.portfolio.newest_known_msc - 5))
        balance = account.portfolio.balance
    expect(chart).to_contain_text(f"last {balance:.2f} USD")
    plot.press("ArrowRight")
    plot.press("ArrowLeft")
    expect(spoken).to_contain_text(begun)


def test_what_cannot_be_read_is_not_shown_as_nothing(visit, desk):
    ann = visit(desk).ready()
    ann.page.add_init_script(BROKEN)
    ann.go(path_of(MAIN))
    expect(ann.part("notable")).to_contain_text("What was notable cannot be read: version 20 cannot be read")
    expect(ann.page.get_by_role("figure")).to_contain_text("degraded ? times")


BROKEN = """const ask = window.fetch;
const error = { code: 'CorruptEvent', text: 'version 20 cannot be read', retryable: false };
window.fetch = async (url, options) => /notable|incidents/.test(url)
  ? new Response(JSON.stringify({ error }), { status: 422, headers: { Date: new Date().toUTCString() } })
  : ask(url, options);"""
