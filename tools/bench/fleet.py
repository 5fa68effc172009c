"""The rows about a fleet: archiving all accounts, and asking about all of them, by every executor.

Rates count a second of CPU of the process that does the work, where that is one process; where others do it, a second as it
passes, with the start of the executor. A digest that is not the journal's ends the run.
"""

import gc
import os
import shutil
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path as File
from typing import Any

from tools.bench.journals import make_fleet
from tools.bench.paths import Path, Paths, Sizes


def archive_paths(folder: File, sizes: Sizes) -> Paths:
    """Archiving, folding by each executor, and a question about all accounts at a moment in the past."""
    gc.set_threshold(50_000)  # as the command does
    accounts, each = sizes.fleet
    url, size = make_fleet(folder, accounts, each), f"{accounts:,} accounts, {accounts * each:,} events"
    archive = folder / f"archive-{accounts}-{each}"
    yield Path(
        name=f"archive {size}", unit="events/s CPU", target=None, better="higher", once=True,
        ours=lambda: accounts * each / _cpu(partial(write_archive, url, archive)),
    )  # fmt: skip
    yield Path(
        name=f"verify the archive of {size}", unit="events/s CPU", target=None, better="higher", once=True,
        ours=lambda: accounts * each / _cpu(partial(verify, archive)),
    )  # fmt: skip
    expected = digests(url)
    yield Path(
        name=f"fold {size}, archive to journal", unit="events/s CPU", target=350_000, better="higher", once=True,
        ours=lambda: accounts * each / _cpu(partial(_fold, archive, expected, "local", 1)),
        reference=lambda: accounts * each / _cpu(partial(digests, url)),
    )  # fmt: skip
    for name in ("local", "dask", "ray", "spark"):
        yield Path(
            name=f"fold {size}, {name}, with its start", unit="events/s", target=None, better="higher", once=True,
            ours=lambda name=name: accounts * each / _seconds(partial(_fold, archive, expected, name, os.cpu_count() or 1)),  # type: ignore[misc]
        )  # fmt: skip
    middle = moment(url)
    for asked in ({"until": middle}, {"known_at": middle}):
        _fold(archive, digests(url, **asked), "local", os.cpu_count() or 1, **asked)
    yield Path(
        name=f"who held gold then, and who believed it, {size}", unit="s", target=60, once=True,
        ours=lambda: _seconds(partial(ask, archive, middle)),
    )  # fmt: skip


def write_archive(url: str, archive: File) -> None:
    """Archive a journal anew, in this process."""
    from ledger import Ledger
    from ledger.archive.write import archive as write
    from ledger.service import utc_now_us

    shutil.rmtree(archive, ignore_errors=True)
    write(lambda: Ledger.open(url).journal, archive, utc_now_us)


def verify(archive: File) -> None:
    """Verify an archive."""
    from ledger.archive.verify import verify_archive

    _require(verify_archive(archive)[1] == [], "the archive does not verify")


def digests(url: str, **moment: Any) -> str:
    """Return the digest of all accounts of a journal."""
    from ledger import Ledger
    from ledger.forensics import fleet_digest
    from ledger.forensics.questions import replay_journal

    with Ledger.open(url) as ledger:
        ledger.checkpoint_interval = sys.maxsize  # or a second replay would begin at what the first left
        return fleet_digest(replay_journal(ledger, **moment))


def _fold(archive: File, expected: str, executor: str, workers: int, **moment: Any) -> None:
    from ledger.forensics import fleet_digest
    from ledger.forensics.questions import Where, replay

    found = fleet_digest(replay(archive, Where(executor=executor, workers=workers), **moment))
    _require(found == expected, f"{executor} gives another digest than the journal")


def moment(url: str) -> str:
    """Return a moment in the middle of what happened, behind much of what was recorded."""
    from ledger import Ledger
    from ledger.clock import utc_text

    with Ledger.open(url) as ledger:
        account = ledger.accounts()[0]
        middle = next(ledger.journal.rows(account.name, after=account.version * 6 // 10))
        return utc_text(account.terms.clock.to_utc_msc(middle.time_msc))


def ask(archive: File, middle: str) -> None:
    """Ask who was exposed to gold at a moment, as known now and as believed then."""
    from ledger.forensics.conditions import Condition
    from ledger.forensics.questions import Where, replay, select_positions

    gold = [Condition.parse("symbol = XAUUSD")]
    for asked in ({"until": middle}, {"known_at": middle}):
        _require(any(select_positions(replay(archive, Where(), **asked), gold)), "nobody held gold")


def _require(is_right: bool, what: str) -> None:  # noqa: FBT001
    if not is_right:
        raise SystemExit(what)


def _cpu(work: Callable[[], object]) -> float:
    begin = time.process_time()
    work()
    return time.process_time() - begin


def _seconds(work: Callable[[], object]) -> float:
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin
