"""``ledger page`` for tests: the real command in a process of its own, and requests written byte by byte."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Self

from attrs import field, frozen

from ledger.page.security.links import Link, Links
from ledger.page_settings import Role

ROOT: Final = Path(__file__).resolve().parents[2]
GIVE_UP_SEC: Final = 60.0  # for what has to happen; nothing waits this long when all is well
#: The command itself. Only how long it waits for slow clients is shorter.
_PROGRAM: Final = """
import sys
from ledger.page import serve
from ledger.page.security import limits
serve.HEAD_SEC = serve.UNREAD_SEC = limits.ARRIVAL_SEC = 0.3
from ledger.cli import main
main(sys.argv[1:])
"""
_TOKEN: Final = re.compile(r"#token=([A-Za-z0-9_-]{43})$", re.MULTILINE)
_AT: Final = re.compile(r"the page is at (?:the socket (\S+?)|https?://[^;]+); ")


@frozen
class Answer:
    """An answer, as it came from the wire."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes

    def header(self, name: str) -> str | None:
        """Return the value of a header that is there once, None where it is not."""
        found = [value for one, value in self.headers if one == name]
        assert len(found) <= 1, (name, found)
        return found[0] if found else None

    @property
    def json(self) -> Any:
        """The body as JSON."""
        assert self.header("content-type") == "application/json", self
        return json.loads(self.body)

    @property
    def code(self) -> Any:
        """Which refusal it is."""
        return self.json["error"]["code"]


@frozen
class Person:
    """Somebody who is signed in: what the browser has."""

    page: RunningPage
    cookie: str
    csrf: str
    said: Any = field(repr=False)

    def get(self, path: str, **more: str) -> Answer:
        """Read."""
        return self.page.request("GET", path, {"Cookie": self.cookie, **_names(more)})

    def post(self, path: str, content: Any, without: Sequence[str] = (), **more: str) -> Answer:
        """Write as the page's own script does, with other headers or without some."""
        headers = {"Cookie": self.cookie, "X-Ledger-Csrf": self.csrf, **self.page.script_headers(), **_names(more)}
        return self.page.request("POST", path, {name: one for name, one in headers.items() if name not in without}, content)


def _names(more: Mapping[str, str]) -> dict[str, str]:
    return {name.replace("_", "-"): value for name, value in more.items()}


