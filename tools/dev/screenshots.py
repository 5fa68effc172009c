#!/usr/bin/env python3
"""This script takes the manual's pictures of the operator's page, with the small journal that its tests look at.

    python3 tools/dev/screenshots.py                   # into docs/images
    python3 tools/dev/screenshots.py --folder /tmp/x   # elsewhere, to look at

Every view in light, some in dark and on a phone. They change with the page only: run it after a change that shows.
"""

import argparse
import socket
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # Python looks in the folder of a script, not in the project

from tools.dev import bootstrap

_DESK = {"viewport": {"width": 1280, "height": 860}}
_DARK = {**_DESK, "color_scheme": "dark"}
_PHONE = {"viewport": {"width": 390, "height": 844}, "device_scale_factor": 2, "is_mobile": True, "has_touch": True}

#: Pictures are the same wherever they are taken: names of this machine become others.
_RENAME = """(names) => {
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (texts.nextNode()) for (const [name, other] of names) {
    const parts = texts.currentNode.data.split(new RegExp(`\\b${name}\\b|${name}(?=/)`));
    if (parts.length > 1) texts.currentNode.data = parts.join(other);
  }
}"""


def main() -> int:
    """Take them all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=bootstrap.ROOT / "docs" / "images", help="where they are written")
    folder = parser.parse_args().folder
    bootstrap.enter(bootstrap.DEV_LOCK)
    from tools.testkit.browser import launched
    from tools.testkit.page_desk import make_desk
    from tools.testkit.page_process import PageProcess

    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="ledger-screenshots-") as name, launched() as browser:
        url = f"sqlite:///{Path(name) / 'desk.db'}"
        make_desk(url)
        process = PageProcess(url, Path(name))
        try:
            process.start()
            version = _propose(url)
            for picture, options, path in _pictures(version):
                with closing(browser.new_context(base_url=process.origin, **options)) as context:
                    page = context.new_page()
                    page.goto(process.link("ben", path))
                    _drawn(page)
                    page.evaluate(_RENAME, [[name, "/srv/ledger"], [socket.gethostname(), "desk1"]])
                    page.screenshot(path=folder / f"page-{picture}.png", animations="disabled")
                    print(folder / f"page-{picture}.png", flush=True)
        finally:
            process.close()
    return 0


def _pictures(version: int) -> Iterator[tuple[str, dict[str, Any], str]]:
    """Yield each picture's name, what it is looked at with, and the path; the version is that of a break."""
    from tools.testkit.page_desk import MAIN
    from tools.testkit.page_process import path_of

    yield "overview", _DESK, "/"
    yield "overview-dark", _DARK, "/"
    yield "overview-phone", _PHONE, "/"
    yield "account", _DESK, path_of(MAIN)
    yield "account-past", _DESK, path_of(MAIN, _moment())
    yield "account-dark", _DARK, path_of(MAIN)
    yield "account-phone", _PHONE, path_of(MAIN)
    yield "breaks", _DESK, path_of(MAIN, f"/breaks/{version}")
    yield "breaks-dark", _DARK, path_of(MAIN, f"/breaks/{version}")
    yield "log", _DESK, path_of(MAIN, "/log")
    yield "log-dark", _DARK, path_of(MAIN, "/log")
    yield "health", _DESK, "/health"
    yield "health-dark", _DARK, "/health"


def _moment() -> str:
    """Return the parameters of a moment an hour and a half ago."""
    from datetime import UTC, datetime, timedelta

    then = (datetime.now(UTC) - timedelta(minutes=90)).strftime("%Y-%m-%dT%H:%M:%SZ")
    return f"?until={then}&known_at={then}"


def _propose(url: str) -> int:
    """Ask for two persons, and let one propose that the ghost is closed; return the version of its break."""
    from ledger import Ledger
    from ledger.proposals import CorrectionRequest, propose, set_policy
    from tools.testkit.page_desk import MAIN

    with closing(Ledger.open(url)) as ledger:
        account = ledger.account(MAIN)
        (ghost,) = [one for one in account.portfolio.breaks if one.kind.value == "ghost"]
        set_policy(account, approvals=2, operator="cleo", reason="the desk's rule")
        request = CorrectionRequest({"what": "close", "position_id": ghost.position_id})
        propose(account, request, operator="ann", reason="closed by phone", break_version=ghost.version)
        account.derived.catch_up()
        return int(ghost.version)


def _drawn(page: Any) -> None:
    page.wait_for_selector('main[data-ready="true"]', state="attached")


if __name__ == "__main__":
    sys.exit(main())
