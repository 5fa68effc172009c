"""The stream of changes: what others record is there at once, and nothing is lost by who comes back."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from http.client import HTTPConnection

import pytest

from ledger import AccountId, Ledger
from ledger.page.changes import STREAMS_MAX
from ledger.page.source import Source
from tests.support.journals import new_url
from tests.support.page_server import PATIENCE_SEC, PageServer
from tools.testkit.stories import fill

FIRST, SECOND = AccountId("Broker-Live", 1), AccountId("Prop-2", 2)


class Stream:
    """An open stream, read event by event."""

    def __init__(self, page: PageServer, last: str | None = None) -> None:
        self.connection: HTTPConnection = page.connect()
        self.connection.request("GET", "/api/stream", headers={"Last-Event-ID": last} if last else {})
        self.answer = self.connection.getresponse()

    def next(self, *names: str):
        """Return the next event of some names: its id, name and data; None at the end."""
        event: dict[str, str] = {}
        while line := self.answer.readline():
            name, _, value = line.decode().rstrip("\n").partition(": ")
            if name:
                event[name] = value
            elif event.get("event") in names:
                return event["id"], event["event"], json.loads(event["data"])
            else:
                event = {}
        return None

    def close(self) -> None:
        self.connection.close()


@pytest.fixture(params=["sqlite", "postgres"])
def url(request, tmp_path):
    url = new_url(request.param, tmp_path)
    with Ledger.open(url) as ledger:
        for name in (FIRST, SECOND):
            ledger.account(name).open(currency="USD", mode="hedging")
    return url


@pytest.fixture
def page(url):
    with PageServer(Source.open(url)) as page:
        page.desk.changes.beat_sec = 0.5
        yield page


def record(url, name, *deals):
    with Ledger.open(url) as ledger:
        for deal in deals:
            ledger.account(name).record(fill(deal))
        return ledger.account(name).version


def test_an_append_of_another_process_names_the_account_and_its_version(page, url):
    stream = Stream(page)
    assert stream.answer.headers["Content-Type"].startswith("text/event-stream")
    assert stream.next("hello")[2] == {"resumed": False}
    program = (
        "import sys; from ledger import Ledger; from tools.testkit.stories import fill\n"
        "Ledger.open(sys.argv[1]).account('Prop-2', 2).record(fill(1))"
    )
    subprocess.run([sys.executable, "-c", program, url], check=True)
    assert stream.next("changed")[2] == {"server": "Prop-2", "login": 2, "version": 2}
    stream.close()


def test_who_comes_back_gets_what_changed_meanwhile_once_for_each_account(page, url):
    stream = Stream(page)
    stream.next("hello")
    record(url, FIRST, 1)
    last, _, data = stream.next("changed")
    assert data["version"] == 2
    stream.close()
    other = Stream(page)
    other.next("hello")
    assert record(url, FIRST, 2, 3, 4) == 5
    record(url, SECOND, 1)
    while other.next("changed")[2]["server"] != SECOND.server:
        pass
    again = Stream(page, last)
    assert again.next("hello")[2] == {"resumed": True}
    found = [again.next("changed")[2] for _ in range(2)]
    assert sorted((one["server"], one["version"]) for one in found) == [("Broker-Live", 5), ("Prop-2", 2)]
    newest, _, _ = again.next("beat")
    again.close()
    up_to_date = Stream(page, newest)
    assert up_to_date.next("hello", "changed")[1] == "hello"
    assert up_to_date.next("changed", "beat")[1] == "beat"
    for unknown in ("another-run-7", "x", f"{newest}9", "0-0"):
        stranger = Stream(page, unknown)
        assert stranger.next("hello")[2]["resumed"] == (unknown == f"{newest}9")
        stranger.close()
    for one in (other, up_to_date):
        one.close()


def test_open_streams_end_with_the_page(page):
    streams = [Stream(page) for _ in range(3)]
    for one in streams:
        one.next("hello")
    page.stop()
    assert [one.next("changed") for one in streams] == [None, None, None]
    for one in streams:
        one.close()


def test_more_streams_than_are_served_are_refused(page):
    streams = [Stream(page) for _ in range(STREAMS_MAX)]
    for one in streams:
        one.next("hello")
    refused = Stream(page)
    assert (refused.answer.status, refused.answer.headers["Retry-After"]) == (429, "1")
    for one in (*streams, refused):
        one.close()


def test_a_reader_that_does_not_read_costs_one_entry_for_each_account(page, url):
    with socket.create_connection(("127.0.0.1", page.port), PATIENCE_SEC) as silent:
        silent.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
        silent.sendall(b"GET /api/stream HTTP/1.1\r\nHost: x\r\n\r\n")
        watcher = Stream(page)
        watcher.next("hello")
        last = record(url, FIRST, *range(1, 60))
        while watcher.next("changed")[2]["version"] != last:
            pass
        watcher.close()
        assert len(page.desk.changes._known) == 2
