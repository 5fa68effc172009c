"""The rows about the native loop: packed postings of a whole journal folded by it, and by Python.

The postings are packed once, in the fold order and each deal once, into a file beside the journal. A figure is the processor
time to read that file and to fold all of it; the reference is the fold in Python over the same file. And questions about
moments, each a replay from the nearest checkpoint.
"""

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path as File
from struct import Struct
from typing import Any

from tools.bench.paths import Path, Paths, Sizes
from tools.bench.read import apart as apart_from_here
from tools.bench.read import journal_url, moments
from tools.dev.native import build, cargo

_SIZE = Struct("<q")


def native_paths(folder: File, sizes: Sizes) -> Paths:
    """Fold packed postings; nothing is measured where cargo is missing."""
    if cargo() is None:
        return
    package = str(build())
    for events in (sizes.replayed, sizes.long):
        url = journal_url(folder, events, nets=False)
        packs = packed(folder, events, url)
        yield Path(
            name=f"fold {events:,} packed events, native loop, to Python", unit="s", target=0.2, by_ratio=True,
            ours=lambda url=url, packs=packs: apart(url, packs, package),  # type: ignore[misc]
            reference=lambda url=url, packs=packs: apart(url, packs, ""),  # type: ignore[misc]
        )  # fmt: skip
    yield Path(
        name=f"fold {sizes.long:,} packed events, native loop", unit="s", target=sizes.long / 10_000_000,
        ours=lambda: apart(url, packs, package),
    )  # fmt: skip
    long = journal_url(folder, sizes.long, nets=False)
    apart_from_here("checkpoints", long)
    for about in ("until", "known-at"):
        yield Path(
            name=f"--{about} anywhere in {sizes.long:,} events, native loop, median", unit="ms", target=10,
            ours=lambda about=about: moment_ms(long, about, sizes.moments, package),  # type: ignore[misc]
            reference=lambda about=about: moment_ms(long, about, sizes.moments, ""),  # type: ignore[misc]
        )  # fmt: skip


def packed(folder: File, events: int, url: str) -> File:
    """Return the file of a journal's packed postings, made if it is not there yet."""
    from ledger import Ledger
    from ledger.journal import Selection
    from ledger.segments.packed import ROWS_MAX, Packed

    path = folder / f"hedging-{events}.packs"
    if path.exists():
        return path
    with Ledger.open(url) as ledger, path.with_suffix(".draft").open("wb") as out:
        (account,) = ledger.accounts()
        postings = ledger.journal.postings(account.name, Selection(version=account.version), account.terms)
        while True:
            rows = _taken(postings, ROWS_MAX)
            if not rows:
                break
            content = Packed.pack(rows).to_bytes()
            out.write(_SIZE.pack(len(content)) + content + bytes(-len(content) % _SIZE.size))
    return path.with_suffix(".draft").rename(path)


def _taken(postings: Any, most: int) -> list[Any]:
    """Return so many postings, fewer only at the end. Those of a second that has to be sorted again come together."""
    rows: list[Any] = []
    while len(rows) < most - 1000:
        more = postings.take(500)
        if not more:
            break
        rows += more
    return rows


def apart(url: str, packs: File, package: str) -> float:
    """Return the processor seconds of folding packs in a process of its own, with the native loop of a folder or without."""
    return _printed([url, str(packs)], package)


def moment_ms(url: str, about: str, times: int, package: str) -> float:
    """Return the median milliseconds of questions about moments, in a process of its own, with the native loop or without."""
    return _printed([url, about, str(times)], package)


def _printed(words: list[str], package: str) -> float:
    """Return the number that this program prints, with the native loop of a folder or without."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [package, *sys.path]))}
    environment["LEDGER_NATIVE"] = "1" if package else "0"
    run = subprocess.run([sys.executable, __file__, *words], capture_output=True, text=True, check=True, env=environment)
    return float(run.stdout)


def _packs(path: File) -> Iterator[Any]:
    from ledger.segments.packed import Packed

    with path.open("rb") as file:
        for head in iter(lambda: file.read(_SIZE.size), b""):
            (size,) = _SIZE.unpack(head)
            yield Packed.from_buffer(file.read(size))
            file.read(-size % _SIZE.size)


def _main(url: str, packs: str) -> None:
    from ledger import Ledger

    with Ledger.open(url) as ledger:
        (account,) = ledger.accounts()
        terms, money = account.terms, account.portfolio.money_units
    _fold(terms, File(packs))  # the first finds the program cold
    start = time.process_time()
    portfolio = _fold(terms, File(packs))
    took = time.process_time() - start
    if portfolio.money_units != money:
        raise SystemExit(f"the packed postings come to {portfolio.money_units}, the account to {money}")
    print(took)


def _fold(terms: Any, packs: File) -> Any:
    from ledger.codec import decode_posting
    from ledger.portfolio import Portfolio
    from ledger.segments.native import quick_slice

    portfolio = Portfolio(terms)
    for pack in _packs(packs):
        portfolio.fold(quick_slice(pack), decode_posting)
    return portfolio


if __name__ == "__main__":
    if len(sys.argv) == 3:
        _main(*sys.argv[1:])
    else:
        print(statistics.median(moments(sys.argv[1], sys.argv[2], int(sys.argv[3]))))
