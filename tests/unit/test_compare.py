"""Two pictures side by side: what is a disagreement, and what is only a rounding, a mark or a new ticket."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

import attrs
import pytest

from ledger import PositionReticketed, RemoteAccount, Snapshot, SymbolSpecified
from ledger.reconcile.compare import Drift, Ghost, NewTicket, Zombie, compare, compare_money, price_tolerance, volume_step
from ledger.reconcile.validate import validate
from tests.support.broker import snapshot
from tools.testkit.stories import START_MSC, Story, at, fill


def disagreements(story: Story, shown: Snapshot | str, *, extended: bool = True) -> list[str]:
    """Return what a story and an accepted snapshot disagree about, in words: ``drift #7 volume 1/1.5``."""
    seen = snapshot(shown, extended=extended) if isinstance(shown, str) else shown
    return [in_short(one) for one in compare(story.portfolio, validate(seen, story.portfolio, now_msc=at(3 * 86_400)))]


def in_short(one: Zombie | Ghost | Drift | NewTicket) -> str:
    match one:
        case Drift(_, _, differences):
            fields = ", ".join(f"{each.field} {each.ours}/{each.theirs}" for each in differences)
            return f"drift #{one.position_id} {fields}"
        case NewTicket(ours, theirs):
            return f"ticket #{one.position_id} {ours.ticket}/{theirs.ticket}"
        case _:
            return f"{one.kind.value} #{one.position_id}"


# ------------------------------------------------------------------------------------------------------------- the union


@pytest.mark.parametrize(
    ("recorded", "shown", "found"),
    [
        ("#7 buy 1 @ 10", "#7 long 1 @ 10", []),
        ("#7 buy 1 @ 10", "", ["ghost #7"]),
        ("deposit 1", "#7 long 1 @ 10", ["zombie #7"]),
        ("deposit 1", "", []),
        ("#7 buy 1 @ 10", "#7 long 1.5 @ 10", ["drift #7 volume 1/1.5"]),
        ("#7 buy 1 @ 10", "#7 short 1 @ 10", ["drift #7 side buy/sell"]),
        ("#7 buy 1 @ 10", "#7 long 1 @ 10.1", ["drift #7 price_open 10/10.1"]),
        ("#7 buy 1 @ 10", "#7 long 1 USDJPY @ 10", ["drift #7 symbol EURUSD/USDJPY"]),
        ("#7 buy 1 @ 10", "#7 short 2 USDJPY @ 11",
         ["drift #7 symbol EURUSD/USDJPY, side buy/sell, volume 1/2, price_open 10/11"]),
        ("#7 sell 0.1 @ 10", "#7 short 0.1 @ 10", []),  # side and volume apart: a short is no drift
        ("#11 buy 1 @ 10, #12 sell 2 @ 11", "#12 short 2 @ 11, #11 long 1 @ 10", []),  # in any order
        ("#11 buy 1 @ 10, #12 sell 2 @ 11", "#11 short 2 @ 11, #12 long 1 @ 10",  # siblings are never mistaken for each other
         ["drift #11 side buy/sell, volume 1/2, price_open 10/11", "drift #12 side sell/buy, volume 2/1, price_open 11/10"]),
    ],
)  # fmt: skip
def test_what_two_pictures_disagree_about(recorded, shown, found):
    assert disagreements(Story("hedging").record(recorded), shown) == found


def test_recoveries_come_first_then_ghosts_then_drifts_each_by_position_id():
    story = Story("hedging").record("#5 buy 1 @ 10, #3 buy 1 @ 10, #9 buy 1 @ 10, #1 buy 1 @ 10")
    found = disagreements(story, "#8 long 1 @ 1, #9 long 2 @ 10, #2 long 1 @ 1, #3 long 3 @ 10")
    assert found == ["zombie #2", "zombie #8", "ghost #1", "ghost #5", "drift #3 volume 1/3", "drift #9 volume 1/2"]


def test_marks_are_no_drift():
    story = Story("hedging").record("#7 buy 1 @ 10")
    (row,) = snapshot("#7 long 1 @ 10", extended=True).positions
    marked = attrs.evolve(row, profit=Decimal(-99), swap=Decimal("-3.5"), comment="edited", magic=9, updated_msc=at(9))
    assert disagreements(story, Snapshot(positions=(marked,), raw=b"", is_extended=True)) == []


def test_an_open_price_that_the_broker_does_not_know_is_no_difference():
    story = Story("hedging").record("#7 buy 1 @ 10")
    assert disagreements(story, "#7 long 1 @ ?") == []
    assert disagreements(story, "#7 long 2 @ ?") == ["drift #7 volume 1/2"]


def test_comparing_repairs_nothing():
    story = Story("hedging").record("#7 buy 1 @ 10")
    version, left = story.account.version, story.left
    disagreements(story, "#8 long 1 @ 1")
    assert (story.account.version, story.left) == (version, left)


