"""What a measurement is: a path of ours, its reference doing the same work in turn, and the figure to reach."""

import statistics
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

Figure = Callable[[], float]


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """How much is measured."""

    rounds: int
    fills: int  # single fills of one round
    batches: int  # of 1,000 events, of one round
    replayed: int  # events of a journal that is replayed in full, and that the long one is compared with
    long: int  # events of the long journal
    library: int  # events that eventsourcing replays
    moments: int  # questions about a moment
    accounts: int  # of a journal of many
    fleet: tuple[int, int]  # accounts that are archived, and events of each
    curve: tuple[int, ...]  # journals of the growth curves, in events


QUICK = Sizes(
    rounds=3, fills=100, batches=2, replayed=100_000, long=200_000, library=10_000, moments=10, accounts=1_000,
    fleet=(10, 20_000), curve=(10_000, 20_000, 50_000, 100_000, 200_000),
)  # fmt: skip
FULL = Sizes(
    rounds=3, fills=200, batches=5, replayed=1_000_000, long=10_000_000, library=100_000, moments=50, accounts=10_000,
    fleet=(1_000, 20_000), curve=(10_000, 100_000, 1_000_000, 10_000_000),
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Path:
    """One row to be: both functions measure once and return their figure.

    ``target`` is compared with the ratio of ours to the reference (``by_ratio``), else with ours. A path whose figures come
    out of one run each is measured once. ``worst`` uses the worst round in place of the median. ``more`` times as many rounds
    are run of what is quick, so that both see the machine in all its moods.
    """

    name: str
    unit: str
    ours: Figure
    reference: Figure | None = None
    target: float | None
    better: str = "lower"
    by_ratio: bool = False
    once: bool = False
    worst: bool = False
    more: int = 1


Paths = Iterator[Path]


def measured(path: Path, rounds: int) -> dict[str, Any]:
    """Run ours and its reference in turn and return a row."""
    pairs = [(path.ours(), path.reference() if path.reference else None) for _ in range(1 if path.once else rounds * path.more)]
    if path.worst:
        middle = (max if path.better == "lower" else min)(mine for mine, _ in pairs)
    else:
        middle = statistics.median(mine for mine, _ in pairs)
    references = [other for _, other in pairs if other is not None]
    ratios = [mine / other for mine, other in pairs if other]
    ratio = statistics.median(ratios) if ratios else None
    value = ratio if path.by_ratio else middle
    reached = path.target is None or (
        value is not None and (value <= path.target if path.better == "lower" else value >= path.target)
    )
    return {
        "name": path.name,
        "unit": path.unit,
        "ours": float(f"{middle:.4g}"),
        "reference": float(f"{statistics.median(references):.4g}") if references else None,
        "ratio": None if ratio is None else float(f"{ratio:.3g}"),
        "target": path.target,
        "by_ratio": path.by_ratio,
        "better": path.better,
        "reached": reached,
    }
