"""Given, when, expected: every row of the project's list of scenarios, and the tests that cover it.

The list was collected from what trading systems test and what their users reported. Rows keep their numbers; a number that
is missing here was dropped from the list. Those of the design of orders are in test_order_scenarios.py.
"""

from __future__ import annotations

from typing import Any, Final

import pytest

from ledger import Adjusted, BadValue
from tests.support.broker import Desk
from tests.support.listed import require_tests
from tools.testkit.stories import at, cash, fill

#: row -> (what it is about, the tests that cover it).
COVERED: Final[dict[int, tuple[str, tuple[str, ...]]]] = {
    # positions and money
    1: ("one buy from flat", ("unit/test_portfolio.py::test_what_fills_leave_behind",
                              "unit/test_portfolio.py::test_the_balance_is_the_sum_of_all_money")),
    2: ("adding averages exactly", ("unit/test_portfolio.py::test_what_fills_leave_behind",)),
    3: ("reducing leaves the open price", ("unit/test_portfolio.py::test_what_fills_leave_behind",)),
    4: ("closing ends the trade and stores it", ("unit/test_portfolio.py::test_what_fills_leave_behind",
                                               "property/test_fold.py::test_every_round_trip_that_ended_is_one_complete_trade")),
    5: ("a reversal is two trades and one deal",
        ("unit/test_portfolio.py::test_a_reversal_is_one_deal_in_two_trades_of_one_position_id",)),
    6: ("a reversal recorded again", ("unit/test_portfolio.py::test_a_reversal_recorded_twice_is_still_one_deal",)),
    7: ("a new trade after flat", ("unit/test_portfolio.py::test_what_fills_leave_behind",
                                  "unit/test_portfolio.py::test_the_balance_is_the_sum_of_all_money")),
    8: ("hedging: only the one that was reduced",
        ("unit/test_portfolio.py::test_what_fills_leave_behind_on_a_hedging_account",)),
    9: ("closing more than there is never turns a position",
        ("unit/test_portfolio.py::test_what_fills_leave_behind_on_a_hedging_account",)),
    10: ("a late close of what is flat opens nothing",
         ("unit/test_portfolio.py::test_what_fills_leave_behind_on_a_hedging_account",
          "unit/test_portfolio.py::test_what_late_history_leaves_behind")),
    11: ("no volume, no position", ("unit/test_portfolio.py::test_cash_with_a_volume_and_an_entry_is_no_position",
                                    "unit/test_portfolio.py::test_every_kind_of_cash_counts_and_is_stored",
                                    "unit/test_scenarios.py::test_a_fill_without_volume_is_none")),
    12: ("a deal recorded twice", ("contract/test_journal.py::test_a_deal_recorded_twice_changes_nothing",
                                   "unit/test_admission.py::test_an_event_recorded_twice_is_stored_once")),
    13: ("a deal recorded with other content",
         ("unit/test_admission.py::test_other_content_is_a_conflict_and_what_we_had_stays",
          "contract/test_journal.py::test_a_revision_replaces_what_was_recorded",
          "unit/test_reconciler.py::test_a_deal_that_the_broker_shows_otherwise_is_revised")),
    16: ("commission of a round trip", ("unit/test_portfolio.py::test_the_balance_is_the_sum_of_all_money",)),
    89: ("money that is recorded later", ("unit/test_portfolio.py::test_a_completion_counts_money_and_moves_no_volume",
                                          "unit/test_reconciler.py::test_deals_that_the_engine_recorded_poorly_are_completed")),
    90: ("recorded later, with other content",
         ("unit/test_admission.py::test_other_content_is_a_conflict_and_what_we_had_stays",)),
    # starting and adopting
    18: ("an empty ledger adopts", ("unit/test_reconciler.py::test_an_empty_ledger_adopts_what_the_broker_has",
                                    "unit/test_decide.py::test_what_was_adopted_of_others_keeps_its_magic_number")),
    19: ("a warm restart", ("unit/test_reconciler.py::test_a_warm_restart_in_agreement_writes_nothing",
                            "unit/test_identity.py::test_the_first_answer_that_states_login_and_server_is_recorded_once")),
    # differences and what explains them
    20: ("a missing deal is applied",
         ("unit/test_reconciler.py::test_a_fill_that_was_lost_is_booked_and_nothing_is_corrected",)),
    21: ("more at the broker, no deals", ("unit/test_decide.py::test_a_drift_is_corrected_at_once_and_states_before_and_after",
                                          "unit/test_reconciler.py::test_no_deals_and_no_error_is_an_answer")),
    22: ("less at the broker, no deals", ("unit/test_reconciler.py::test_the_portfolio_is_what_the_broker_shows",)),
    23: ("netting, the other side",
         ("unit/test_reconciler.py::test_a_net_position_that_turned_is_one_correction_and_the_next_sync_is_quiet",)),
    24: ("no open price", ("unit/test_decide.py::test_an_open_price_that_is_not_known_is_not_made_up",)),
    25: ("gone, with its closing deal",
         ("unit/test_reconciler.py::test_a_ghost_is_explained_by_its_closing_deal_with_its_result",)),
    26: ("gone, no deal yet",
         ("unit/test_reconciler.py::test_a_sync_takes_one_snapshot_and_leaves_the_ghost_to_the_next",)),
    27: ("gone for good, no deal", ("unit/test_decide.py::test_a_ghost_waits_for_as_many_snapshots_as_the_policy_states",
                                    "unit/test_reconciler.py::test_every_correction_has_the_broker_s_own_answer_as_evidence")),
    # answers that must be refused
    28: ("nothing, a timeout, an error", ("unit/test_reconciler.py::test_an_error_is_never_an_empty_list",)),
    29: ("one of two accounts fails",
         ("unit/test_reconciler.py::test_of_two_accounts_only_the_one_that_fails_is_left_out",)),
    30: ("fewer rows than stated",
         ("unit/test_validate.py::test_what_is_of_somebody_else_or_not_whole_is_refused_with_both_sides",
          "unit/test_reconciler.py::test_a_refused_snapshot_changes_nothing_but_the_state")),
    32: ("a fill of two seconds ago", ("unit/test_reconciler.py::test_a_fill_of_a_moment_ago_is_left_for_the_next_sync",
                                       "unit/test_reconciler.py::test_a_fill_has_settled_after_the_time_of_the_policy")),
    33: ("a fill during the query", ("unit/test_reconciler.py::test_a_fill_that_arrives_during_the_query_is_not_undone",
                                     "unit/test_reconciler.py::test_a_fill_that_explains_a_difference_during_the_query_ends_it")),
    # tolerance
    34: ("less than a volume step", ("unit/test_compare.py::test_a_volume_differs_from_one_step_on",)),
    35: ("nothing at the symbol's precision",
         ("unit/test_compare.py::test_an_open_price_differs_by_more_than_half_a_unit_of_what_the_broker_shows",)),
    36: ("exactly one step", ("unit/test_compare.py::test_a_volume_differs_from_one_step_on",)),
    37: ("no specification", ("unit/test_compare.py::test_without_a_specification_any_volume_differs",
                              "unit/test_compare.py::test_an_average_of_an_unknown_symbol_is_what_the_broker_computed_to_the_last"
                              "_stored_decimal")),
    38: ("the open price alone", ("unit/test_compare.py::test_what_two_pictures_disagree_about",
                                  "unit/test_naive_defects.py::test_6_a_price_that_differs_is_corrected_and_then_agrees")),
    # staying in agreement
    39: ("a short for a hundred syncs", ("unit/test_reconciler.py::test_a_hundred_syncs_in_agreement_write_nothing",)),
    40: ("two tickets for a hundred syncs", ("unit/test_reconciler.py::test_a_hundred_syncs_in_agreement_write_nothing",)),
    41: ("one of two closes", ("unit/test_reconciler.py::test_the_portfolio_is_what_the_broker_shows",
                               "unit/test_naive_defects.py::test_7_one_ghost_closes_nothing_else")),
    42: ("the same correction twice", ("unit/test_decide.py::test_the_same_decision_appended_twice_is_all_duplicates",
                                       "unit/test_reconciler.py::test_startup_recovery_run_twice_is_run_once")),
    # late and missing history
    45: ("the deal of a correction comes late",
         ("unit/test_reconciler.py::test_a_deal_that_comes_after_its_correction_counts_its_money_and_not_its_volume",
          "unit/test_portfolio.py::test_money_of_a_late_deal_counts_and_its_volume_does_not")),
    46: ("the closing deal of a ghost comes late",
         ("unit/test_portfolio.py::test_a_ghost_gets_its_result_from_the_deal_and_both_events_stay",
          "unit/test_reconciler.py::test_what_is_unexplained_is_looked_for_further_back")),
    47: ("a history that starts after the opening",
         ("unit/test_portfolio.py::test_a_close_without_an_opening_is_a_trade_from_before_the_history",)),
    50: ("another symbol stays as it is",
         ("unit/test_reconciler.py::test_a_correction_of_one_position_leaves_the_others_as_they_are",)),
    51: ("five reversals of one moment",
         ("unit/test_portfolio.py::test_five_reversals_in_one_second_are_found_in_the_order_of_their_tickets",)),
    52: ("a fill before what it is about",
         ("property/test_fold.py::test_recording_twice_shuffled_late_and_in_batches_equals_recording_once",
          "unit/test_portfolio.py::test_a_position_without_an_id_is_known_by_its_order_until_the_id_is_recorded")),
    53: ("shuffled and recorded twice", (
         "property/test_fold.py::test_recording_twice_shuffled_late_and_in_batches_equals_recording_once",)),
    # policy and people
    54: ("report only", ("unit/test_decide.py::test_a_kind_that_is_only_reported_opens_a_break_and_nothing_more",
                         "property/test_reconcile.py::test_whatever_is_only_reported_changes_no_position")),
    55: ("positions of others", ("unit/test_decide.py::test_positions_of_others_are_adopted_reported_or_ignored",
                                 "unit/test_decide.py::test_ghosts_and_drifts_of_others_are_recognised_by_their_magic_number")),
    57: ("the server's clock and its changes",
         ("unit/test_reconciler.py::test_deals_are_asked_for_by_the_server_s_clock_with_a_margin_on_both_sides",
          "unit/test_reconciler.py::test_the_hour_that_a_clock_shows_twice_loses_no_deal_and_counts_none_twice")),
    58: ("unresolved three times",
         ("unit/test_reconciler.py::test_what_a_terminal_undoes_again_and_again_is_left_to_people_in_the_end",
          "unit/test_decide.py::test_a_correction_that_does_not_help_counts_an_attempt_and_is_left_to_people_in_the_end")),
    59: ("it clears", ("unit/test_reconciler.py::test_a_break_that_was_left_to_people_is_corrected_again_once_it_cleared",
                       "unit/test_decide.py::test_what_clears_is_closed_and_counted_anew")),
    # time and connection
    61: ("a call that hangs", ("unit/test_naive_defects.py::test_14_after_a_timeout_the_next_call_works",
                               "unit/test_reconciler.py::test_the_interval_holds_after_failures_too")),
    63: ("the connection came back", ("unit/test_reconciler.py::test_a_connection_that_came_back_is_followed_at_once",
                                      "unit/test_reconciler.py::test_trading_is_not_safe_while_the_gateway_is_silent")),
    # orders
    64: ("the reply to an order times out", ("unit/test_order_manager.py::test_no_answer_is_unknown_and_never_rejected",)),
    65: ("not found once", ("unit/test_orders_reconciled.py"
                            "::test_an_order_in_neither_list_is_missing_after_three_lookups_and_may_still_fill",)),
    66: ("cancelled, then filled", ("unit/test_order_scenarios.py::test_a_deal_of_an_order_that_is_done_counts",
                                    "unit/test_orders_reconciled.py"
                                    "::test_a_late_fill_counts_and_is_a_break_until_the_record_shows_it")),
    67: ("a part is filled, the rest is gone",
         ("unit/test_order_scenarios.py::test_what_was_filled_of_an_order_that_is_gone_stays",)),
    68: ("more deals than ordered", ("unit/test_orders_reconciled.py"
                                     "::test_deals_beyond_the_volume_are_a_break_and_the_position_follows_them",)),
    69: ("less at the broker than our deals",
         ("unit/test_orders_reconciled.py::test_a_record_with_less_than_our_deals_is_a_break_and_no_negative_fill",)),
    # cash
    70: ("a stop-out", ("unit/test_reconciler.py::test_a_stop_out_is_booked_in_one_sync_with_its_cash",)),
    71: ("cash right after a fill",
         ("unit/test_reconciler.py::test_money_right_after_a_fill_is_not_trusted_and_looked_at_again",)),
    72: ("no deals is an answer, an error is none",
         ("unit/test_reconciler.py::test_no_deals_and_no_error_is_an_answer",
          "unit/test_reconciler.py::test_an_error_about_deals_holds_corrections_and_is_given_up_after_some_syncs")),
    # identity, clocks and files
    91: ("an answer without the identity that was seen",
         ("unit/test_identity.py::test_another_program_on_the_port_is_refused_however_often_it_answers",
          "property/test_reconcile.py::test_a_refused_answer_changes_nothing_but_the_state")),
    92: ("a server clock that is far ahead",
         ("unit/test_contained.py::test_a_server_clock_far_ahead_stamps_nothing_and_holds_corrections",
          "unit/test_contained.py::test_a_clock_that_is_wrong_again_opens_a_break_again")),
    93: ("a server clock that is stopped",
         ("unit/test_contained.py::test_a_clock_that_is_stopped_over_the_weekend_makes_nothing_stale",)),
    94: ("what an assertion contains",
         ("unit/test_contained.py::test_a_fill_in_the_second_of_the_start_up_sync_counts",
          "unit/test_contained.py::test_an_opening_deal_that_the_history_shows_late_does_not_count_its_volume_twice",
          "unit/test_contained.py::test_a_ghost_contains_every_close_whatever_its_time",
          "property/test_assertions.py::test_every_order_of_delivery_ends_with_the_broker_s_books")),
    95: ("the hour that is shown twice",
         ("unit/test_contained.py::test_a_position_closed_after_the_clock_went_back_is_flat",
          "unit/test_contained.py::test_a_replay_until_a_moment_in_the_repeated_hour_follows_the_tickets",
          "property/test_assertions.py"
          "::test_clocks_that_lead_or_lag_and_histories_that_lag_are_healed_by_one_more_sync")),
    96: ("a renamed symbol on a netting account",
         ("unit/test_contained.py::test_a_closing_deal_under_a_renamed_symbol_closes_the_position",
          "unit/test_contained.py::test_a_renamed_symbol_is_one_drift_in_a_sync")),
    97: ("a position that flaps",
         ("unit/test_flapping.py::test_what_flaps_is_left_to_people_with_few_events_and_is_not_safe",
          "property/test_flapping_property.py"
          "::test_whatever_flaps_appends_few_events_is_not_safe_meanwhile_and_ends_when_it_settles")),
    98: ("a deal that is not listed any more",
         ("unit/test_withdrawals.py::test_a_deal_that_is_not_listed_any_more_is_reported_and_nothing_changes",
          "unit/test_withdrawals.py::test_a_person_records_the_withdrawal_with_who_and_why",
          "unit/test_withdrawals.py::test_a_policy_that_adopts_records_the_withdrawal",
          "property/test_withdrawals_property.py::test_what_is_left_of_the_broker_s_deals_is_what_counts")),
    99: ("seconds instead of milliseconds",
         ("unit/test_plausible.py::test_a_fact_at_a_time_that_cannot_be_is_refused_and_the_cause_is_named",)),
    # journal and replay
    75: ("killed after the append", ("crash/test_kill.py::test_every_acknowledged_deal_survives_a_kill",)),
    76: ("killed before the commit", ("crash/test_kill.py::test_a_bulk_append_is_there_whole_or_not_at_all",)),
    77: ("a torn tail", ("contract/test_verify.py::test_what_is_before_a_torn_page_stays_readable",
                         "crash/test_faults.py::test_power_losses_lose_nothing")),
    78: ("one flipped byte", ("contract/test_verify.py::test_a_flipped_byte_in_the_file_is_named",
                              "contract/test_verify.py::test_the_program_exits_1")),
    79: ("a missing or swapped event", ("contract/test_verify.py::test_a_missing_event_is_named",
                                        "contract/test_verify.py::test_swapped_events_are_named")),
    80: ("a checkpoint that is ahead or damaged",
         ("contract/test_checkpoints.py::test_a_checkpoint_of_another_history_is_left_aside",
          "contract/test_checkpoints.py::test_a_damaged_checkpoint_is_left_aside_and_verify_names_it")),
    81: ("a checkpoint and the rest",
         ("property/test_checkpoints.py::test_a_replay_from_a_checkpoint_is_a_replay_from_the_start",
          "property/test_checkpoints.py::test_every_checkpoint_serves_every_selection_or_none")),
    83: ("replay asks nobody", ("unit/test_scenarios.py::test_a_replay_asks_no_broker_and_no_clock",
                                "meta/test_imports_point_down.py::test_a_module_uses_only_what_is_below_it")),
    84: ("a full disk", ("contract/test_connect.py::test_a_full_sqlite_database_appends_nothing_and_is_reported",
                         "unit/test_reconciler.py::test_a_journal_that_refuses_is_a_failure_and_not_a_broker_without_positions")),
    85: ("two processes", ("crash/test_two_processes.py::test_of_several_decisions_on_one_version_exactly_one_wins",
                           "unit/test_reconciler.py::test_two_reconcilers_of_one_account_correct_once")),
    86: ("a person's correction", ("unit/test_scenarios.py::test_a_person_s_correction_states_who_and_why",
                                   "unit/test_portfolio.py::test_a_person_adds_changes_and_removes_a_position")),
    88: ("what is not an event does not exist", ("contract/test_journal.py::test_the_account_terms_are_known_at_every_version",
                                                 "unit/test_reconciler.py::test_what_the_broker_states_of_its_symbols_is_recorded_once")),
}  # fmt: skip

