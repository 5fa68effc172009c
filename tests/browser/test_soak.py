"""A page that is looked at for long does not grow: a few minutes of the campaign of ``tools/faults/soak_page.py``."""

from __future__ import annotations

import sys

import pytest

from tools.faults.soak_page import ALLOWED, Sample, growth, soak


@pytest.mark.skipif(sys.platform != "linux", reason="the memory of a process is read from /proc")
def test_some_minutes_of_a_desk_leave_nothing_behind(browser, own_desk):
    samples = list(soak(browser, own_desk, 12))
    assert growth(samples) == [], samples


def test_what_only_varies_is_no_growth_and_what_rises_is():
    still = Sample(heap_kb=5000, nodes=2000, listeners=300, server_kb=60_000, files=20, threads=12)
    waves = [still._replace(heap_kb=5000 + 900 * (number % 7)) for number in range(30)]
    assert growth(waves) == []
    for name, allowed in ALLOWED._asdict().items():
        rising = [still._replace(**{name: getattr(still, name) + number * allowed}) for number in range(30)]
        assert len(growth(rising)) == 1
