"""Signing in, and what another site of the same machine can do to somebody who is signed in, in a real browser."""

from __future__ import annotations

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from tools.testkit.page_process import PageProcess

#: What a script of another site tries, one after the other; each returns what it got to see.
ATTACK = """
async (page) => {
  const tries = {
    read: () => fetch(page + "/api/overview", {credentials: "include"}),
    read_blindly: () => fetch(page + "/api/overview", {credentials: "include", mode: "no-cors"}),
    write_text: () => fetch(page + "/api/alerts/test", {method: "POST", credentials: "include", mode: "no-cors", body: "{}",
      headers: {"Content-Type": "text/plain"}}),
    write_json: () => fetch(page + "/api/alerts/test", {method: "POST", credentials: "include", body: "{}",
      headers: {"Content-Type": "application/json", "X-Ledger-Csrf": "x"}}),
    send_beacon: async () => ({type: String(navigator.sendBeacon(page + "/api/alerts/test", "{}"))}),
    stream: () => new Promise((resolve) => {
      const source = new EventSource(page + "/api/stream", {withCredentials: true});
      source.onmessage = source.onopen = () => resolve({type: "open"});
      source.onerror = () => resolve({type: "refused"});
    }),
  };
  const found = {};
  for (const [name, one] of Object.entries(tries)) found[name] = await one().then((answer) => answer.type, () => "refused");
  return found;
}
"""
FORM = """
<form method="post" enctype="text/plain" action="{page}/api/alerts/test">
<input name='{{"a":"' value='"}}'><button>x</button></form>
<iframe src="{page}/"></iframe>
"""


class Elsewhere:
    """Another program of this machine that serves a site, and notes the cookies that it is sent."""

    def __init__(self, page: str) -> None:
        cookies: list[str] = []
        body = FORM.format(page=page).encode()

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                cookies.append(self.headers.get("Cookie", ""))
                self.send_response(200)
                self.send_header("Content-Type", "text/html")
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self.cookies = cookies
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self._server.server_port
        Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def elsewhere(desk: PageProcess) -> Iterator[Elsewhere]:
    found = Elsewhere(desk.origin)
    yield found
    found.close()


@pytest.fixture
def victim(browser: Browser, desk: PageProcess) -> Iterator[BrowserContext]:
    """The browser of somebody who is signed in."""
    context = browser.new_context()
    page = context.new_page()
    page.goto(desk.link("ben"))
    expect(page.locator("main")).to_have_attribute("data-ready", "true")
    yield context
    context.close()


def refused(desk: PageProcess) -> list[tuple[str, str, str | None]]:
    """Return what the page refused, by path, refusal and person."""
    rows = [json.loads(line) for line in desk.log().splitlines() if line.startswith("{")]
    return [(one["path"], one["code"], one["who"]) for one in rows if one["what"] == "refused"]


def is_signed_in(context: BrowserContext, desk: PageProcess) -> bool:
    page = context.new_page()
    page.goto(desk.origin)
    expect(page.locator("main")).to_have_attribute("data-ready", "true")
    return page.locator("main").get_attribute("data-view") == "overview"


def attacked(page: Page, desk: PageProcess) -> dict[str, str]:
    """Run a script of another site, and then send its form."""
    found: dict[str, str] = page.evaluate(ATTACK, desk.origin)
    assert all(frame.url != f"{desk.origin}/" for frame in page.frames)
    page.locator("button").click()
    assert json.loads(page.locator("body").inner_text())["error"]["code"] == "NotJson"
    return found


@pytest.mark.parametrize(("name", "is_sent"), [("127.0.0.1", False), ("localhost", False), ("desk.localhost", True)])
def test_another_site_of_this_machine_reads_and_writes_nothing(name, is_sent, elsewhere, victim, desk):
    before = len(refused(desk))
    page = victim.new_page()
    page.goto(f"http://{name}:{elsewhere.port}/")
    cookies = list(elsewhere.cookies)
    assert any("__Host-ledger=" in one for one in cookies) is is_sent  # of this name, every port gets it: hence the rest
    found = attacked(page, desk)
    assert found == {
        "read": "refused",
        "read_blindly": "refused",  # by Cross-Origin-Resource-Policy
        "write_text": "refused",
        "write_json": "refused",
        "send_beacon": "true",  # it is sent, and nobody sees an answer
        "stream": "refused",
    }
    rows = refused(desk)[before:]
    assert {code for _, code, _ in rows} <= {"NotJson", "OtherOrigin", "SignInNeeded", "MethodUnknown"}
    assert {path for path, _, _ in rows} == {"/api/overview", "/api/alerts/test", "/api/stream"}
    assert {who for _, code, who in rows if code != "MethodUnknown"} == ({"ben"} if is_sent else {None})
    assert is_signed_in(victim, desk)


def test_the_token_stays_in_no_address_and_signs_in_once(browser, desk):
    link = desk.link("vic", "/breaks")
    first, second = browser.new_context(), browser.new_context()
    page = first.new_page()
    page.goto(link)
    expect(page.locator("main")).to_have_attribute("data-view", "breaks")
    assert page.url == f"{desk.origin}/breaks"
    assert first.cookies()[0]["name"] == "__Host-ledger"
    assert is_signed_in(first, desk)
    other = second.new_page()
    other.goto(link)
    expect(other.locator("main")).to_have_attribute("data-view", "sign-in")
    assert second.cookies() == []
    first.close()
    second.close()


def test_whose_cookie_others_may_get_is_warned_and_can_close_it(browser, desk):
    context = browser.new_context()
    page = context.new_page()
    page.goto(desk.link("vic").replace("desk.localhost", "127.0.0.1"))
    expect(page.locator("main")).to_have_attribute("data-view", "overview")
    banner = page.locator("[data-banner=sign-in]")
    expect(banner).to_contain_text("sends the cookie of 127.0.0.1 to every program")
    banner.get_by_role("button", name="Close").click()
    expect(banner).to_have_count(0)
    page.goto(desk.link("vic"))
    expect(page.locator("main")).to_have_attribute("data-ready", "true")
    expect(banner).to_have_count(0)
    context.close()
