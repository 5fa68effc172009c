"""These fixtures give a test every journal in turn, new and empty; the database of it, and our own clock."""

from __future__ import annotations

import pytest

from ledger import Ledger
from tests.support.journals import DURABLE, KINDS, Clock, Intruder, new_url, open_journal


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture(params=KINDS)
def journal(request, tmp_path, clock):
    url = "memory://" if request.param == "memory" else new_url(request.param, tmp_path)
    journal = open_journal(url, clock)
    yield journal
    journal.close()


@pytest.fixture(params=DURABLE)
def url(request, tmp_path):
    """The URL of a journal that survives its process."""
    return new_url(request.param, tmp_path)


@pytest.fixture
def ledger(url, clock):
    with Ledger.open(url, now_us=clock) as ledger:
        yield ledger


@pytest.fixture
def intruder(url):
    return Intruder(url)