#: The numbers of the list.
ROWS: Final = {
    *range(1, 14), 16, *range(18, 31), 32, 33, *range(34, 43), 45, 46, 47, *range(50, 56), *range(57, 60), 61, 63,
    *range(64, 73), *range(75, 82), *range(83, 87), *range(88, 100),
}  # fmt: skip


@pytest.mark.parametrize("row", sorted(COVERED))
def test_the_tests_of_a_scenario_exist(row):
    meaning, tests = COVERED[row]
    assert meaning
    require_tests(tests)


def test_every_scenario_has_tests():
    assert COVERED.keys() == ROWS


# ------------------------------------------------------------------------------------------ what no other file covers


def test_a_fill_without_volume_is_none():
    with pytest.raises(BadValue, match="more than 0"):
        fill(1, volume=0)
    assert cash(1, volume=0).volume == 0


def test_a_replay_asks_no_broker_and_no_clock():
    desk = Desk("#7 buy 1 @ 10", "#7 long 2 @ 10, #8 long 1 @ 10", extended=True)
    desk.startup()
    asked, now_us, version = len(desk.broker.calls), desk.watch.now_us, desk.account.version
    for number in range(version + 1):
        desk.account.replay(version=number)
    assert desk.account.replay().positions == desk.account.portfolio.positions
    assert (len(desk.broker.calls), desk.watch.now_us, desk.account.version) == (asked, now_us, version)


@pytest.mark.parametrize("output", [{"operator": " ", "reason": "checked"}, {"operator": "mk", "reason": ""}])
def test_a_person_s_correction_states_who_and_why(output):
    fields: dict[str, Any] = {"time_msc": at(1), "balance_before": 1, "balance_after": 2, **output}
    with pytest.raises(BadValue, match="must be given"):
        Adjusted(**fields)
