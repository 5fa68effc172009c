"""Causes: every rule has a case that it decides, what is certain is stated by a record, and nothing is made up."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import attrs
import pytest

from ledger.causes import NOTHING, RULES, Case, Cause, Certainty, DealFact, Twin, find, finding_json
from ledger.events import BreakEnd, BreakKind

OURS, THEIRS, HALF = "buy 1 EURUSD @ 1.1", "sell 1 EURUSD @ 1.1", "buy 0.5 EURUSD @ 1.1"


def deal(**fields: Any) -> DealFact:
    known: dict[str, Any] = {
        "version": 9, "kind": "FillRecorded", "deal": 5001, "position_id": 7, "entry": 1, "volume": Decimal(1),
        "reason": None, "magic": 0, "comment": None, "origin": "recovery", "order": 901, "money": Decimal(4),
        "credit": Decimal(0),
    }  # fmt: skip
    return DealFact(**(known | fields))


def ghost(**fields: Any) -> Case:
    return Case(kind=BreakKind.GHOST, version=8, ours=OURS, **fields)


def zombie(**fields: Any) -> Case:
    return Case(kind=BreakKind.ZOMBIE, version=8, theirs=OURS, **fields)


def drift(**fields: Any) -> Case:
    return Case(kind=BreakKind.DRIFT, version=8, **({"field": "volume", "ours": OURS, "theirs": HALF} | fields))


def balance(**fields: Any) -> Case:
    terms: dict[str, Any] = {"field": "balance", "ours": "100.00", "theirs": "104.00000000000001", "end": BreakEnd.VANISHED}
    return Case(kind=BreakKind.BALANCE, version=8, **(terms | fields))


def other(kind: str, **fields: Any) -> Case:
    return Case(kind=BreakKind(kind), version=8, **fields)


OPENING = {"entry": 0}
TWIN = Twin(9, 8, "EURUSD", "1.1")

#: Rule -> a case that it decides. The rules before it must leave it alone.
DECIDED: list[tuple[str, Case]] = [
    ("flapping", ghost(flaps=3, deals=(deal(reason=0),))),
    ("doubled", zombie(deals=(deal(**OPENING, reason=3, order=77),), doubled={77: 5})),
    ("reason-so", ghost(deals=(deal(reason=6, comment="[sl 1.1]"),))),
    ("reason-sl", ghost(deals=(deal(reason=4),))),
    ("reason-tp", ghost(deals=(deal(reason=5),))),
    ("reason-rollover", ghost(deals=(deal(reason=7),))),
    ("reason-vmargin", ghost(deals=(deal(reason=8),))),
    ("reason-split", drift(deals=(deal(reason=9),))),
    ("engine-late", ghost(deals=(deal(reason=3, origin="engine"),), our_orders=frozenset({901}))),
    ("order-ours", ghost(deals=(deal(reason=3),), our_orders=frozenset({901}))),
    ("expert-other", ghost(deals=(deal(reason=3, magic=8),), magic=7)),
    ("expert-ours", ghost(deals=(deal(reason=3, magic=7),), magic=7)),
    ("expert", ghost(deals=(deal(reason=3, magic=7),))),
    ("manual-part", drift(deals=(deal(reason=2),))),
    ("manual-close", ghost(deals=(deal(reason=0),))),
    ("manual-open", zombie(deals=(deal(**OPENING, reason=1),))),
    ("reason-server", ghost(deals=(deal(reason=14),))),
    ("comment-so", ghost(deals=(deal(comment="[so 49.82%]"),))),
    ("comment-sl", ghost(deals=(deal(comment="[sl 1.08512]"),))),
    ("comment-tp", ghost(deals=(deal(comment="[tp 1.08512]"),))),
    ("bare-part", drift(deals=(deal(),))),
    ("bare-magic", ghost(deals=(deal(magic=7),))),
    ("bare-close", ghost(deals=(deal(),))),
    ("bare-open", zombie(deals=(deal(**OPENING),))),
    ("renamed", drift(field="symbol", theirs="buy 1 EURUSD.r @ 1.1")),
    ("renamed-more", drift(field="volume,symbol", theirs="buy 2 EURUSD.r @ 1.1")),
    ("renamed-twin", ghost(twin=attrs.evolve(TWIN, symbol="EURUSD.r"))),
    ("reopened", ghost(twin=TWIN)),
    ("reopened", ghost(twin=attrs.evolve(TWIN, price="1.2"), is_night=True)),
    ("reopened-day", ghost(twin=attrs.evolve(TWIN, price="1.2"))),
    ("reticketed", ghost(reticketed=(5,))),
    ("undone", ghost(undone=(12,), end=BreakEnd.CORRECTED)),
    ("vanished", ghost(end=BreakEnd.VANISHED)),
    ("part-gone", drift(end=BreakEnd.CORRECTED)),
    ("adopted-program", zombie(magic=7)),
    ("adopted-person", zombie(magic=0)),
    ("degraded", ghost(degraded={4: "timeout"})),
    ("money-exact", balance(deals=(deal(),))),
    ("money-exact", balance(field="credit", deals=(deal(money=Decimal(0), credit=Decimal(4)),))),
    ("money-deals", balance(deals=(deal(money=Decimal(3)),))),
    ("money-withdrawn", balance(withdrawn={7: 5})),
    ("money-withdrawn", balance(withdrawn={7: 5}, end=None)),
    ("money-vanished", balance()),
    ("clock-corrected", other("clock", clock_changed=9, end=BreakEnd.CORRECTED)),
    ("clock", other("clock", field="server_time")),
    ("withdrawn", other("withdrawn", end=BreakEnd.ACCEPTED)),
    ("listed-again", other("withdrawn", end=BreakEnd.VANISHED)),
    ("not-listed", other("withdrawn", confirmations=2)),
    ("not-listed-once", other("withdrawn")),
    ("overfill", other("order", field="overfill")),
    ("orphan", other("order", field="orphan")),
    ("order-late", other("order", field="late_fill")),
    ("order-again", other("order", field="missing", end=BreakEnd.EXPLAINED)),
    ("stops", other("stops", field="missing")),
    ("gateway", Case(about="degraded", version=8, degraded={8: "timeout"})),
    ("ticket-night", Case(about="ticket", version=8, is_night=True)),
    ("ticket", Case(about="ticket", version=8)),
    ("history-begins", Case(about="close", version=8, deals=(deal(),), is_first_known=True)),
    ("opening-missing", Case(about="close", version=8, deals=(deal(),))),
]


@pytest.mark.parametrize(("name", "case"), DECIDED, ids=lambda one: one if isinstance(one, str) else "")
def test_each_rule_decides_its_case_and_names_what_supports_it(name, case):
    found = find(case)
    rule = next(one for one in RULES if one.name == name)
    assert (found.rule, found.cause, found.certainty) == (name, rule.cause, rule.certainty)
    assert found.because
    recorded = {case.version, *case.degraded, *case.undone, *case.reticketed, *case.doubled.values(), case.clock_changed}
    recorded |= set(case.withdrawn)
    recorded |= {one.version for one in case.deals} | {case.twin.version if case.twin else None}
    assert {one.version for one in found.because} <= recorded


def test_every_rule_is_tried_here_once_and_states_itself_in_a_sentence():
    names = [rule.name for rule in RULES]
    assert sorted(names) == sorted({name for name, _ in DECIDED})
    assert len(set(names)) == len(names)
    assert all(rule.when.endswith(".") and rule.when[0].isupper() for rule in RULES)
    assert all(rule.certainty is not Certainty.UNKNOWN for rule in RULES)


@pytest.mark.parametrize(
    "case",
    [
        ghost(),
        ghost(end=BreakEnd.CORRECTED),
        zombie(),
        drift(field="side", theirs=THEIRS),
        balance(end=None),
        balance(end=BreakEnd.ACCEPTED, deals=(deal(),)),
        other("order", field="missing"),
        ghost(deals=(deal(**OPENING, reason=0),)),  # what opens a position does not close it
        Case(about="none", version=8),
    ],
)
def test_what_nothing_supports_is_unknown(case):
    assert find(case) == NOTHING
    assert finding_json(NOTHING) == {"cause": "unknown", "certainty": "unknown", "because": []}


def test_a_flapping_break_that_deals_explained_is_what_the_deals_state():
    assert find(ghost(flaps=3, end=BreakEnd.EXPLAINED, deals=(deal(reason=0),))).cause is Cause.CLOSED_MANUALLY


def test_people_read_how_sure_a_cause_is():
    words = [find(case).words for _, case in DECIDED[:1]] + [find(zombie(magic=7)).words, NOTHING.words]
    assert [*words, find(ghost(undone=(9,))).words] == [
        "flapping",
        "possibly missed fill",
        "cause unknown",
        "likely gateway fault",
    ]
    found = finding_json(find(ghost(deals=(deal(reason=6, comment="[so 49%]"),))))
    assert (found["cause"], found["certainty"]) == ("stop-out", "certain")
    assert found["because"] == [{"version": 9, "kind": "FillRecorded", "deal": 5001, "what": 'reason so, comment "[so 49%]"'}]
