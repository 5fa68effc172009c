"""The same over ``ledger gateway serve``: whoever is killed, the server process, the terminal process or we, nothing is lost.

The service is the real command over a simulated terminal, its two processes are killed for real (SIGKILL), also while a call
blocks the terminal process; the desk is a process of its own, as are its deaths. ``tools/faults/service_machine.py`` runs
many examples.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any, ClassVar, Final

import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule, run_state_machine_as_test

from ledger import AccountId
from ledger.snapshot import PushedEvent
from tests.crash.test_sync_machine import WORK, Market
from tests.support.journals import new_url
from tests.support.machine import RealDesk
from tests.support.served import (
    LOOK,
    SERVED_DEALS,
    SERVED_REFUSED,
    SERVED_ROWS,
    ServedCounter,
    ServedTerminal,
    ServiceProcesses,
    until,
)

#: How many examples of each combination, and steps of each; the campaign asks for more.
EXAMPLES: Final = int(os.environ.get("LEDGER_SERVICE_EXAMPLES", "1"))
STEPS: Final = int(os.environ.get("LEDGER_SERVICE_STEPS", "8"))
TIMEOUT_MS: Final = 5_000
UNANSWERED_MS: Final = 400  # where nobody answers
CALLS: Final = (LOOK, "positions_total")  # of the service's own look at the terminal; of an answer
PROCESSES: Final = ("server process", "terminal process")
DEATHS: Final = (*PROCESSES, "server process in a call", "terminal process in a call", "good order")


class ServedMarket(Market):
    """A market whose terminal is behind a service, and whose desk is a process."""

    faults = (*SERVED_REFUSED, *SERVED_ROWS, *SERVED_DEALS)
    folder: ClassVar[Callable[[], Path]]
    url: ClassVar[Callable[[], str]]
    start: ClassVar[Callable[..., Any]]

    def open(self):
        self.service = ServiceProcesses(type(self).folder(), mode=self.mode)
        self.terminal = ServedTerminal(self.service)
        self.counter = ServedCounter(self.terminal.commands, self.service)
        self.name = AccountId("Sandbox-Demo", 70113)
        self.service.until_ready()
        url, endpoint = type(self).url(), self.service.endpoint
        self.desk = RealDesk(
            lambda: type(self).start(WORK, url, endpoint, str(self.name)), url, self.name, self.terminal, TIMEOUT_MS
        )

    def is_refused(self, known_msc):  # noqa: ARG002  # an old answer is none of these faults
        return self.counter.fault in SERVED_REFUSED or (
            self.counter.fault in SERVED_ROWS and bool(self.terminal.open_positions())
        )

    def is_recorded_whole(self):
        return self.counter.fault in (None, *SERVED_DEALS)

    # ---- what happens to the service

    @rule(death=st.sampled_from(DEATHS), syncs=st.booleans(), startup=st.booleans())
    def a_process_of_the_service_dies(self, death, syncs, startup):
        self.counter.heal()
        with self.terminal.unavailable():
            self.kill(death)
            if syncs:
                self.we_sync_without_a_service(startup)
            self.revive()

    def we_sync_without_a_service(self, startup):
        before = self.look()
        result = self.sync_unanswered(startup)
        assert result.status in ("SUCCESS", "DEGRADED"), result
        if result.status == "DEGRADED":
            assert set(result.kinds) <= {"SyncDegraded"}, result
            assert self.look()["positions"] == before["positions"]
        self.is_whole()

    def sync_unanswered(self, startup):
        self.desk.timeout_ms = UNANSWERED_MS
        try:
            return self.desk.sync(startup=startup)
        finally:
            self.desk.timeout_ms = TIMEOUT_MS

    @rule(call=st.sampled_from(CALLS), killed=st.sampled_from(PROCESSES), startup=st.booleans())
    def a_call_blocks_and_nothing_is_made_up(self, call, killed, startup):
        self.counter.heal()
        before = self.look()
        with self.terminal.unavailable():
            self.terminal.block(call)
            result = self.sync_unanswered(startup)
            assert result.status == "DEGRADED", result
            assert set(result.kinds) <= {"SyncDegraded"}, result
            assert self.look()["positions"] == before["positions"]
            assert self.service.ping()["terminal_process"]["call"] == call
            self.kill(killed)
            self.revive()

    @rule(point=st.integers(0, 4), death=st.sampled_from(DEATHS))
    def a_process_of_the_service_dies_in_a_sync(self, point, death):
        self.counter.heal()
        with self.terminal.unavailable():
            self.desk.timeout_ms = UNANSWERED_MS
            result = self.desk.sync_while(point, lambda: self.kill(death))
            self.desk.timeout_ms = TIMEOUT_MS
            self.revive()
        assert result.status != "FAILED", result
        self.is_whole()

    def kill(self, death):
        if death.endswith("in a call"):
            self.terminal.block(LOOK)
        if death == "good order":
            self.service.end()
        elif death.startswith("server process"):
            self.service.kill_server_process()
        else:
            self.service.kill_terminal_process()

    def revive(self):
        if not self.service.is_running:
            self.service.start()
        self.service.until_ready()

    @precondition(lambda self: self.counter.fault is None)
    @rule()
    def the_books_are_served_whole(self):
        """What the service answers is what the terminal has, whatever was killed before."""
        self.service.until_ready()
        found = {row.position_id for row in self.service.gateway.positions().positions}
        assert found == {one["position_id"] for one in self.terminal.books()["positions"]}

    # ---- the end

    def the_end(self):
        super().the_end()
        events = self.service.pushed()
        assert [event.seq for event in events] == list(range(1, len(events) + 1))
        assert [event.epoch for event in events] == sorted(event.epoch for event in events)

    def teardown(self):
        try:
            super().teardown()
        finally:
            self.terminal.commands.stop()
            self.service.give_back()


COMBINATIONS: Final = pytest.mark.parametrize(
    ("mode", "kind"), [("hedging", "sqlite"), ("hedging", "postgres"), ("netting", "sqlite"), ("netting", "postgres")]
)


@pytest.fixture
def market(start, tmp_path):
    """Return a class of markets: ``market(mode, kind)``; each market has a folder and a journal of its own."""
    numbers = count()

    def folder():
        found = tmp_path / str(next(numbers))
        found.mkdir()
        return found

    def made(mode: str, kind: str) -> type[ServedMarket]:
        class Case(ServedMarket):
            pass

        Case.mode, Case.folder, Case.start = mode, staticmethod(folder), staticmethod(start)
        Case.url = staticmethod(lambda: new_url(kind, folder()))
        return Case

    return made


@COMBINATIONS
def test_a_startup_over_a_service_brings_the_ledger_to_the_books(mode, kind, market):
    run_state_machine_as_test(
        market(mode, kind), settings=settings(max_examples=EXAMPLES, stateful_step_count=STEPS, phases=[Phase.generate])
    )


def test_whoever_dies_the_service_goes_on_where_it_was_and_its_events_arrive_in_order(market):
    served = market("hedging", "sqlite")()
    heard: list[PushedEvent | None] = []
    stream = served.service.gateway.subscribe(heard.append)
    try:
        until(lambda: stream.is_alive, "the push stream")
        served.begin(names_itself=True, deposit=True)
        served.engine_opens("EURUSD", "buy", "0.30", parts=1, recorded=True, bare=False)
        served.a_process_of_the_service_dies("server process", syncs=True, startup=True)
        served.a_person_closes(0, "0.01")
        served.we_sync(startup=True)
        served.a_process_of_the_service_dies("terminal process", syncs=True, startup=False)
        served.a_person_closes(0, "0.01")
        served.a_call_blocks_and_nothing_is_made_up("positions_total", "server process", startup=False)
        served.a_person_trades("USDJPY", "sell", "0.02")
        last = max(served.rows_of_deals)
        until(lambda: any(one and one.kind == "deal" and one.data["ticket"] == last for one in heard), "the last deal")
    finally:
        stream.close()
        served.teardown()
    numbers = [event.seq for event in heard if event is not None]
    assert (heard[0], len(numbers)) == (None, len(heard) - 1), "none was lost after it was heard first"
    assert numbers == list(range(numbers[0], numbers[-1] + 1))


def test_nothing_is_made_up_whenever_a_process_of_the_service_dies_in_a_sync(market):
    served = market("netting", "postgres")()
    served.begin(names_itself=True, deposit=True)
    served.engine_opens("EURUSD", "buy", "0.30", parts=1, recorded=True, bare=False)
    served.a_person_trades("USDJPY", "sell", "0.02")
    for point, death in enumerate(("server process", "terminal process", "terminal process in a call")):
        served.a_process_of_the_service_dies_in_a_sync(point, death)
        served.a_person_closes(0, "0.01")
    served.teardown()


def test_what_the_package_reports_wrongly_changes_nothing(market):
    served = market("netting", "postgres")()
    served.begin(names_itself=True, deposit=True)
    served.engine_opens("EURUSD", "buy", "0.30", parts=1, recorded=True, bare=False)
    served.time_passes(700_000)
    served.we_start_again()
    served.a_person_closes(0, "0.01")
    for number, fault in enumerate(served.faults):
        served.breaks(fault)
        served.we_sync(startup=bool(number % 2))
        served.it_is_well_again()
    served.teardown()
