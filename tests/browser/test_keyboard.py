"""Somebody without a mouse gets everywhere: by the page's keys, and by Tab and Enter alone."""

from __future__ import annotations

from playwright.sync_api import expect

from tools.testkit.page_desk import MAIN
from tools.testkit.page_process import path_of


def focused(person):
    return person.page.evaluate("document.activeElement.closest('[data-row]')?.textContent")


def test_the_keys_lead_to_every_view_and_through_rows(visit, desk):
    ann = visit(desk, path=path_of(MAIN)).ready("account")
    for key, view in (("b", "breaks"), ("l", "log"), ("h", "health"), ("o", "overview")):
        ann.page.keyboard.press("g")
        ann.page.keyboard.press(key)
        ann.ready(view)
    ann.page.keyboard.press("j")
    first = focused(ann)
    ann.page.keyboard.press("j")
    assert focused(ann) != first
    ann.page.keyboard.press("k")
    assert focused(ann) == first
    ann.page.keyboard.press("Enter")
    ann.ready("account")
    assert first in ann.main.inner_text()


def test_find_takes_what_is_typed_and_no_key_acts_meanwhile(visit, desk):
    ann = visit(desk).ready("overview")
    ann.page.keyboard.press("/")
    ann.page.keyboard.type("gbk70113")
    expect(ann.page.locator("[data-find]")).to_have_value("gbk70113")
    expect(ann.main).to_have_attribute("data-view", "overview")
    ann.page.keyboard.press("Control+A")
    ann.page.keyboard.type("70113")
    expect(ann.page.locator("main tbody tr")).to_have_count(1)


def test_the_list_of_keys_opens_names_them_and_closes(visit, desk):
    ann = visit(desk, path=path_of(MAIN)).ready("account")
    ann.page.keyboard.press("?")
    dialog = ann.page.get_by_role("dialog")
    expect(dialog).to_be_visible()
    for key in ("g", "/", "j", "k", "[", "]", "{", "}", "n", "l", "d", "c", "u", "r"):
        expect(dialog.locator("kbd", has_text=key).filter(has_text=key).first).to_be_visible()
    assert "approve" not in dialog.inner_text().lower()  # approving has no key
    ann.page.keyboard.press("Escape")
    expect(dialog).to_have_count(0)


def test_events_are_stepped_through_and_compared_with_now(visit, desk):
    ann = visit(desk, path=path_of(MAIN)).ready("account")
    moment = ann.page.locator("[data-moment]")
    ann.page.keyboard.press("{")
    expect(moment).to_have_attribute("data-moment", "past")
    ann.page.keyboard.press("d")
    expect(ann.page.locator("[data-diff]")).to_be_visible()
    ann.page.keyboard.press("n")
    expect(moment).to_have_attribute("data-moment", "now")


def test_tab_alone_reaches_the_sliders_and_the_rows_and_shows_where_it_is(visit, desk):
    ann = visit(desk, path=path_of(MAIN)).ready("account")
    ann.page.evaluate("document.activeElement.blur()")
    reached, invisible = set(), []
    for _ in range(60):
        ann.page.keyboard.press("Tab")
        where = ann.page.evaluate(WHERE)
        reached.add(where["what"])
        if not where["outlined"]:
            invisible.append(where)
    assert {"a.skip", "input.range", "button.", "a.row", "summary."} <= reached
    assert invisible == []


WHERE = """() => {
  const one = document.activeElement, style = getComputedStyle(one);
  const kinds = { row: "[data-row]", range: "[type=range]", skip: ".skip" };
  const kind = Object.keys(kinds).find((name) => one.matches(kinds[name])) ?? "";
  return { what: `${one.localName}.${kind}`, html: one.outerHTML.slice(0, 80),
    outlined: one === document.body || style.outlineStyle !== "none" || style.boxShadow !== "none" };
}"""


def test_a_slider_moves_by_arrow_keys_and_speaks_its_time(visit, desk):
    ann = visit(desk, path=path_of(MAIN)).ready("account")
    slider = ann.page.locator('input[data-axis="until"]')
    slider.focus()
    ann.page.keyboard.press("Home")
    expect(ann.page.locator("[data-moment]")).to_have_attribute("data-moment", "past")
    expect(slider).to_have_attribute("aria-valuetext", ann.page.locator('output[data-axis="until"]').inner_text())
    ann.page.keyboard.press("End")
    expect(slider).to_have_attribute("aria-valuetext", "now")


def test_the_chart_is_a_figure_with_a_summary_and_a_table(visit, desk):
    ann = visit(desk, path=path_of(MAIN)).ready("account")
    chart = ann.page.get_by_role("figure").first
    expect(chart).to_contain_text("lowest")
    table = chart.locator("details")
    table.locator("summary").click()
    rows = table.locator("tbody tr").count()
    assert 0 < rows <= 100
