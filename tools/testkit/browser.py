"""This module finds a Chromium for tests of the page and fetches Debian's where it may; and it watches what a page does there.

It is looked for in ``LEDGER_TEST_CHROMIUM=/path/to/chromium``, then as ``chromium-headless-shell``, which starts and draws
several times as fast as the whole browser, on the PATH and in ``.tools`` in the project folder; then wherever Chromium and
Chrome usually are. Where there is none, and in CI in any case, Debian's headless shell is unpacked into ``.tools``: nothing is
installed, and no root is needed. What a fetched one lacks on the system is installed in CI alone, and there as root.

    python3 -m tools.testkit.browser    # prints which one it is, fetched first if it can be
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from attrs import define, field

from tools.testkit import debian

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Request

CHROMIUM_VARIABLE: Final = "LEDGER_TEST_CHROMIUM"
UNPACKED: Final = Path(__file__).resolve().parents[2] / ".tools" / "chromium"

_SHELL: Final = "chromium-headless-shell"
_PACKAGES: Final = (_SHELL, "chromium-common")
_UNPACKED_SHELL: Final = Path("usr") / "lib" / "chromium" / _SHELL
_ON_THE_PATH: Final = (_SHELL, "chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_USUAL: Final = (
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
    "/Applications/Chromium.app/Contents/MacOS/Chromium",
    r"C:\Program Files\Google\Chrome\Application\chrome.exe",
    r"C:\Program Files (x86)\Google\Chrome\Application\chrome.exe",
)
#: Nothing that a browser does by itself: no sound of its own on the network, no first steps, no drawing by a graphics card.
_FLAGS: Final = (
    "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update",
    "--disable-sync",
)  # fmt: skip


class ChromiumMissingError(Exception):
    """There is no Chromium, and it could not be fetched; the message states how to install it."""


def in_ci() -> bool:
    """Return whether this is CI, where nothing is left out."""
    return os.environ.get("CI", "").lower() in ("1", "true")


def chromium() -> Path:
    """Return a Chromium that starts, fetched first if that is possible.

    Raises:
        ChromiumMissingError: It is not there, and cannot be fetched.
    """
    chosen = os.environ.get(CHROMIUM_VARIABLE)
    if chosen:
        if _starts(Path(chosen)):
            return Path(chosen)
        raise ChromiumMissingError(_missing(f"{CHROMIUM_VARIABLE}={chosen} names none that starts"))
    tried: list[str] = []
    for way in _ways():
        found = way(tried)
        if found is not None:
            return found
    raise ChromiumMissingError(_missing(" and ".join(dict.fromkeys(tried)) or "it is in none of the usual places"))


def _ways() -> Iterator[Callable[[list[str]], Path | None]]:
    """Yield what is tried, in this order."""
    yield _unpacked
    if not in_ci():
        yield _on_the_system
    yield _fetched
    if in_ci():
        yield _installed
        yield _on_the_system


def _unpacked(_: list[str]) -> Path | None:
    found = shutil.which(_SHELL)
    for one in (Path(found) if found else None, UNPACKED / _UNPACKED_SHELL):
        if one is not None and _starts(one):
            return one
    return None


def _on_the_system(_: list[str]) -> Path | None:
    named = (shutil.which(name) for name in _ON_THE_PATH)
    return next((Path(name) for name in (*named, *_USUAL) if name and _starts(Path(name))), None)


def _fetched(tried: list[str]) -> Path | None:
    if not debian.has_apt():
        tried.append("apt is not on this system")
        return None
    try:
        debian.unpack(_PACKAGES, UNPACKED, ("usr/lib/chromium/**/*",))
    except (OSError, subprocess.CalledProcessError) as error:
        tried.append(debian.cannot(error))
        return None
    found = UNPACKED / _UNPACKED_SHELL
    if _starts(found):
        return found
    tried.append(f"{found} does not start: this system lacks libraries of it")
    return None


def _installed(tried: list[str]) -> Path | None:
    """Install Debian's package, where this is CI and its user may."""
    if sys.platform == "win32" or os.geteuid() != 0 or not debian.has_apt():
        tried.append("it may not be installed here")
        return None
    wait = ["-o", "DPkg::Lock::Timeout=600"]
    try:
        debian.apt([*wait, "update"], Path.cwd())
        debian.apt([*wait, "install", "--yes", "--no-install-recommends", _SHELL, "fonts-dejavu-core"], Path.cwd())
    except (OSError, subprocess.CalledProcessError) as error:
        tried.append(debian.cannot(error))
        return None
    return _unpacked(tried)


def _starts(program: Path) -> bool:
    if not program.exists():
        return False
    if sys.platform == "win32":  # there it opens a window and prints nothing
        return True
    try:
        run = subprocess.run([program, "--version", "--no-sandbox"], capture_output=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return run.returncode == 0


def _missing(why: str) -> str:
    return (
        f"no Chromium was found: {why}. Install Chromium or Chrome (on Debian: apt install chromium), or name its program in "
        f"{CHROMIUM_VARIABLE}."
    )


# ----------------------------------------------------------------------------------------------------------- the browser


@contextmanager
def launched() -> Iterator[Browser]:
    """Run a Chromium without a window, with an empty profile.

    While it runs, this thread has an event loop that is Playwright's: nothing else may run one in it.
    """
    from playwright.sync_api import sync_playwright

    program = chromium()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=list(_FLAGS))
        try:
            yield browser
        finally:
            browser.close()


@define(eq=False, slots=False)  # Playwright notes on it whom it calls
class Watch:
    """What pages of a context do that they must not: errors on the console, in scripts, and requests to anything but the page.

    Attributes:
        origin: Of the page, such as ``http://desk.localhost:8077``.
        problems: What was found, in words.
    """

    origin: str
    problems: list[str] = field(factory=list)
    _expected: list[re.Pattern[str]] = field(factory=list)

    def over(self, context: BrowserContext) -> Watch:
        """Watch all pages of a context from now on."""
        context.on("console", self._console)
        context.on("weberror", lambda error: self._note(f"error in a script: {error.error}"))
        context.on("request", self._request)
        return self

    def expect(self, pattern: str) -> None:
        """Allow problems whose words match: a test that stops the server expects that requests fail."""
        self._expected.append(re.compile(pattern))

    def found(self) -> list[str]:
        """Return what nobody expected."""
        return [one for one in self.problems if not any(each.search(one) for each in self._expected)]

    def _note(self, problem: str) -> None:
        self.problems.append(problem)

    def _console(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self._note(f"console {message.type}: {message.text} ({message.location['url']})")

    def _request(self, request: Request) -> None:
        parts = urlsplit(request.url)
        if parts.scheme not in ("data", "blob") and f"{parts.scheme}://{parts.netloc}" != self.origin:
            self._note(f"request to {request.url}")


if __name__ == "__main__":
    print(chromium())
