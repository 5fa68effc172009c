"""The names that the package gives away."""

from __future__ import annotations

from datetime import UTC, date, datetime

import pytest

import ledger


def test_what_type_checkers_read_is_what_is_there():
    assert ledger.__all__ == sorted(ledger._HOME_OF)


@pytest.mark.parametrize("name", ledger.__all__)
def test_every_name_is_loaded_when_it_is_used(name):
    assert getattr(ledger, name) is not None


def test_another_name_is_none_of_the_package():
    with pytest.raises(AttributeError, match="Ledgerr"):
        _ = ledger.Ledgerr


def test_a_moment_may_be_a_date_a_datetime_or_text():
    with ledger.Ledger.open("memory://") as opened:
        account = opened.account("Broker-Live", 1)
        account.open(currency="USD", mode="hedging")
        account.record(ledger.CashMoved(deal=1, type=2, profit=100, time_msc=1_704_153_600_000))  # 2024-01-02 00:00
        moments: list[str | date] = ["2024-01-02", date(2024, 1, 2), datetime(2024, 1, 2, tzinfo=UTC)]
        assert [account.replay(until=moment).balance for moment in moments] == [100, 100, 100]
        assert account.replay(until=date(2024, 1, 1)).balance == 0
        known_at = list(account.events())[-1].recorded_at
        assert account.replay(known_at=known_at).balance == 100
