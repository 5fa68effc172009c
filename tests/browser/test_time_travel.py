"""At any moment of both clocks the page shows the figures of ``ledger replay`` at that moment: each of them, exactly.

The histories are real exports, recorded as an engine would have: most deals at once, some of them hours late.
"""

from __future__ import annotations

import random
from contextlib import closing
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect

from ledger import CashMoved, FillRecorded, Ledger
from ledger.clock import to_clock
from ledger.importer import ImportOptions, import_files
from tests.support.commands import run
from tools.testkit.page_process import path_of

FOLDER = Path(__file__).resolve().parents[2].parent / "shared" / "data"

pytestmark = pytest.mark.skipif(not FOLDER.is_dir(), reason=f"the sample exports are not at {FOLDER}")

CLOCK = "ny-close"
HOUR_US = 3_600_000_000


def recorded(url: str, name: str) -> Any:
    """Record an export's deals as they happened, one in ten some hours late; return its account."""
    with closing(Ledger.open("memory://")) as source:
        import_files(source, [FOLDER / name], options=ImportOptions())
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
