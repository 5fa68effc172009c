"""Charts as inline SVG: curves that show exact extremes, and bars. The drawing stretches; its labels are text of the page.

A chart has a title, labels on both axes and a summary in words, so that it can be read without being seen.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from html import escape
from typing import Final, NamedTuple

from ledger.clock import UTC_EPOCH
from ledger.text import visible

_WIDTH: Final = 1000
_HEIGHT: Final = 300
_MINUTE_MS: Final = 60_000
_DAY_MS: Final = 24 * 60 * _MINUTE_MS
#: Steps of a time axis in minutes, and of one in months.
_MINUTES: Final = (1, 5, 15, 30, *(60 * hours for hours in (1, 2, 3, 6, 12, 24, 48, 7 * 24, 14 * 24)))
_MONTHS: Final = (1, 2, 3, 6, 12, 24, 60, 120)
_TICKS: Final = 10
_ENOUGH: Final = Decimal("0.999")  # of the least step
#: Behind it a label would reach over the edge.
_LAST_LABEL: Final = 0.96
_MONDAY_MS: Final = 4 * _DAY_MS  # 1970-01-05


class Tick(NamedTuple):
    """A mark on an axis: where, from 0 to 1, and its label."""

    at: float
    label: str


class Chart(NamedTuple):
    """A drawing with what is around it."""

    key: str
    title: str
    summary: str
    y_name: str
    x_name: str
    y_ticks: Sequence[Tick]
    x_ticks: Sequence[Tick]
    drawing: str


def text(value: object) -> str:
    """Return text for a page: escaped, and with everything that is hidden in it shown."""
    return escape(visible(str(value)), quote=True).replace(" %", "&nbsp;%")


def chart_html(chart: Chart) -> str:
    """Return a chart as a figure of a page."""
    key = text(chart.key)
    y_labels = "".join(
        f'<span style="bottom:{100 * tick.at:.2f}%">{text(tick.label)}</span>' for tick in chart.y_ticks
    )  # fmt: skip
    x_labels = "".join(
        f'<span class="{"minor" if number % 3 else "major"}" style="left:{100 * tick.at:.2f}%">{text(tick.label)}</span>'
        for number, tick in enumerate(one for one in chart.x_ticks if one.at <= _LAST_LABEL)
    )
    grid = "".join(
        f'<line class="grid" x1="0" x2="{_WIDTH}" y1="{_y(tick.at):.1f}" y2="{_y(tick.at):.1f}"/>' for tick in chart.y_ticks
    )
    return (
        f'<figure class="chart" aria-labelledby="{key}-title" aria-describedby="{key}-summary">'
        f'<h3 id="{key}-title">{text(chart.title)}</h3>'
        f'<p class="axis-name">{text(chart.y_name)}</p>'
        f'<div class="plot"><div class="y-labels" aria-hidden="true">{y_labels}</div>'
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" preserveAspectRatio="none" role="img" '
        f'aria-labelledby="{key}-title {key}-summary">'
        f"{grid}{chart.drawing}</svg>"
        f'<div class="x-labels" aria-hidden="true">{x_labels}</div></div>'
        f'<p class="axis-name x">{text(chart.x_name)}</p>'
        f'<figcaption id="{key}-summary">{text(chart.summary)}</figcaption></figure>\n'
    )


def _y(at: float) -> float:
    return (1 - at) * _HEIGHT


# --------------------------------------------------------------------------------------------------------------- scales


class Scale(NamedTuple):
    """An axis of values: where it begins and ends, and its ticks."""

    low: Decimal
    high: Decimal
    step: Decimal

    def at(self, value: Decimal) -> float:
        """Return where a value is, from 0 to 1."""
        return float((value - self.low) / (self.high - self.low))

    def ticks(self, label: Callable[[Decimal, int], str]) -> Iterator[Tick]:
        """Yield the ticks; ``label`` is given a value and how many decimals the step has."""
        decimals = max(0, -int(self.step.adjusted()))
        for number in range(int((self.high - self.low) / self.step) + 1):
            value = self.low + number * self.step
            yield Tick(self.at(value), label(value, decimals))


def value_scale(values: Iterable[Decimal], *, with_zero: bool, ticks: int = 5) -> Scale:
    """Return a scale of round steps over some values."""
    listed = [*values, *([Decimal(0)] if with_zero else [])]
    low, high = min(listed), max(listed)
    if low == high:
        low, high = low - 1, high + 1
    least = (high - low) / ticks
    magnitude = Decimal(1).scaleb(least.adjusted())
    step = next(times * magnitude for times in (1, 2, 5, 10) if times * magnitude >= least * _ENOUGH)
    first = (low / step).to_integral_value(ROUND_FLOOR)
    last = (high / step).to_integral_value(ROUND_CEILING)
    return Scale(first * step, last * step, step)


def time_ticks(begin_msc: int, end_msc: int) -> list[Tick]:
    """Return ticks of a time axis in UTC, at round minutes, hours, days or months."""
    span = end_msc - begin_msc
    if span <= _TICKS * 14 * _DAY_MS:
        step = next(one for one in _MINUTES if span <= _TICKS * one * _MINUTE_MS) * _MINUTE_MS
        origin = _MONDAY_MS if step >= 7 * _DAY_MS else 0
        marks = range(origin - (origin - begin_msc) // step * step, end_msc + 1, step)
        pattern = "%Y-%m-%d" if step >= _DAY_MS else "%m-%d %H:%M"
        return [Tick((one - begin_msc) / span, _moment(one).strftime(pattern)) for one in marks]
    months = next((one for one in _MONTHS if span <= _TICKS * one * 31 * _DAY_MS), 240)
    first = _moment(begin_msc)
    number = -(-(first.year * 12 + first.month) // months) * months  # months since the year 0, the next round one
    found = []
    while (at := _month_msc(number)) <= end_msc:
        found.append(Tick((at - begin_msc) / span, _moment(at).strftime("%Y-%m")))
        number += months
    return found


def _moment(utc_msc: int) -> datetime:
    return UTC_EPOCH + timedelta(milliseconds=utc_msc)


def _month_msc(number: int) -> int:
    return int(datetime(number // 12, number % 12 + 1, 1, tzinfo=UTC).timestamp()) * 1000


# -------------------------------------------------------------------------------------------------------------- drawings


def step_path(points: Iterable[tuple[float, Sequence[float]]], start: float | None) -> str:
    """Return the path of a curve that stays where it is until the next point: ``x`` and the values that it passes there."""
    parts = [] if start is None else [f"M0 {_y(start):.1f}"]
    for x, values in points:
        at = _WIDTH * x
        first, *rest = values
        parts.append(f"H{at:.1f}V{_y(first):.1f}" if parts else f"M{at:.1f} {_y(first):.1f}")
        parts += [f"V{_y(one):.1f}" for one in rest]
    return "".join([*parts, f"H{_WIDTH}"]) if parts else ""


def area(path: str, base: float, kind: str) -> str:
    """Return a filled area between a curve and a base line."""
    begin = "0"
    return f'<path class="area {kind}" d="{path}V{_y(base):.1f}H{begin}Z"/>'


def line(path: str, kind: str) -> str:
    """Return a curve."""
    return f'<path class="line {kind}" d="{path}"/>'


def base_line(at: float) -> str:
    """Return the line of 0."""
    return f'<line class="base" x1="0" x2="{_WIDTH}" y1="{_y(at):.1f}" y2="{_y(at):.1f}"/>'


def bars(values: Sequence[tuple[str, Decimal, str]], scale: Scale) -> str:
    """Return bars from 0: name, value and what the value is written as."""
    slot, zero = _WIDTH / len(values), scale.at(Decimal(0))
    parts = []
    for number, (name, value, words) in enumerate(values):
        at = scale.at(value)
        top, height = _y(max(at, zero)), abs(at - zero) * _HEIGHT
        kind = "gain" if value >= 0 else "loss"
        parts.append(
            f'<rect class="{kind}" x="{(number + 0.15) * slot:.2f}" y="{top:.1f}" width="{0.7 * slot:.2f}" '
            f'height="{height:.1f}"><title>{text(name)}: {text(words)}</title></rect>'
        )
    return "".join(parts) + base_line(zero)


def name_ticks(names: Sequence[str], most: int = 12) -> list[Tick]:
    """Return ticks in the middle of bars, not more than some."""
    every = -(-len(names) // most)
    return [Tick((at + 0.5) / len(names), name) for at, name in enumerate(names) if at % every == 0]
