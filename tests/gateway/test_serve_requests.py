"""The store's requests: a state machine over the real database, with starts, full disks and clocks that jump."""

from __future__ import annotations

import sqlite3
import tempfile
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, multiple, rule

from ledger.gateway.serve.requests import STEPS, STORED_MSC, VALID_MAX_MSC
from ledger.gateway.serve.store import Store
from ledger.order_messages import RequestState

IDS = [f"id-{number}" for number in range(4)]
#: The steps of the contract, written out once more: a table that grew by mistake is noticed.
LISTED = {
    ("received", "sending"), ("received", "fenced"), ("sending", "answered"), ("sending", "unresolved"),
    ("unresolved", "answered"),
}  # fmt: skip
CLIENT_IDS = st.sampled_from(IDS)
TOKEN = "LAAAAAAAAAAAAAAAAAAA"  # noqa: S105  # no secret
VALID_MSC = st.sampled_from([1, 5_000, VALID_MAX_MSC])
JUMPS_MSC = st.sampled_from([1, 1_000, 60_000, -60_000, 86_400_000, STORED_MSC + 1, -STORED_MSC - 86_400_000])


class RequestsMachine(RuleBasedStateMachine):
    """Whatever happens: an id is sent once at most, and never once it was fenced."""

    messages = Bundle("messages")  # client id and until when it is valid: every message may come again at any time

    def __init__(self) -> None:
        super().__init__()
        self._folder = tempfile.TemporaryDirectory()
        self._path = Path(self._folder.name) / "gateway.db"
        self.now = 10 * STORED_MSC
        self.store = Store.open(self._path, utc_msc=self.now)
        self.sent: dict[str, int] = dict.fromkeys(IDS, 0)
        self.fenced: set[str] = set()
        self.seen: dict[str, RequestState] = {}

    def teardown(self) -> None:
        self.store.close()
        self._folder.cleanup()

    @initialize(target=messages, client_ids=st.lists(CLIENT_IDS, min_size=1, max_size=3), valid=VALID_MSC)
    def write_messages(self, client_ids: list[str], valid: int) -> object:
        return multiple(*((client_id, self.now + valid) for client_id in client_ids))

    @rule(target=messages, client_id=CLIENT_IDS, valid=VALID_MSC)
    def write_message(self, client_id: str, valid: int) -> object:
        return client_id, self.now + valid

    @rule(message=messages, is_cut_off=st.booleans())
    def arrive(self, message: tuple[str, int], is_cut_off: bool) -> None:
        """A message arrives: received, then being sent, then the call. The process may end between the two."""
        client_id, valid_until = message
        if valid_until <= self.now or valid_until > self.now + VALID_MAX_MSC:
            return
        requests = self.store.requests
        is_new = requests.receive(client_id, digest="d", content="{}", token=client_id, valid_until=valid_until, now=self.now)
        if is_cut_off or not is_new:
            return
        if requests.begin(client_id, now=self.now, server_msc=None):
            assert client_id not in self.fenced
            self.sent[client_id] += 1

    @rule(client_id=CLIENT_IDS)
    def begin_again(self, client_id: str) -> None:
        if self.store.requests.begin(client_id, now=self.now, server_msc=None):
            self.sent[client_id] += 1

    @rule(client_id=CLIENT_IDS)
    def ask_with_fence(self, client_id: str) -> None:
        requests = self.store.requests
        requests.fence(client_id, token=client_id, by="status", now=self.now)
        requests.fence_received(client_id, by="status")
        row = requests.find(client_id)
        assert row is not None
        if row.state is RequestState.FENCED:
            assert self.sent[client_id] == 0
            self.fenced.add(client_id)

    @rule(client_id=CLIENT_IDS, step=st.sampled_from(["answer", "leave", "resolve"]))
    def finish(self, client_id: str, step: str) -> None:
        getattr(self.store.requests, step)(client_id, {"verdict": step}, now=self.now)

    @rule(jump=JUMPS_MSC)
    def jump(self, jump: int) -> None:
        self.now = max(0, self.now + jump)

    @rule()
    def prune(self) -> None:
        self.store.requests.prune(self.now)
        self.seen = {client_id: state for client_id, state in self.seen.items() if self.store.requests.find(client_id)}

    @rule()
    def start_again(self) -> None:
        self.store.close()
        self.store = Store.open(self._path, utc_msc=self.now)
        self.seen = {client_id: state for client_id, state in self.seen.items() if self.store.requests.find(client_id)}
        states = {row.state for row in map(self.store.requests.find, IDS) if row is not None}
        assert not states & {RequestState.RECEIVED, RequestState.SENDING}

    @invariant()
    def every_id_is_sent_once_at_most(self) -> None:
        assert max(self.sent.values()) <= 1

    @invariant()
    def no_step_leads_back(self) -> None:
        for client_id in IDS:
            row = self.store.requests.find(client_id)
            if row is None:
                assert client_id not in self.seen
                continue
            before = self.seen.get(client_id, row.state)
            reachable = {before}
            for _ in STEPS:
                reachable |= {after for state in reachable for after in STEPS[state]}
            assert row.state in reachable
            if row.state in (RequestState.SENDING, RequestState.ANSWERED, RequestState.UNRESOLVED):
                assert self.sent[client_id] == 1
            self.seen[client_id] = row.state


RequestsMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)
TestRequests = RequestsMachine.TestCase


@pytest.fixture
def store(tmp_path):
    store = Store.open(tmp_path / "gateway.db", utc_msc=1)
    yield store
    store.close()


@pytest.mark.parametrize("before", RequestState)
@pytest.mark.parametrize("after", RequestState)
def test_the_database_itself_refuses_every_step_that_is_not_listed(store, before, after):
    if RequestState.NEVER in (before, after) or before is after:
        return
    reach(store, before)
    statement = "UPDATE requests SET state = ? WHERE client_id = 'one'", (after.value,)
    if (before.value, after.value) in LISTED:
        store.requests._database.execute(*statement)
    else:
        with pytest.raises(sqlite3.IntegrityError, match="no step of a request leads there"):
            store.requests._database.execute(*statement)


def reach(store: Store, state: RequestState) -> None:
    requests = store.requests
    if state is RequestState.FENCED:
        requests.fence("one", token=None, by="test", now=1)
        return
    requests.receive("one", digest="d", content="{}", token=TOKEN, valid_until=100, now=1)
    if state is not RequestState.RECEIVED:
        assert requests.begin("one", now=1, server_msc=None)
    if state is RequestState.ANSWERED:
        requests.answer("one", {}, now=1)
    elif state is RequestState.UNRESOLVED:
        requests.leave("one", None, now=1)


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO requests (client_id, state, received, epoch) VALUES ('two', 'sending', 1, 1)",
        "UPDATE requests SET client_id = 'two'",
        "UPDATE requests SET valid_until = 10000",
        "DELETE FROM requests",
    ],
)
def test_the_database_itself_keeps_what_was_received(store, statement):
    reach(store, RequestState.RECEIVED)
    with pytest.raises(sqlite3.IntegrityError):
        store.requests._database.execute(statement)


def test_a_start_fences_what_was_received_and_gives_up_what_was_being_sent(tmp_path):
    """O22, O23: crash points C3 and C4."""
    store = Store.open(tmp_path / "gateway.db", utc_msc=1)
    for client_id in ("received", "sending"):
        store.requests.receive(client_id, digest="d", content="{}", token=client_id, valid_until=100, now=1)
    assert store.requests.begin("sending", now=1, server_msc=5)
    store.close()
    store = Store.open(tmp_path / "gateway.db", utc_msc=2)
    found = {client_id: store.requests.find(client_id) for client_id in ("received", "sending")}
    assert {client_id: row and row.state for client_id, row in found.items()} == {
        "received": RequestState.FENCED, "sending": RequestState.UNRESOLVED,
    }  # fmt: skip
    assert not store.requests.begin("received", now=1, server_msc=None)
    store.close()


def test_what_was_pruned_is_refused_by_its_time(store):
    reach(store, RequestState.ANSWERED)
    assert store.requests.prune(STORED_MSC + 2) == 1
    assert store.requests.find("one") is None
    assert store.requests.is_forgotten(100)
    assert not store.requests.receive("one", digest="d", content="{}", token=TOKEN, valid_until=100, now=1)
    assert not store.requests.is_forgotten(VALID_MAX_MSC + 2)
