"""The rows about the operator's page: its start, its memory, and what a person waits for, in a real browser.

The figures of one kind are collected in one go, and their 95th percentile is the row. Beside what is waited for stands the
smallest request that the page has, asked for in the same way a moment ago: a machine that is busy is slow at both.
"""

import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, closing, contextmanager
from functools import partial
from pathlib import Path as File
from typing import Any

from tools.bench.derived import tables_of
from tools.bench.metrics import make_accounts
from tools.bench.paths import Path, Paths, Sizes

_TIMES = 40  # of what is waited for
_BARE = """
import sys, uvicorn
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route
app = Starlette(routes=[Route("/", lambda _: PlainTextResponse("here"))])
uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), log_level="error")
"""

_FETCH = "async (path) => { const answer = await fetch(path); if (!answer.ok) throw path; await answer.text(); }"

#: Moves the slider and waits until the figures of that moment are in the document, some times over.
_SLIDE = """async (times) => {
  const slider = document.querySelector('input[data-axis="until"]'), figures = document.querySelector('[data-part="figures"]');
  const most = Number(slider.max), taken = [];
  for (let at = 1; at <= times; at++) {
    const drawn = new Promise((done) => {
      const look = new MutationObserver(() => { look.disconnect(); done(); });
      look.observe(figures, { childList: true });
    });
    const began = performance.now();
    slider.value = String(Math.trunc(most * ((at * 0.618) % 1)));
    slider.dispatchEvent(new Event("input", { bubbles: true }));
    await drawn;
    taken.push(performance.now() - began);
  }
  return taken;
}"""


def page_paths(folder: File, sizes: Sizes) -> Paths:
    """What a person waits for, on one long history and on many accounts."""
    from tools.testkit.browser import launched

    with ExitStack() as stack:
        browser = stack.enter_context(launched())
        yield from _long_paths(folder, sizes, browser)
        yield from _many_paths(folder, sizes, browser)


def _long_paths(folder: File, sizes: Sizes, browser: Any) -> Paths:
    from tools.testkit.page_process import path_of

    url = tables_of(folder, sizes.long)
    size = f"{sizes.long:,} events"
    yield Path(
        name=f"ledger page to its first answer, {size}, to a bare starlette", unit="s", target=0.5,
        ours=lambda: _first_answer_sec(url, folder), reference=_bare_answer_sec,
    )  # fmt: skip
    with _running(url, folder) as process:
        yield Path(name=f"memory of ledger page, {size}, before anybody looks", unit="MB", target=100, ours=process.rss_mb)
    with _running(url, folder) as process, closing(_signed_in(browser, process)) as context:
        page = context.pages[0]
        (account,) = _names(url)
        path = path_of(account)
        _open(page, path)
        yield Path(name=f"memory of ledger page that shows {size}", unit="MB", target=None, ours=process.rss_mb, once=True)
        small = partial(_p95_ms, lambda: _get(page, "/api/session"))
        yield Path(
            name=f"account of {size}, complete in the browser, warm, p95", unit="ms", target=500, once=True,
            ours=lambda: _p95_ms(lambda: _open(page, path)), reference=small,
        )  # fmt: skip
        yield Path(
            name=f"slider step to figures in the document, {size}, p95", unit="ms", target=100, once=True,
            ours=lambda: _p95(page.evaluate(_SLIDE, _TIMES)), reference=small,
        )  # fmt: skip
        _open(page, path)
        yield Path(
            name=f"append in another process to figures on the page, {size}, p95", unit="ms", target=300, once=True,
            ours=lambda: _p95(_appended_ms(page, url)), reference=small,
        )  # fmt: skip


def _many_paths(folder: File, sizes: Sizes, browser: Any) -> Paths:
    url = f"sqlite:///{folder / f'page-{sizes.accounts}.db'}"
    _accounts(url, sizes.accounts)
    size = f"{sizes.accounts:,} accounts"
    with _running(url, folder) as process, closing(_signed_in(browser, process)) as context:
        page = context.pages[0]
        _open(page, "/")
        small = partial(_p95_ms, lambda: _get(page, "/api/session"))
        yield Path(
            name=f"overview of {size}, p95", unit="ms", target=500, once=True,
            ours=lambda: _p95_ms(lambda: _get(page, "/api/overview")), reference=small,
        )  # fmt: skip
        yield Path(
            name=f"overview of {size}, complete in the browser, p95", unit="ms", target=None, once=True,
            ours=lambda: _p95_ms(lambda: _open(page, "/")), reference=small,
        )  # fmt: skip
        yield Path(name=f"memory of ledger page that shows {size}", unit="MB", target=None, ours=process.rss_mb, once=True)


