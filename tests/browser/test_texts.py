"""Texts of brokers are texts: markup does not run, marks that turn letters around are visible, evidence is a download."""

from __future__ import annotations

import hashlib
import json
import re
from contextlib import closing

from playwright.sync_api import expect

from ledger import Ledger
from tests.support.commands import run
from tools.testkit.page_desk import HOSTILE, MAIN
from tools.testkit.page_process import path_of


def version_of(url, found):
    with closing(Ledger.open(url)) as ledger:
        return next(one.version for one in ledger.account(MAIN).events() if found(one))


def test_markup_in_a_comment_and_a_symbol_is_shown_as_it_is(visit, desk):
    ann = visit(desk, path=path_of(MAIN)).ready("account")
    expect(ann.part("state")).to_contain_text(r"EUR<b>USD\u202e")
    version = version_of(desk.journal, lambda one: getattr(one.event, "comment", None) == HOSTILE)
    ann.go(path_of(MAIN, f"/log#v{version}")).ready("log")
    event = ann.page.locator(f'[data-event="{version}"]')
    expect(event).to_contain_text("<img src=x onerror=alert(1)>")
    expect(event).to_contain_text(r"\u202eevil\u2066")
    for path in (path_of(MAIN), path_of(MAIN, "/log"), "/breaks"):
        ann.go(path)
        assert ann.page.locator("main img, main bdi *").count() == 0  # nothing of a broker's became an element
        assert not re.search("[\u202a-\u202e\u2066-\u2069]", ann.main.inner_text())


def test_evidence_is_a_download_of_the_very_bytes(visit, desk):
    ann = visit(desk, path="/breaks?kind=ghost").ready("breaks")
    ann.page.locator("main tbody a[data-row]").click()
    ann.ready("breaks")
    with ann.page.expect_download() as waiting:
        ann.page.get_by_role("link", name="Raw answer").click()
    raw = waiting.value.path().read_bytes()
    assert json.loads(raw)
    version = re.search(r"/events/(\d+)/evidence", waiting.value.url)
    assert version
    (event,) = [one for one in log_of(desk.journal) if one["version"] == int(version[1])]
    assert hashlib.sha256(raw).hexdigest() == event["evidence"]
    assert ann.page.url.startswith(desk.origin)  # the tab shows the page, and not what a broker wrote


def log_of(url):
    return [json.loads(line) for line in run("log", "--account", str(MAIN), "--json", journal=url).out.splitlines()]


def test_an_export_case_is_one_zip(visit, desk):
    ann = visit(desk, path="/breaks?kind=drift").ready("breaks")
    ann.page.locator("main tbody a[data-row]").click()
    ann.ready("breaks")
    with ann.page.expect_download() as waiting:
        ann.page.get_by_role("link", name="Export case").click()
    assert waiting.value.path().read_bytes().startswith(b"PK")


def test_in_tokyo_the_page_shows_utc(visit, desk):
    there = visit(desk, path=path_of(MAIN), timezone_id="Asia/Tokyo", locale="ja-JP").ready("account")
    here = visit(desk, "ben", path_of(MAIN), timezone_id="UTC").ready("account")
    texts = "[...document.querySelectorAll('[data-part=state] time')].map((one) => one.textContent)"
    assert there.page.evaluate(texts) == here.page.evaluate(texts)
    opened = there.page.locator('[data-part="state"] time').first
    written = opened.get_attribute("datetime")
    assert (written or "")[11:19] in opened.inner_text()
    there.page.keyboard.press("u")  # the trade server's clock: two hours ahead in winter, wherever the browser is
    expect(there.page.locator("#clock")).to_contain_text("server clock")
    expect(opened).not_to_contain_text((written or "")[11:19])
    here.page.keyboard.press("u")
    expect(here.page.locator("#clock")).to_contain_text("server clock")
    expect(here.page.locator("[data-part=state] time")).to_have_text(there.page.evaluate(texts))
