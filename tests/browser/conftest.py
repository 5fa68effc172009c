"""These fixtures run ``ledger page`` over journals of tests, and a Chromium in which people look at it.

A test has a context of its own for every person; whatever a page does that it must not fails the test: errors on the console,
errors in scripts, requests to anything but the page. Nothing waits for a time: pages state in ``data-`` attributes what they
show.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from attrs import define
from playwright.sync_api import Browser, BrowserContext, Locator, Page, expect

from tools.testkit import page_desk
from tools.testkit.browser import ChromiumMissingError, Watch, chromium, in_ci, launched
from tools.testkit.page_process import PageProcess

PATIENCE_MS: Final = 30_000  # for what has to happen; nothing waits this long when all is well

expect.set_options(timeout=PATIENCE_MS)


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    """A Chromium, for all tests of this folder: while it runs, no test outside may need an event loop of its own."""
    try:
        chromium()
    except ChromiumMissingError as error:
        if in_ci():
            raise
        pytest.skip(str(error))
    with launched() as found:
        yield found


@define(eq=False)
class Person:
    """Somebody who looks at the page, in a browser of their own.

    Attributes:
        name: Who.
        page: The tab.
        context: The browser, as far as cookies go.
        watch: What its tabs do that they must not.
        process: The page's server.
    """

    name: str
    page: Page
    context: BrowserContext
    watch: Watch
    process: PageProcess

    @property
    def main(self) -> Locator:
        """Where the view is."""
        return self.page.locator("main")

    def go(self, path: str) -> Person:
        """Open an address, and wait until its figures are there."""
        self.page.goto(self.process.origin + path)
        return self.ready()

    def ready(self, view: str | None = None, *, state: str | None = None) -> Person:
        """Wait until the figures of the address are there."""
        expect(self.main).to_have_attribute("data-ready", "true")
        if view is not None:
            expect(self.main).to_have_attribute("data-view", view)
        if state is not None:
            expect(self.main).to_have_attribute("data-state", state)
        return self

    def part(self, name: str) -> Locator:
        """Return a part of the view by its name."""
        return self.page.locator(f'[data-part="{name}"]')

    def tab(self, path: str) -> Person:
        """Open another tab of the same browser."""
        other = Person(self.name, self.context.new_page(), self.context, self.watch, self.process)
        return other.go(path)


Visit = Callable[..., Person]


@pytest.fixture
def visit(browser: Browser, run_page: Callable[..., PageProcess]) -> Iterator[Visit]:  # browsers are closed before pages
    """Let somebody sign in at a page: ``visit(process, "ann", "/breaks", timezone_id="Asia/Tokyo")``."""
    people: list[Person] = []

    def visited(process: PageProcess, name: str = "ann", path: str = "/", **options: Any) -> Person:
        context = browser.new_context(base_url=process.origin, **options)
        context.set_default_timeout(PATIENCE_MS)
        watch = Watch(process.origin).over(context)
        people.append(Person(name, context.new_page(), context, watch, process))
        people[-1].page.goto(process.link(name, path))
        return people[-1]

    yield visited
    problems = []
    for one in people:
        problems += [f"{one.name}: {problem}" for problem in one.watch.found()]
        one.context.close()
    assert problems == []


# ------------------------------------------------------------------------------------------------ journals, and their pages


@pytest.fixture(scope="session")
def desk_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small journal, which nobody has open: copy it."""
    path = tmp_path_factory.mktemp("desk") / "desk.db"
    page_desk.make_desk(f"sqlite:///{path}")
    return path


@pytest.fixture(scope="package")
def desk(desk_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PageProcess]:
    """A page over the small journal, for tests that only read."""
    folder = tmp_path_factory.mktemp("shared")
    process = PageProcess(page_desk.copy_of(desk_file, folder / "desk.db"), folder)
    try:
        yield process.start()
    finally:
        process.close()


@pytest.fixture
def run_page(tmp_path: Path) -> Iterator[Callable[..., PageProcess]]:
    """Run a page over a journal of the test's own: ``run_page(url)``; it lets people write unless ``writes=False``."""
    running: list[PageProcess] = []

    def run(journal: str, *, writes: bool = True, settings: str = "") -> PageProcess:
        folder = tmp_path / f"page-{len(running)}"
        folder.mkdir()
        running.append(PageProcess(journal, folder, ("--allow-writes",) if writes else (), settings=settings))
        return running[-1].start()

    yield run
    for one in running:
        one.close()


@pytest.fixture
def own_desk(desk_file: Path, tmp_path: Path, run_page: Callable[..., PageProcess]) -> PageProcess:
    """A page over a copy of the small journal, for tests that write or do harm."""
    return run_page(page_desk.copy_of(desk_file, tmp_path / "desk.db"))