# ------------------------------------------------------------------------------------------------------------- tolerance


def specified(recorded: str, **spec: object) -> Story:
    story = Story("hedging")
    story.account.record(SymbolSpecified(symbol="EURUSD", time_msc=START_MSC, **spec))  # type: ignore[arg-type]
    return story.record(recorded)


@pytest.mark.parametrize(
    ("theirs", "differs"),
    [("1.009", False), ("0.991", False), ("1.01", True), ("0.99", True), ("1.011", True)],
    ids=["less than a step more", "less than a step less", "one step more", "one step less", "more than a step"],
)
def test_a_volume_differs_from_one_step_on(theirs, differs):
    story = specified("#7 buy 1 @ 10", volume_step="0.01")
    assert disagreements(story, f"#7 long {theirs} @ 10") == ([f"drift #7 volume 1/{theirs}"] if differs else [])


def test_without_a_specification_any_volume_differs():
    story = Story("hedging").record("#7 buy 1 @ 10")
    assert disagreements(story, "#7 long 1.00000001 @ 10") == ["drift #7 volume 1/1.00000001"]
    assert volume_step(story.portfolio.terms, "EURUSD") == 0


@pytest.mark.parametrize(
    ("digits", "theirs", "differs"),
    [
        (2, "10.000005", False),  # half a unit of the fifth decimal exactly
        (2, "9.999995", False),
        (2, "10.00000501", True),
        (2, "9.99999499", True),
        (3, "10.0000005", False),
        (3, "10.00000051", True),
        (5, "10.00000001", True),  # EURUSD: a point is 0.00001, the broker shows eight decimals
        (0, "10.0005", False),
        (0, "10.00050001", True),
        (None, "10.00000001", True),  # not specified: as exact as prices are stored
    ],
)
def test_an_open_price_differs_by_more_than_half_a_unit_of_what_the_broker_shows(digits, theirs, differs):
    story = specified("#7 buy 1 @ 10", digits=digits)
    assert disagreements(story, f"#7 long 1 @ {theirs}") == ([f"drift #7 price_open 10/{theirs}"] if differs else [])


def test_the_price_of_a_symbol_with_many_decimals_is_compared_to_the_last_of_them():
    """A coin at 0.00001234: what would be dirt on a currency pair is fifty units of its last decimal."""
    story = specified("#7 buy 1 @ 0.00001234", digits=11, price_scale=11)
    assert disagreements(story, "#7 long 1 @ 0.0000123405") == ["drift #7 price_open 0.00001234/0.0000123405"]
    assert disagreements(story, "#7 long 1 @ 0.00001234") == []


def test_the_tolerance_of_a_price_comes_from_its_own_symbol():
    story = specified("#7 buy 1 @ 10", digits=2)
    assert price_tolerance(story.portfolio.terms, "EURUSD") == Fraction(1, 200_000)
    assert price_tolerance(story.portfolio.terms, "USDJPY") == Fraction(1, 200_000_000)


@pytest.mark.parametrize(("shown", "differs"), [("1.66667", False), ("1.66666", True), ("1.66668", True)])
def test_an_average_is_compared_before_it_is_rounded(shown, differs):
    story = specified("#7 in buy 1 @ 1, #7 in buy 2 @ 2", digits=2)
    assert bool(disagreements(story, f"#7 long 3 @ {shown}")) is differs


def test_an_average_of_an_unknown_symbol_is_what_the_broker_computed_to_the_last_stored_decimal():
    story = Story("hedging").record("#7 in buy 1 @ 1, #7 in buy 2 @ 2")
    assert disagreements(story, "#7 long 3 @ 1.6666666666666667") == []  # an exchange account shows the bare double


def test_dirt_of_a_double_is_no_difference():
    story = Story("hedging").record("#7 buy 0.3 @ 1.1")
    assert disagreements(story, "#7 long 0.30000000000000004 @ 1.1000000000000001") == []


# --------------------------------------------------------------------------------------------------------------- netting


@pytest.mark.parametrize("mode", ["netting", "exchange"])
def test_an_account_that_nets_is_matched_by_symbol_where_only_tickets_are_recorded(mode):
    story = Story(mode).record("buy 1 @ 10, sell 2 USDJPY @ 150")
    known = {one.symbol: one.position_id for one in story.portfolio.positions.values()}
    found = disagreements(story, "#91 long 1 @ 10, #92 short 3 USDJPY @ 150", extended=False)
    assert found == [
        f"drift #{known['USDJPY']} volume 2/3",
        f"ticket #{known['EURUSD']} {known['EURUSD']}/91",
        f"ticket #{known['USDJPY']} {known['USDJPY']}/92",
    ]


def test_a_net_position_that_turned_is_one_drift():
    story = Story().record("#7 buy 1 @ 10")
    assert disagreements(story, "#7 short 0.5 @ 11") == ["drift #7 side buy/sell, volume 1/0.5, price_open 10/11"]


