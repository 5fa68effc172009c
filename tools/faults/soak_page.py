#!/usr/bin/env python3
"""This script soaks the operator's page: an hour of a desk, and neither the server nor a browser that looks at it grows.

    python3 tools/faults/soak_page.py                # an hour, shortened to some minutes
    python3 tools/faults/soak_page.py --hours 8

A round is five seconds of that hour: an engine opens and closes a position, the page shows it, somebody moves the slider, and
the browser's clock goes on by five seconds. Every half minute another tab comes and goes, every minute the page is loaded anew.
The exit code is 1 if the memory of the browser's scripts, the elements of its documents, or the server's memory, files and
threads are more at the end than they were after the first third of the rounds, beyond what they vary by.
"""

import argparse
import statistics
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # Python looks in the folder of a script, not in the project

from tools.dev import bootstrap

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

    from ledger import Account
    from tools.testkit.page_process import PageProcess

ROUND_SEC: Final = 5
_TAB_EVERY, _LOAD_EVERY = 6, 12
#: A slider that goes on by the golden section comes everywhere.
_SLIDE: Final = """(share) => {
  const slider = document.querySelector('input[data-axis="until"]');
  slider.value = String(Math.trunc(Number(slider.max) * share));
  slider.dispatchEvent(new Event("input", { bubbles: true }));
}"""


class Sample(NamedTuple):
    """What is held after a round: by the page in the browser, and by the server."""

    heap_kb: float
    nodes: int
    listeners: int
    server_kb: float
    files: int
    threads: int


#: So much more at the end is no growth.
ALLOWED: Final = Sample(heap_kb=1500, nodes=1500, listeners=150, server_kb=8000, files=6, threads=4)


def soak(browser: "Browser", process: "PageProcess", rounds: int) -> Iterator[Sample]:
    """Yield what is held after each round; the process has a page of the small journal."""
    from ledger import Ledger
    from tools.testkit.page_desk import MAIN
    from tools.testkit.page_process import path_of

    with ExitStack() as stack:
        context = stack.enter_context(closing(browser.new_context(base_url=process.origin)))
        context.set_default_timeout(60_000)
        page = context.new_page()
        page.clock.install()
        page.goto(process.link("ann", path_of(MAIN)))
        _drawn(page)
        devtools = context.new_cdp_session(page)
        account = stack.enter_context(closing(Ledger.open(process.journal))).account(MAIN)
        for number in range(1, rounds + 1):
            page.evaluate(_SLIDE, (number * 0.618) % 1)
            page.wait_for_selector('[data-moment="past"]')
            page.keyboard.press("n")
            _trade(account, number)
            page.wait_for_selector(f'[data-version="{account.version}"]', state="attached")
            page.clock.fast_forward(ROUND_SEC * 1000)
            if number % _TAB_EVERY == 0:
                with closing(context.new_page()) as tab:
                    tab.goto(path_of(MAIN))
                    _drawn(tab)
            if number % _LOAD_EVERY == 0:
                page.reload()
                _drawn(page)
            yield _sample(devtools, process)


def growth(samples: Sequence[Sample]) -> list[str]:
    """Name what grew from the second third to the last one, by medians: what only goes up and down did not."""
    third = len(samples) // 3
    middle, last = samples[third : 2 * third], samples[2 * third :]
    found = []
    for name, allowed in ALLOWED._asdict().items():
        before, after = (statistics.median(getattr(one, name) for one in part) for part in (middle, last))
        if after > before + allowed:
            found.append(f"{name} was {before:,.0f} and is {after:,.0f} now")
    return found


def _drawn(page: "Page") -> None:
    page.wait_for_selector('main[data-ready="true"]', state="attached")


def _trade(account: "Account", number: int) -> None:
    """Let an engine open a position and close it, a second apart."""
    from tools.testkit.facts import fill

    time_msc = account.portfolio.newest_known_msc + 1000
    deal = 77_000_000_000 + 2 * number
    for step, (side, entry) in enumerate((("buy", "in"), ("sell", "out"))):
        one = fill(deal + step, position_id=deal, side=side, entry=entry, time_msc=time_msc + step * 1000)
        account.record(one)


def _sample(devtools: Any, process: "PageProcess") -> Sample:
    devtools.send("HeapProfiler.collectGarbage")
    counters = devtools.send("Memory.getDOMCounters")
    proc = Path(f"/proc/{process.pid}")
    return Sample(
        heap_kb=devtools.send("Runtime.getHeapUsage")["usedSize"] / 1024,
        nodes=counters["nodes"],
        listeners=counters["jsEventListeners"],
        server_kb=process.rss_mb() * 1024,
        files=len(list((proc / "fd").iterdir())),
        threads=len(list((proc / "task").iterdir())),
    )


def main() -> int:
    """Soak, and print what is held now and then."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hours", type=float, default=1.0, help="of the desk; each takes some minutes")
    arguments = parser.parse_args()
    bootstrap.enter(bootstrap.DEV_LOCK)
    from tools.testkit.browser import launched
    from tools.testkit.page_desk import make_desk
    from tools.testkit.page_process import PageProcess

    rounds = round(arguments.hours * 3600 / ROUND_SEC)
    samples: list[Sample] = []
    with tempfile.TemporaryDirectory(prefix="ledger-soak-") as name, launched() as browser:
        folder = Path(name)
        make_desk(f"sqlite:///{folder / 'desk.db'}")
        process = PageProcess(f"sqlite:///{folder / 'desk.db'}", folder)
        try:
            for sample in soak(browser, process.start(), rounds):
                samples.append(sample)
                if len(samples) % max(1, rounds // 20) == 0:
                    print(f"{len(samples) * ROUND_SEC / 60:5.0f} min  {sample}", flush=True)
        finally:
            process.close()
    grown = growth(samples)
    print(*(grown or ["nothing grew"]), sep="\n")
    return 1 if grown else 0


if __name__ == "__main__":
    sys.exit(main())
