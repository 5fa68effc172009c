"""This module is which of some deals give certain sums: an exhaustive search that stops at a second answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from attrs import define

#: Steps of one search, and of all searches in a file. Real files need a few hundred.
_STEPS_ONE: Final = 50_000
_STEPS_ALL: Final = 300_000
_MOST_GROUPS: Final = 200


class Sums(NamedTuple):
    """What adds up over the deals that close a position, in integers; ``price_volume`` gives the mean price."""

    volume: int
    price_volume: int
    profit: int
    swap: int

    def minus(self, *others: Sums) -> Sums:
        """Return what is left after taking others away."""
        volume, price_volume, profit, swap = self
        for other in others:
            volume -= other.volume
            price_volume -= other.price_volume
            profit -= other.profit
            swap -= other.swap
        return Sums(volume, price_volume, profit, swap)

    def times(self, count: int) -> Sums:
        """Return the sums of so many alike."""
        return Sums(self.volume * count, self.price_volume * count, self.profit * count, self.swap * count)


@define
class Budget:
    """How many steps are left for all searches of a file, so that a hostile one cannot hang the reader."""

    steps: int = _STEPS_ALL


#: Sums of one deal, how many are alike, and whether it may be the last one.
Part = tuple[Sums, int, bool]


def find_subset(
    parts: Sequence[Part], need: Sums, tolerance: int, budget: Budget, *, has_result: bool = True
) -> list[int] | None:
    """Return how many of each part give the sums, None where no choice does, several do, or the search is too long.

    Args:
        parts: The largest volume first.
        need: Volume, profit and swap have to be met exactly.
        tolerance: By how much ``price_volume`` may differ, in hundredths.
        budget: Reduced by the steps that were taken.
        has_result: Whether profit has to be met.
    """
    if len(parts) > _MOST_GROUPS:
        return None
    search = _Search(parts, tolerance, min(budget.steps, _STEPS_ONE), has_result=has_result)
    before = search.steps
    search.go(0, need, is_last_in=False)
    budget.steps -= before - search.steps
    return search.answers[0] if len(search.answers) == 1 and search.steps > 0 else None


class _Search:
    def __init__(self, parts: Sequence[Part], tolerance: int, steps: int, *, has_result: bool) -> None:
        self.parts = parts
        self.tolerance = tolerance
        self.steps = steps
        self.has_result = has_result
        self.answers: list[list[int]] = []
        self._counts = [0] * len(parts)
        # What all parts from here on can still add: volume, gains and losses.
        self._volume = [0] * (len(parts) + 1)
        self._gain = self._volume.copy()
        self._loss = self._volume.copy()
        for index in reversed(range(len(parts))):
            sums, most, _ = parts[index]
            self._volume[index] = self._volume[index + 1] + most * sums.volume
            self._gain[index] = self._gain[index + 1] + most * max(sums.profit, 0)
            self._loss[index] = self._loss[index + 1] + most * min(sums.profit, 0)

    def go(self, index: int, need: Sums, *, is_last_in: bool) -> None:
        """Try every count of the part at ``index``, then go on to the next."""
        self.steps -= 1
        if not need.volume:
            if is_last_in and self._is_met(need):
                self.answers.append(self._counts.copy())
            return
        if self.steps <= 0 or len(self.answers) > 1 or self._is_out_of_reach(index, need):
            return
        sums, most, is_last = self.parts[index]
        for count in range(min(most, need.volume // sums.volume), -1, -1):
            self._counts[index] = count
            self.go(index + 1, need.minus(sums.times(count)), is_last_in=is_last_in or (is_last and count > 0))
        self._counts[index] = 0

    def _is_met(self, need: Sums) -> bool:
        if need.swap or 100 * abs(need.price_volume) > self.tolerance:
            return False
        return not self.has_result or not need.profit

    def _is_out_of_reach(self, index: int, need: Sums) -> bool:
        if need.volume > self._volume[index]:
            return True
        return self.has_result and not self._loss[index] <= need.profit <= self._gain[index]