def test_a_new_identifier_on_an_account_that_nets_is_another_position():
    story = Story().record("#7 buy 1 @ 10")
    assert disagreements(story, "#8 long 1 @ 10") == ["zombie #8", "ghost #7"]


def test_an_identifier_that_was_unknown_is_learned_and_is_no_other_position():
    story = Story().record(fill(1, position_id=None, order=55))
    assert disagreements(story, "#8 long 1 @ 10 ticket 55") == []


# ------------------------------------------------------------------------------------------------------- tickets that change


def test_a_new_ticket_under_the_same_identifier_is_no_break():
    story = Story("hedging").record("#7 buy 1 @ 10")
    assert disagreements(story, "#7 long 1 @ 10 ticket 99") == ["ticket #7 7/99"]


def test_a_new_ticket_may_come_with_a_drift():
    story = Story("hedging").record("#7 buy 1 @ 10")
    assert disagreements(story, "#7 long 2 @ 10 ticket 99") == ["drift #7 volume 1/2", "ticket #7 7/99"]


def test_where_only_tickets_are_recorded_a_position_is_known_by_its_latest_ticket():
    story = Story("hedging").record("#7 buy 1 @ 10")
    story.record(PositionReticketed(position_id=7, symbol="EURUSD", ticket_before=7, ticket_after=99, time_msc=at(50)))
    assert disagreements(story, "#99 long 1 @ 10", extended=False) == []
    assert disagreements(story, "#7 long 1 @ 10 ticket 99") == []


def test_where_only_tickets_are_recorded_one_gone_and_one_like_it_is_a_new_ticket():
    story = Story("hedging").record("#7 buy 1 @ 10, #8 buy 2 @ 10")
    assert disagreements(story, "#99 long 1 @ 10, #8 long 2 @ 10", extended=False) == ["ticket #7 7/99"]


@pytest.mark.parametrize("shown", ["#99 long 1 @ 11", "#99 long 2 @ 10", "#99 short 1 @ 10", "#99 long 1 USDJPY @ 10"])
def test_a_position_that_is_not_like_it_is_another_position(shown):
    story = Story("hedging").record("#7 buy 1 @ 10")
    assert disagreements(story, shown, extended=False) == ["zombie #99", "ghost #7"]


def test_where_several_tickets_would_fit_nothing_is_guessed():
    two = Story("hedging").record("#7 buy 1 @ 10, #8 buy 1 @ 10")
    assert disagreements(two, "#99 long 1 @ 10", extended=False) == ["zombie #99", "ghost #7", "ghost #8"]
    assert disagreements(two, "#98 long 1 @ 10, #99 long 1 @ 10", extended=False) == [
        "zombie #98", "zombie #99", "ghost #7", "ghost #8",
    ]  # fmt: skip
    one = Story("hedging").record("#7 buy 1 @ 10")
    assert disagreements(one, "#98 long 1 @ 10, #99 long 1 @ 10", extended=False) == ["zombie #98", "zombie #99", "ghost #7"]


def test_one_pair_that_is_clear_is_found_beside_one_that_is_not():
    story = Story("hedging").record("#5 buy 3 @ 9, #7 buy 1 @ 10, #8 buy 1 @ 10")
    found = disagreements(story, "#55 long 3 @ 9, #99 long 1 @ 10", extended=False)
    assert found == ["zombie #99", "ghost #7", "ghost #8", "ticket #5 5/55"]


def test_where_identifiers_are_recorded_a_look_alike_is_another_position():
    story = Story("hedging").record("#7 buy 1 @ 10")
    assert disagreements(story, "#99 long 1 @ 10") == ["zombie #99", "ghost #7"]


# ----------------------------------------------------------------------------------------------------------------- money


@pytest.mark.parametrize(
    ("balance", "credit", "differing"),
    [
        ("100", "50", []),
        ("100.005", "50", []),  # half of the last decimal
        ("99.995", "50", []),
        ("100.0051", "50", ["balance 100.00/100.0051"]),
        ("99.99", "50", ["balance 100.00/99.99"]),
        ("100", "0", ["credit 50.00/0.00"]),
        ("90", "60", ["balance 100.00/90.00", "credit 50.00/60.00"]),
    ],
)
def test_money_differs_by_more_than_half_of_the_currency_s_last_decimal(balance, credit, differing):
    story = Story().record("deposit 100, credit 50")
    mode = story.portfolio.terms.opened.mode
    stated = RemoteAccount(login=70113, server="Broker-Live", currency="USD", mode=mode, balance=Decimal(balance),
                           credit=Decimal(credit))  # fmt: skip
    found = compare_money(story.portfolio, stated)
    assert [f"{one.field} {one.ours}/{one.theirs}" for one in found] == differing