# ------------------------------------------------------------------------------------------------------------- processes


@contextmanager
def _running(url: str, folder: File) -> Iterator[Any]:
    """Run a page, its settings in a folder of its own."""
    from tools.testkit.page_process import PageProcess

    place = folder / f"page-{time.time_ns()}"
    place.mkdir()
    process = PageProcess(url, place)
    try:
        yield process.start()
    finally:
        process.close()


def _first_answer_sec(url: str, folder: File) -> float:
    start = time.perf_counter()
    with _running(url, folder) as process:
        _asked_until_answered(process.port)
        return time.perf_counter() - start


def _bare_answer_sec() -> float:
    from tools.testkit.ports import free_port

    port = free_port()
    start = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-c", _BARE, str(port)])
    try:
        _asked_until_answered(port)
        return time.perf_counter() - start
    finally:
        process.kill()
        process.wait()


def _asked_until_answered(port: int) -> None:
    give_up = time.monotonic() + 60
    while True:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5).close()
        except OSError:
            if time.monotonic() > give_up:
                raise
            time.sleep(0.002)
        else:
            return


# ------------------------------------------------------------------------------------------------------------ the browser


def _signed_in(browser: Any, process: Any) -> Any:
    """Return a context in which somebody is signed in, with one tab."""
    context = browser.new_context(base_url=process.origin, viewport={"width": 1280, "height": 900})
    context.set_default_timeout(120_000)
    page = context.new_page()
    page.goto(process.link("ann"))
    _drawn(page)
    return context


def _open(page: Any, path: str) -> None:
    page.goto(path)
    _drawn(page)


def _drawn(page: Any) -> None:
    page.wait_for_selector('main[data-ready="true"]', state="attached")


def _get(page: Any, path: str) -> None:
    page.evaluate(
        "async (path) => { const answer = await fetch(path); if (!answer.ok) throw path; await answer.text(); }", path
    )


def _appended_ms(page: Any, url: str) -> list[float]:
    """Append in this process, and return how long it took each time until the page showed it."""
    from ledger import Ledger

    taken = []
    with closing(Ledger.open(url)) as ledger:
        (account,) = ledger.accounts()
        newest = account.portfolio.newest_known_msc
        number = max(row.deal or 0 for row in ledger.journal.rows(account.name, after=account.version - 50))
        for step in range(1, _TIMES + 1):
            start = time.perf_counter()
            account.record(_fill(number + step, newest + step * 1000))
            page.wait_for_selector(f'[data-version="{account.version}"]', state="attached")
            taken.append((time.perf_counter() - start) * 1000)
    return taken


def _fill(number: int, time_msc: int) -> Any:
    from ledger import FillRecorded

    return FillRecorded(
        deal=number, order=number, position_id=number, symbol="EURUSD", side="buy", entry="in", volume="0.01", price="1.1",
        commission=0, fee=0, swap=0, profit=0, time_msc=time_msc,
    )  # fmt: skip


# ----------------------------------------------------------------------------------------------------------- the journals


def _names(url: str) -> list[Any]:
    from ledger import Ledger

    with closing(Ledger.open(url)) as ledger:
        return [one.name for one in ledger.accounts()]


def _accounts(url: str, size: int) -> None:
    """Make a journal of so many accounts, each with sync health and derived tables."""
    from ledger import Ledger

    names = make_accounts(url, size)
    with closing(Ledger.open(url)) as ledger:
        known = ledger.journal.derived.summaries()
        for name in names:
            if name not in known:
                ledger.account(name).derived.catch_up()


# -------------------------------------------------------------------------------------------------------------- the figures


def _p95_ms(do: Callable[[], object]) -> float:
    """Return the 95th percentile of what something takes."""
    taken = []
    for _ in range(_TIMES):
        start = time.perf_counter()
        do()
        taken.append((time.perf_counter() - start) * 1000)
    return _p95(taken)


def _p95(taken: Iterable[float]) -> float:
    found = sorted(taken)
    return found[min(len(found) - 1, round(0.95 * len(found)))]
