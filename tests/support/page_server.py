"""This module is a page on a real socket, for tests that are no browser: who asks is named in a header of the test's own."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Mapping
from http.client import HTTPConnection
from typing import Any, Final, Self
from urllib.parse import quote, urlencode

import uvicorn
from attrs import frozen

from ledger.page.app import create
from ledger.page.principals import Principal, Role
from ledger.page.source import Source
from ledger.page_settings import PageSettings

PATIENCE_SEC: Final = 30


@frozen
class Answer:
    """An answer: status, headers in small letters, body."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        """Return the body as JSON."""
        return json.loads(self.body)


class PageServer:
    """A page that is served, without what checks who asks: that is tested beside it.

    Args:
        source: What it shows. It is closed with the server.
        allow_writes: Whether people may write.
    """

    def __init__(self, source: Source, *, allow_writes: bool = False) -> None:
        self.source = source
        self.app = create(source, PageSettings(allow_writes=allow_writes))
        self.desk = self.app.state.desk
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        self._server = uvicorn.Server(uvicorn.Config(self._named, log_level="error", lifespan="on", interface="asgi3"))
        self._server.install_signal_handlers = lambda: None  # type: ignore[attr-defined]
        self._thread = threading.Thread(target=self._server.run, kwargs={"sockets": [self._socket]})

    async def _named(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            headers = dict(scope["headers"])
            name, _, role = headers.get(b"x-test-who", b"ann admin").decode().partition(" ")
            scope.setdefault("state", {}).update(principal=Principal(name, Role(role), "link"), csrf="token")
        await self.app(scope, receive, send)

    def __enter__(self) -> Self:
        self._thread.start()
        while not self._server.started:
            self._thread.join(0.01)
            assert self._thread.is_alive(), "the server ended before it began"
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        self.source.close()

    def stop(self) -> None:
        """Stop as ``ledger page`` does: end the streams, then the server."""
        self.app.state.close()
        self._server.should_exit = True
        self._thread.join()

    def connect(self) -> HTTPConnection:
        """Return a connection of its own."""
        return HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_SEC)

    def ask(
        self, path: str, *, who: str = "ann admin", method: str = "GET", body: Any = None, accept: str = "*/*", **query: Any
    ) -> Answer:
        """Ask once."""
        words = {"from_": "from"}
        given = {words.get(name, name): value for name, value in query.items() if value is not None}
        connection = self.connect()
        try:
            target = f"{path}?{urlencode(given, doseq=True)}" if given else path
            headers = {"X-Test-Who": who, "Accept": accept} | ({"Content-Type": "application/json"} if method == "POST" else {})
            raw = body if isinstance(body, bytes) else json.dumps({} if body is None else body).encode()
            connection.request(method, target, raw if method == "POST" else None, headers)
            answer = connection.getresponse()
            return Answer(answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read())
        finally:
            connection.close()

    def get(self, path: str, **query: Any) -> Any:
        """Return the JSON of an answer that is what was asked for; waits for jobs."""
        answer = self.ask(path, **query)
        while answer.status == 202:
            self.wait(answer.json()["job"])
            answer = self.ask(path, **query)
        assert answer.status == 200, answer
        return answer.json()

    def post(self, path: str, body: Any = None, *, who: str = "ann admin") -> Answer:
        """Send something."""
        return self.ask(path, who=who, method="POST", body=body)

    def wait(self, job: str) -> Any:
        """Wait until a job is done."""
        while (answer := self.ask(f"/api/jobs/{job}")).status == 202:
            pass
        return answer.json()


def account_path(name: Any, *rest: Any) -> str:
    """Return the path of an account, or of something of it."""
    parts = (name.server, name.login, *rest)
    return "/api/accounts/" + "/".join(quote(str(one), safe="") for one in parts)
