"""Laws of when an account of a fleet is due, and of how long a gateway is left alone."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.clock import SECOND_US
from ledger.fleet.slots import FAILURES_MAX, next_due_us, retry_us
from ledger.journal.sql.words import account_key
from ledger.values import AccountId

MOMENTS = st.integers(0, 2**52)
KEYS = st.integers(0, 2**63 - 1)
TEN_THOUSAND = [account_key(AccountId("Broker", login)) for login in range(10_000)]
INTERVALS = st.integers(SECOND_US, 86_400 * SECOND_US)


@given(MOMENTS, KEYS, INTERVALS)
def test_an_account_is_due_later_and_within_one_interval(now_us, key, interval_us):
    assert now_us < next_due_us(now_us, key, interval_us) <= now_us + interval_us


@given(MOMENTS, MOMENTS, KEYS, INTERVALS)
def test_the_moments_of_an_account_are_whole_intervals_apart(one_us, other_us, key, interval_us):
    apart_us = next_due_us(one_us, key, interval_us) - next_due_us(other_us, key, interval_us)
    assert apart_us % interval_us == 0


@settings(max_examples=20)
@given(MOMENTS, st.sampled_from([15 * SECOND_US, 60 * SECOND_US]))
def test_ten_thousand_accounts_that_are_synced_at_once_are_due_apart(now_us, interval_us):
    dues = [next_due_us(now_us, key, interval_us) for key in TEN_THOUSAND]
    in_tenths = [0] * 10
    for due_us in dues:
        in_tenths[(due_us - now_us - 1) * 10 // interval_us] += 1
    assert min(in_tenths) > 800
    assert max(in_tenths) < 1_200


@given(MOMENTS, st.integers(0, 10**6))
def test_a_gateway_is_left_alone_after_some_failures_and_never_for_long(now_us, failures):
    until_us = retry_us(now_us, failures)
    if failures < FAILURES_MAX:
        assert until_us is None
    else:
        assert until_us is not None
        assert now_us + SECOND_US <= until_us <= now_us + 30 * SECOND_US
