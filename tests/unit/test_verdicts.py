"""Verdicts: every code that MetaTrader 5 lists, and what none lists, for every kind of order."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.events.orders import OrderKind, Verdict
from ledger.orders.verdicts import ProcessLost, SendError, SendRaised, SendResult, judge

#: As the contract lists them.
ACCEPTED = {10008, 10009, 10010}
REJECTED = {
    10004, 10006, 10013, 10014, 10015, 10016, 10017, 10018, 10019, 10020, 10021, 10022, 10024, 10026, 10027, 10029, 10030,
    10032, 10033, 10034, 10035, 10036, 10038, 10040, 10041, 10042, 10043, 10044, 10045,
}  # fmt: skip
UNKNOWN = {10007, 10011, 10012, 10023, 10028, 10031, 10037, 10039, 10046, 10005, 10003, 0, -1, 1, 2**31, 99999}
ANY_KIND = st.sampled_from(OrderKind)


def expected(code: int, kind: OrderKind) -> Verdict:
    if code == 10025:
        return Verdict.NO_CHANGE if kind in (OrderKind.STOPS, OrderKind.MODIFY) else Verdict.UNKNOWN
    return Verdict.ACCEPTED if code in ACCEPTED else Verdict.REJECTED if code in REJECTED else Verdict.UNKNOWN


@pytest.mark.parametrize("kind", OrderKind)
def test_every_code_of_a_result_without_an_order(kind):
    codes = {*range(10003, 10047), *UNKNOWN}
    assert {code: judge(SendResult(code, 0, 0, 0.0), kind) for code in codes} == {code: expected(code, kind) for code in codes}


@given(ANY_KIND, st.sampled_from(sorted(REJECTED)), st.sampled_from(["order", "deal", "volume"]), st.integers(1, 2**62))
def test_a_rejection_that_names_an_order_a_deal_or_a_volume_is_unknown(kind, code, name, value):
    assert judge(SendResult(code, **{name: value}), kind) is Verdict.UNKNOWN


@given(ANY_KIND, st.sampled_from(sorted(REJECTED)), st.sampled_from([None, "0", True, False, float("nan"), b"", -1]))
def test_a_rejection_with_something_that_is_no_zero_is_unknown(kind, code, value):
    assert judge(SendResult(code, order=value), kind) is Verdict.UNKNOWN


@given(ANY_KIND, st.sampled_from([None, "10009", 10009.0, True, "", b"x", [10009]]))
def test_a_code_that_is_no_whole_number_is_unknown(kind, code):
    assert judge(SendResult(code), kind) is Verdict.UNKNOWN


@given(ANY_KIND, st.integers().filter(lambda code: code not in ACCEPTED | REJECTED | {10025}))
def test_a_code_that_nobody_lists_is_unknown(kind, code):
    assert judge(SendResult(code), kind) is Verdict.UNKNOWN


@pytest.mark.parametrize("kind", OrderKind)
@pytest.mark.parametrize(
    ("code", "text", "verdict"),
    [
        (-2, 'Invalid "comment" argument', Verdict.NOT_SENT),
        (-2, "Unnamed arguments not allowed", Verdict.NOT_SENT),
        (-2, "Terminal: Invalid params", Verdict.UNKNOWN),
        (-2, "", Verdict.UNKNOWN),
        (-1, "Invalid arguments", Verdict.UNKNOWN),
        *(
            (code, "whatever", Verdict.UNKNOWN)
            for code in (-1, -3, -5, -8, -10000, -10001, -10002, -10003, -10004, -10005, 1, 0)
        ),
    ],
)
def test_none_is_not_sent_only_with_a_text_of_the_package_itself(kind, code, text, verdict):
    assert judge(SendError(code, text), kind) is verdict


@given(ANY_KIND, st.sampled_from(["TypeError", "ValueError", "ConnectionError", "EOFError", "OSError", "RuntimeError", ""]))
def test_any_exception_but_a_systemerror_is_unknown(kind, name):
    assert judge(SendRaised("SystemError"), kind) is Verdict.NOT_SENT
    assert judge(SendRaised(name), kind) is Verdict.UNKNOWN


@pytest.mark.parametrize("kind", OrderKind)
def test_of_a_process_that_ended_nothing_is_known(kind):
    assert judge(ProcessLost(), kind) is Verdict.UNKNOWN
