"""At any moment of both clocks the page shows the figures of ``ledger replay`` at that moment: each of them, exactly.

The histories are real exports, recorded as an engine would have: most deals at once, some of them hours late.
"""

from __future__ import annotations

import random
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from ledger import CashMoved, FillRecorded, Ledger
from ledger.clock import to_clock, utc_text
from ledger.importer import ImportOptions, import_files
from tests.support.commands import run
from tools.testkit.page_process import path_of

FOLDER = Path(__file__).resolve().parents[2].parent / "shared" / "data"

pytestmark = pytest.mark.skipif(not FOLDER.is_dir(), reason=f"the sample exports are not at {FOLDER}")

CLOCK = "ny-close"
HOUR_US = 3_600_000_000


def recorded(url: str, name: str, mode: str | None = None) -> Any:
    """Record an export's deals as they happened, one in ten some hours late; return its account's name."""
    with closing(Ledger.open("memory://")) as source:
        import_files(source, [FOLDER / name], options=ImportOptions(mode=mode))
        (account,) = source.accounts()
        deals = [one.event for one in account.events() if isinstance(one.event, (FillRecorded, CashMoved))]
        opened = account.terms.opened
    dice, clock = random.Random(name), to_clock(CLOCK)
    due = sorted(
        (clock.to_utc_msc(deal.time_msc) * 1000 + dice.randrange(10**6) + late_us(dice), number)
        for number, deal in enumerate(deals)
    )
    now_us = [due[0][0] - 1_000_000]
    with closing(Ledger.create(url, now_us=lambda: now_us[0])) as ledger:
        account = ledger.account(f"{opened.server}/{opened.login}")
        account.open(currency=opened.currency, mode=opened.mode, clock=CLOCK, digits=opened.currency_digits)
        for now_us[0], number in due:
            account.record(deals[number])
        account.derived.catch_up()
        return account.name


def late_us(dice: random.Random) -> int:
    return dice.randrange(HOUR_US // 10, 9 * HOUR_US) if dice.random() < 0.1 else 0


def moments(url: str, seed: str, count: int) -> list[dict[str, str]]:
    """Choose moments of both clocks: one of them, the other, both, near each other and far apart."""
    dice = random.Random(seed)
    with closing(Ledger.open(url)) as ledger:
        (account,) = ledger.accounts()
        clock, recorded_events = account.terms.clock, list(account.events())
    times = sorted(clock.to_utc_msc(one.event.time_msc) for one in recorded_events)
    known = [one.recorded_us // 1000 for one in recorded_events]
    found = []
    for number in range(count):
        until = utc_text(dice.choice(times) + dice.randrange(-2, 3))
        at = utc_text(dice.choice(known) + dice.randrange(-2, 3))
        found.append([{"until": until}, {"known_at": at}, {"until": until, "known_at": at}][number % 3])
    return found


def replayed(url: str, moment: dict[str, str]) -> Any:
    options = [word for name, value in moment.items() for word in (f"--{name.replace('_', '-')}", value)]
    return run("replay", *options, "--json", journal=url).json()


def shown(person: Any) -> dict[str, Any]:
    """Read what the Account view shows: figures without the signs that separate thousands, positions as rows of cells."""
    figures: dict[str, Any] = person.page.evaluate(FIGURES)
    return figures


FIGURES = """() => {
  const text = (node) => node?.querySelector(".figure")?.firstChild?.textContent ?? node?.textContent ?? "";
  const plain = (node) => text(node).replaceAll(",", "").trim();
  const all = [...document.querySelectorAll("[data-figure]")];
  const figures = Object.fromEntries(all.map((one) => [one.dataset.figure, plain(one.querySelector("b"))]));
  const tables = [...document.querySelectorAll('[data-part="state"] table')];
  const rows = tables.find((one) => one.caption.textContent === "Positions");
  const cells = (row) => Object.fromEntries([...row.cells].map((one) => [one.dataset.label, plain(one)]));
  return { ...figures, positions: [...rows.tBodies[0].rows].filter((one) => one.dataset.id).map(cells) };
}"""


def expected(replay: Any) -> dict[str, Any]:
    """What the page has to show of an answer of ``replay --json``."""
    return {
        "balance": replay["balance"], "credit": replay["credit"], "equity": "? (no sample by this moment)",
        "events": str(replay["selected"]), "unexplained": str(len(replay["unexplained"])),
        "positions": [
            {
                "position": str(one["position_id"]), "symbol": one["symbol"], "side": one["side"], "volume": one["volume"],
                "open price": one["price_open"], "basis": one["basis"], "magic": str(one["magic"] or "-"),
            }
            for one in replay["positions"]
        ],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("name", "mode", "count"), [("ftmo_hedge_export3.xlsx", None, 6), ("fxpro_netting_a.xlsx", "netting", 3)]
)
def test_random_moments_of_a_real_history_are_those_of_replay(visit, run_page, tmp_path, name, mode, count):
    url = f"sqlite:///{tmp_path / 'real.db'}"
    account = recorded(url, name, mode)
    ann = visit(run_page(url)).ready()
    for moment in moments(url, name, count):
        query = "&".join(f"{key}={value}" for key, value in moment.items())
        ann.go(path_of(account, f"?{query}")).ready("account", state="past")
        found = shown(ann)
        for row in found["positions"]:
            del row["opened"]
        assert found == expected(replayed(url, moment)), moment