class RunningPage:
    """A page that runs.

    Args:
        folder: Where its journal, its settings and its links are.
        words: Options of the command.
        tls: How to speak to it, where it speaks TLS.
        environment: What else is in its environment.
    """

    def __init__(
        self,
        folder: Path,
        *words: str,
        tls: ssl.SSLContext | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.folder = folder
        self.host = "desk.localhost"
        self._tls = tls
        self.errors: list[str] = []
        (folder / "run").mkdir(exist_ok=True)
        self.process = subprocess.Popen(
            [sys.executable, "-c", _PROGRAM, "page", *words],
            cwd=folder,
            env=self.environment() | dict(environment or {}),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.links: list[str] = []
        self._threads = [
            threading.Thread(target=self._read, args=(self.process.stdout, self.links), daemon=True),
            threading.Thread(target=self._read, args=(self.process.stderr, self.errors), daemon=True),
        ]
        for one in self._threads:
            one.start()
        found = self.until(self._where, "the page to start")
        self.socket = found[1]
        (links,) = (folder / "run" / "ledger-page").iterdir()
        self.port = int(links.name.removeprefix("port-")) if self.socket is None else 0

    def environment(self) -> dict[str, str]:
        """Return the environment of the command: a folder for links that is this test's own."""
        dropped = ("LEDGER_JOURNAL", "NO_COLOR", "JOURNAL_STREAM", "NOTIFY_SOCKET")
        inherited = {name: value for name, value in os.environ.items() if name not in dropped}
        return inherited | {
            "PYTHONPATH": str(ROOT),
            "PYTHONUTF8": "1",
            "LEDGER_JOURNAL": f"sqlite:///{self.folder / 'desk.db'}",
            "XDG_RUNTIME_DIR": str(self.folder / "run"),
            "LOCALAPPDATA": str(self.folder / "run"),
        }

    def _read(self, stream: Any, lines: list[str]) -> None:
        lines.extend(stream)

    def _where(self) -> re.Match[str] | None:
        assert self.process.poll() is None or self.errors, "it ended"
        text = "".join(self.errors)
        assert self.process.poll() is None, text
        return _AT.search(text)

    def until(self, holds: Callable[[], Any], what: str) -> Any:
        """Look again and again until something holds, and return it."""
        give_up = time.monotonic() + GIVE_UP_SEC
        while not (found := holds()):
            assert time.monotonic() < give_up, f"waited for {what}; it printed {self.errors[-20:]}"
            time.sleep(0.01)
        return found

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Stop it as a person or systemd does, and return its exit code."""
        self.process.send_signal(number)
        code = self.process.wait(GIVE_UP_SEC)
        for one in self._threads:
            one.join(GIVE_UP_SEC)
        return code

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.stop()
        for stream in (self.process.stdout, self.process.stderr):
            if stream is not None:
                stream.close()

    # ---- requests

    @property
    def own_name(self) -> str:
        """What a browser calls it by."""
        return f"{self.host}:{self.port}" if self.socket is None else self.host

    @property
    def origin(self) -> str:
        """What a browser calls its origin."""
        return f"{'https' if self._tls else 'http'}://{self.own_name}"

    def script_headers(self) -> dict[str, str]:
        """Return what a browser sends with a request of the page's own script."""
        return {"Content-Type": "application/json", "Sec-Fetch-Site": "same-origin", "Origin": self.origin}

    @contextmanager
    def connected(self) -> Iterator[socket.socket]:
        """Connect to it."""
        family, address = (socket.AF_INET, ("127.0.0.1", self.port)) if self.socket is None else (socket.AF_UNIX, self.socket)
        with socket.socket(family, socket.SOCK_STREAM) as wire:
            wire.settimeout(GIVE_UP_SEC)
            wire.connect(address)
            if self._tls is None:
                yield wire
                return
            with self._tls.wrap_socket(wire, server_hostname=self.host) as encrypted:
                yield encrypted

    def raw(self, request: bytes) -> list[Answer]:
        """Send bytes, and return all answers until it hangs up."""
        with self.connected() as wire:
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # it hung up before it read all
                wire.sendall(request)
            return list(answers(wire))

    def request(
        self, method: str, path: str, headers: Mapping[str, str] | None = None, content: Any = None, *, host: str | None = None
    ) -> Answer:
        """Send a request, and return its answer."""
        body = content if isinstance(content, bytes) else b"" if content is None else json.dumps(content).encode()
        sent = {"Host": host or self.own_name, "Connection": "close", **(headers or {})}
        if content is not None:
            sent.setdefault("Content-Length", str(len(body)))
        head = "".join(f"{name}: {value}\r\n" for name, value in sent.items())
        (found,) = self.raw(f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode() + body)
        return found

    def tokens(self, number: int = 1) -> list[str]:
        """Return the tokens of so many links that it printed."""
        found: list[str] = self.until(lambda: len(made := _TOKEN.findall("".join(self.links))) >= number and made, "links")
        return found

    def token(self, name: str, role: Role = Role.VIEWER) -> str:
        """Make a link as ``ledger page link`` does, without its half second, and return its token."""
        (folder,) = (self.folder / "run" / "ledger-page").iterdir()
        return Links(folder).make(Link(name, role), 10)

    def command(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run another command beside it."""
        return subprocess.run(
            [sys.executable, "-m", "ledger", *words],
            cwd=self.folder,
            env=self.environment(),
            capture_output=True,
            text=True,
            check=False,
        )

    def sign_in(self, token: str, **more: str) -> Answer:
        """Sign in as the page's own script does."""
        return self.request("POST", "/api/sign-in", {**self.script_headers(), **_names(more)}, {"token": token})

    def person(self, token: str) -> Person:
        """Return who is signed in by a token."""
        found = self.sign_in(token)
        assert found.status == 200, found
        cookie = (found.header("set-cookie") or "").partition(";")[0]
        return Person(self, cookie, found.json["csrf"], found.json)


def answers(wire: socket.socket) -> Iterator[Answer]:
    """Yield the answers that arrive until the other side hangs up."""
    data = b""
    with contextlib.suppress(ConnectionResetError):
        while block := wire.recv(65_536):
            data += block
    while data:
        head, _, data = data.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        headers = tuple((name.lower(), value.strip()) for name, _, value in (line.partition(":") for line in lines))
        found = dict(headers)
        if found.get("transfer-encoding") == "chunked":
            body, data = _chunks(data)
        else:
            length = int(found.get("content-length", len(data)))
            body, data = data[:length], data[length:]
        yield Answer(int(first.split()[1]), headers, body)


def _chunks(data: bytes) -> tuple[bytes, bytes]:
    body = b""
    while data:
        size, _, data = data.partition(b"\r\n")
        length = int(size or b"0", 16)
        if not length:
            return body, data[2:]
        body, data = body + data[:length], data[length + 2 :]
    return body, data


def make_desk(folder: Path, settings: str = "") -> Path:
    """Make a journal with an account, and settings beside it."""
    from ledger import Ledger

    with Ledger.open(f"sqlite:///{folder / 'desk.db'}", create=True) as ledger:
        ledger.account("Broker-Live/70113").open(currency="USD", mode="hedging")
    (folder / "ledger.toml").write_text(settings, encoding="utf-8")
    return folder
