"""This module runs ``ledger page`` as a process of its own, and makes links that sign people in."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final
from urllib.parse import quote

from attrs import define, field

from ledger.page.security.links import Link, Links, folder_of, running_url
from ledger.page_settings import PageSettings, Role
from ledger.values import AccountId
from tools.testkit.ports import free_port

ROOT: Final = Path(__file__).resolve().parents[2]
#: Who may use the page: a person of every role.
PEOPLE: Final[Mapping[str, Role]] = {
    "ann": Role.OPERATOR, "ben": Role.APPROVER, "cleo": Role.ADMIN, "dan": Role.ADMIN, "vic": Role.VIEWER,
}  # fmt: skip
GIVE_UP_SEC: Final = 60.0  # for what has to happen; nothing waits this long when all is well
_LOOK_SEC: Final = 0.01


@define(eq=False)
class PageProcess:
    """A page that runs over a journal. It can be killed and started again at the same address.

    Attributes:
        journal: URL of the journal.
        folder: Where its settings, links and log are.
        words: Options of ``ledger page``.
        port: Where it listens.
        settings: More lines of its file of settings.
        started_sec: How long its last start took, from the command to the address.
    """

    journal: str
    folder: Path
    words: tuple[str, ...] = ("--allow-writes",)
    port: int = field(factory=free_port)
    settings: str = ""
    started_sec: float = field(default=0.0, init=False)
    _process: subprocess.Popen[bytes] | None = field(default=None, init=False)

    @property
    def origin(self) -> str:
        """The address, as a browser writes it."""
        return f"http://desk.localhost:{self.port}"

    @property
    def pid(self) -> int:
        """Number of the process."""
        assert self._process is not None
        return self._process.pid

    @property
    def _links(self) -> Path:
        return folder_of(PageSettings(folder=self.folder / "links"), self.port)

    def start(self) -> PageProcess:
        """Start it, and wait until it listens."""
        assert self._process is None
        settings = self.folder / "ledger.toml"
        lines = [f"{name} = '{role.value}'" for name, role in PEOPLE.items()]
        page = ["[page]", "folder = 'links'", "[page.operators]", *lines, ""]
        settings.write_text("\n".join([f"journal = '{self.journal}'", self.settings, *page]), encoding="utf-8")
        (self._links / "running.json").unlink(missing_ok=True)
        command = [sys.executable, "-m", "ledger", "page", "--config", str(settings), "--port", str(self.port), *self.words]
        began = time.monotonic()
        with (self.folder / "page.log").open("ab") as log:
            self._process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        while running_url(self._links) is None:
            assert self._process.poll() is None, self.log()
            assert time.monotonic() - began < GIVE_UP_SEC, self.log()
            time.sleep(_LOOK_SEC)
        self.started_sec = time.monotonic() - began
        return self

    def log(self) -> str:
        """Return what it printed."""
        return (self.folder / "page.log").read_text(encoding="utf-8")

    def link(self, name: str, path: str = "/") -> str:
        """Return an address of the page that signs somebody in, once."""
        token = Links(self._links).make(Link(name, PEOPLE[name]), minutes=10)
        return f"{self.origin}{path}#token={token}"

    def kill(self) -> None:
        """Kill it: it can do nothing any more."""
        self._end(signal.SIGKILL if sys.platform != "win32" else signal.SIGTERM)

    def stop(self) -> int:
        """Ask it to end, as Ctrl-C does; return its exit code."""
        return self._end(signal.SIGINT if sys.platform != "win32" else signal.SIGTERM)

    def close(self) -> None:
        """End it, if it runs."""
        if self._process is not None:
            self.kill()

    def _end(self, how: int) -> int:
        assert self._process is not None
        self._process.send_signal(how)
        code = self._process.wait(GIVE_UP_SEC)
        self._process = None
        return code

    def rss_mb(self) -> float:
        """Return the memory that it has, in megabytes (Linux)."""
        lines = Path(f"/proc/{self.pid}/status").read_text(encoding="utf-8").splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1024

    def cpu_sec(self) -> float:
        """Return the processor time that it has used (Linux)."""
        fields = Path(f"/proc/{self.pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def path_of(account: AccountId, more: str = "") -> str:
    """Return the path of an account's view."""
    return f"/a/{quote(account.server, safe='')}/{account.login}{more}"
