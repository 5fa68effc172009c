"""Everybody can use the page: axe finds nothing in light and dark, a phone needs no scrolling aside, paper shows figures."""

from __future__ import annotations

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect

from tools.testkit.page_desk import DEGRADED, MAIN, NEVER_SYNCED
from tools.testkit.page_process import path_of

PHONE = {"width": 360, "height": 740}
#: Every view, with what makes it look otherwise.
VIEWS = {
    "overview": "/",
    "account": path_of(MAIN),
    "a past moment": path_of(MAIN, "?v=30"),
    "a degraded account": path_of(DEGRADED),
    "an account that was never compared": path_of(NEVER_SYNCED),
    "breaks": "/breaks",
    "log": path_of(MAIN, "/log"),
    "health": "/health",
}
#: By what axe looks in each scheme: all rules of WCAG 2.2 A and AA, and good practice; colours alone are others in the dark.
RULES = {
    "light": {"type": "tag", "values": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]},
    "dark": {"type": "rule", "values": ["color-contrast", "link-in-text-block"]},
}


@pytest.mark.parametrize("scheme", RULES)
def test_axe_finds_nothing_in_any_view(visit, desk, scheme):
    ann = visit(desk, bypass_csp=True, color_scheme=scheme).ready()  # axe is a script of its own: here alone
    found = {}
    for name, path in VIEWS.items():
        ann.go(path)
        answer = Axe().run(ann.page, options={"runOnly": RULES[scheme], "resultTypes": ["violations"]}).response
        assert answer["violations"] or answer["passes"], name
        for one in answer["violations"]:
            found[f"{name}: {one['id']}"] = [node["html"] for node in one["nodes"]]
    assert found == {}


def test_a_phone_shows_every_view_without_scrolling_aside_and_nothing_moves_for_those_who_want_it_still(visit, desk):
    ann = visit(desk, viewport=PHONE, is_mobile=True, has_touch=True, reduced_motion="reduce").ready()
    wide = {}
    for name, path in VIEWS.items():
        ann.go(path)
        assert ann.page.evaluate("document.getAnimations().length") == 0, name
        if ann.page.evaluate("document.documentElement.scrollWidth > document.documentElement.clientWidth"):
            wide[name] = ann.page.evaluate(WIDEST)
    assert wide == {}


WIDEST = """() => [...document.querySelectorAll("body *")].filter((one) => one.getBoundingClientRect().right > innerWidth + 1)
  .slice(0, 5).map((one) => one.outerHTML.slice(0, 120))"""


def test_paper_shows_figures_and_no_controls(visit, desk):
    ann = visit(desk, path=path_of(MAIN)).ready("account")
    ann.page.emulate_media(media="print")
    expect(ann.main).to_contain_text("GBPUSD")
    for control in ann.page.locator("main button").all():
        expect(control).to_be_hidden()
    assert ann.page.evaluate("getComputedStyle(document.body).backgroundColor") in ("rgb(255, 255, 255)", "rgba(0, 0, 0, 0)")
