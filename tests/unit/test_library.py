"""The names that the package gives away."""

from __future__ import annotations

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
