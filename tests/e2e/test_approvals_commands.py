"""Two persons decide by commands: proposed, approved, lapsed, rejected, urgent, signed; on SQLite and Postgres."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

import attrs
import pytest

from ledger import Adjusted, BreakOpened, CorrectionDecided, Ledger, PolicySet
from ledger.approvals.effect import digest_of
from ledger.service import utc_now_us
from ledger.signatures import read_request, read_signed, request_text
from tests.support.commands import Ran, run
from tests.support.journals import ACCOUNT, OTHER, START_MSC, fill, new_url, opened

POSITION = 8_200_830
MINUTE_US = 60_000_000
EUR: dict[str, Any] = {"symbol": "EURUSD", "volume": "0.5", "price": "1.1", "position_id": POSITION}


class Desk:
    """A journal with one account and one position, whose commands name who calls them."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.before: tuple[str, ...] = ()
        with Ledger.create(url) as ledger:
            ledger.journal.append(ACCOUNT, [opened(), fill(1, **EUR)])

    def call(self, *words: str) -> Ran:
        return run(*self.before, *words, journal=self.url)

    def run(self, *words: str, by: str | None = None, code: int = 0) -> Ran:
        ran = self.call(*words, *(("--operator", by) if by else ()))
        assert ran.code == code, ran.text
        return ran

    def record(self, *events: Any, later_us: int = 0) -> None:
        with Ledger.open(self.url, now_us=lambda: utc_now_us() + later_us) as ledger:
            ledger.journal.append(ACCOUNT, list(events))

    def positions(self) -> dict[int, str]:
        return {one["position_id"]: one["volume"] for one in self.run("positions", "--json").json()}

    def two_persons(self, *more: str) -> None:
        self.run("policy", "set", "--approvals", "2", *more, "--reason", "rule", "--yes", by="ann")

    def problems(self, *words: str) -> list[tuple[str, int, str]]:
        found = json.loads(self.call("verify", "--json", *words).out)
        return [(one["field"], one["version"], one["what"]) for one in found["problems"]]


@pytest.fixture(params=["sqlite", "postgres"])
def desk(request, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LEDGER_OPERATOR_KEY", raising=False)
    return Desk(new_url(request.param, tmp_path))


@pytest.fixture
def lone(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LEDGER_OPERATOR_KEY", raising=False)
    return Desk(new_url("sqlite", tmp_path))


CLOSE = ("correct", "close", str(POSITION), "--reason", "by phone", "--yes")


def test_two_persons_decide_while_the_account_trades_on(desk):
    desk.two_persons()
    proposed = desk.run(*CLOSE, by="ann", code=4).text
    assert "the policy (v3) asks for two persons" in proposed
    assert "proposed as version 4: nothing is corrected yet" in proposed
    assert f"  ledger approve v4 --account {ACCOUNT}" in proposed
    assert desk.positions() == {POSITION: "0.5"}
    desk.record(fill(2, symbol="XAUUSD", volume="1", price="1900", position_id=2))
    assert "expected another person" in desk.run("approve", "v4", "--yes", by=" ANN", code=2).text
    assert desk.positions() == {POSITION: "0.5", 2: "1"}
    approved = desk.run("approve", "v4", "--reason", "heard it", "--yes", by="bob").text
    assert "0.5 EURUSD @ 1.1  none" in approved
    assert "approved: recorded as versions 6 to 7" in approved
    assert desk.positions() == {2: "1"}
    [incident] = desk.run("incidents", "--json").json()
    assert (incident["operator"], incident["approved_by"]) == ("ann", "bob")
    assert "is approved" in desk.run("approve", "v4", "--yes", by="bob", code=2).text
    assert desk.problems() == []


def test_what_is_refused_is_refused_before_anybody_is_asked(signing):
    asked = "not a terminal: pass --yes"  # nobody is there to answer
    signing.two_persons("--signed")
    urgent = ("propose", "close", str(POSITION), "--urgent", "--reason", "x")
    assert asked in signing.run(*urgent, by="ann", code=2).text
    signing.run("propose", "close", str(POSITION), "--reason", "x", by="ann")
    for words, who, expected in (
        (urgent, "ann", "you proposed the same already"),
        ((*CLOSE[:-1], "--urgent"), "ann", "you proposed the same already"),
        (("approve", "v4"), "ann", "expected another person"),
        (("approve", "v4"), "bob", "asks for a signature"),
    ):
        text = signing.run(*words, by=who, code=2).text
        assert [expected in text, asked in text] == [True, False], text


def test_a_proposal_whose_effect_is_another_one_by_now_lapses(desk):
    desk.two_persons()
    desk.run(*CLOSE, by="ann", code=4)
    desk.record(fill(2, **EUR | {"volume": "0.2", "side": "sell", "entry": "out"}))
    found = desk.run("approve", "v4", "--yes", "--json", by="bob", code=1).json()
    assert (found["became"], found["proposal"]["state"]) == ("lapsed", "lapsed")
    assert found["changed"][f"positions.{POSITION}.0.volume"] == ["0.5", "0.3"]
    assert [one["kind"] for one in found["events"]] == ["CorrectionDecided"]
    assert desk.positions() == {POSITION: "0.3"}
    assert "is lapsed" in desk.run("approve", "v4", "--yes", by="bob", code=2).text
    desk.run(*CLOSE, by="ann", code=4)
    text = desk.run("reject", "v7", "--reason", "wait", by="bob").text
    assert text == "rejected, recorded as version 8\n"
    assert "is rejected" in desk.run("approve", "v7", "--yes", by="carl", code=2).text


def test_a_table_shows_what_changed_since_it_was_proposed(lone):
    lone.two_persons()
    lone.run("propose", "balance", "--to", "5", "--reason", "x", by="ann")
    lone.record(Adjusted(operator="eve", reason="x", time_msc=START_MSC, balance_before="0", balance_after="2"))
    lines = lone.run("approve", "4", "--yes", by="bob", code=1).text.splitlines()
    assert "lapsed with version 6: nothing is corrected" in lines
    assert [line.split() for line in lines if line.startswith(("balance before", "balance moves"))] == [
        ["balance", "before", "0", "2"],
        ["balance", "moves", "by", "5", "3"],
    ]


def test_nobody_is_in_time_for_ever(lone):
    lone.run("propose", "close", str(POSITION), "--reason", "x", "--lapses-min", "1", by="ann")
    lone.record(fill(2, position_id=2), later_us=2 * MINUTE_US)
    assert "nobody decided it in time" in lone.run("approve", "v3", "--yes", by="bob", code=2).text
    assert lone.run("proposals", "--json").json() == []
    [found] = lone.run("proposals", "--all", "--json").json()
    assert (found["state"], found["why"]) == ("lapsed", "nobody decided it in time")


def test_an_emergency_is_applied_at_once_and_reported_until_another_person_confirms_it(desk):
    desk.two_persons("--for", "position")
    applied = desk.run(*CLOSE, "--urgent", by="ann").text
    assert "applied at once: recorded as versions 4 to 7" in applied
    assert "another person than ann confirms what was applied at once:" in applied
    assert desk.positions() == {}
    [found] = desk.run("breaks", "--json").json()
    assert (found["kind"], found["version"], found["proposal"]) == ("approval", 7, 4)
    listed = desk.run("breaks").text
    assert f"ledger proposals v4 --account {ACCOUNT}" in listed
    assert "ann alone: by phone" in listed
    [row] = desk.run("status", "--json").json()
    assert (row["open_breaks"], row["proposals"]) == (1, 1)
    assert desk.run("approve", "v4", "--yes", by="ann", code=2)
    assert desk.problems() == []
    assert "confirmed, recorded as version 8" in desk.run("approve", "v4", "--yes", by="bob").text
    assert desk.run("breaks", "--json").json() == []
    lines = desk.run("incidents").text.splitlines()
    assert any(line.endswith("accepted by bob") for line in lines), lines


def test_where_one_person_corrects_nothing_waits(desk):
    desk.two_persons("--for", "clock", "--for", "balance")
    found = desk.run(*CLOSE, "--json", by="ann").json()
    assert (found["became"], found["proposal"], found["appended"]) == ("applied", None, 1)
    assert desk.positions() == {}
    waits = desk.run("account", "clock", str(ACCOUNT), "+03:00", "--reason", "x", by="ann", code=4).text
    assert "proposed as version 5" in waits
    assert desk.run("approve", "v5", "--yes", by="bob").code == 0
    [line] = [one for one in desk.run("log", "--kind", "Adjusted").text.splitlines() if "clock" in one]
    assert "clock UTC -> +03:00 by ann" in line
    assert "deals are ordered by ticket -> time" in desk.run(
        "account", "order", str(ACCOUNT), "time", "--reason", "x", by="ann"
    ).text  # fmt: skip


def test_lowering_the_rule_takes_two_persons_and_raising_it_one(desk):
    desk.two_persons()
    lowered = desk.run("policy", "set", "--approvals", "1", "--reason", "slow", "--yes", by="ann", code=4)
    assert "nothing is corrected yet" in lowered.text
    assert [one["approvals"] for one in desk.run("policy", "show", "--json").json()] == [2]
    shown = desk.run("proposals", "v4").text
    assert "two persons for position" in " ".join(shown.split())
    assert "one person corrects" in shown
    assert "withdrawn" in desk.run("reject", "v4", "--reason", "no", by="Ann").text
    desk.run("policy", "set", "--approvals", "1", "--reason", "slow", "--yes", by="ann", code=4)
    desk.run("approve", "v6", "--yes", by="bob")
    [found] = desk.run("policy", "show", "--json").json()
    assert (found["approvals"], found["version"], found["operator"]) == (1, 8, "ann")
    assert desk.run("policy", "set", "--approvals", "1", "--reason", "x", "--yes", by="ann").text.endswith("it is so already\n")


def test_a_forged_approval_is_found(desk):
    desk.two_persons()
    desk.record(Adjusted(operator="eve", reason="mine", time_msc=utc_now_us() // 1000, balance_before="0", balance_after="9"))
    desk.record(PolicySet(operator="eve", reason="mine", approvals=1, time_msc=utc_now_us() // 1000))
    found = desk.problems()
    assert [(field, version) for field, version, _ in found] == [("approval", 4), ("approval", 5)]
    text = desk.run("verify", code=1).text
    assert "What was recorded is unchanged, but not as the policy asks for." in text
    assert "restore a backup" not in text


def test_a_note_makes_somebody_the_owner_of_a_break(desk):
    ghost: dict[str, Any] = {"kind": "ghost", "position_id": POSITION, "symbol": "EURUSD", "ours": "buy 0.5 EURUSD @ 1.1"}
    desk.record(BreakOpened(**ghost, time_msc=utc_now_us() // 1000))
    assert desk.run("note", "v3", "phoned the dealer", "--mine", by="ann").text == "noted, recorded as version 4\n"
    assert desk.run("note", "3", "he looks", by="bob", code=0)
    [found] = desk.run("breaks", "--json").json()
    assert (found["owner"], found["version"], found["proposal"]) == ("ann", 3, None)
    assert f"ghost {POSITION}: owner ann" in desk.run("breaks").text
    desk.run("propose", "close", str(POSITION), "--break", "v3", "--reason", "gone", by="ann")
    assert [one["proposal"] for one in desk.run("breaks", "--json").json()] == [6]
    assert "opened no break" in desk.run("note", "v2", "x", by="ann", code=2).text
    assert "choose one" in desk.run("note", "v3", "x", "--mine", "--owner", "bob", by="ann", code=2).text


def test_proposals_are_listed_for_people_and_programs(desk, monkeypatch):
    with Ledger.open(desk.url) as ledger:
        ledger.journal.append(OTHER, [opened(OTHER)])
    where = ("--account", str(ACCOUNT))
    desk.run("propose", "balance", "--to", "12.50", "--reason", "=1+1", *where, by="ann")
    desk.run("propose", "balance", "--to", "3", "--reason", "x", "--account", str(OTHER), by="bob")
    assert "which account?" in desk.run("proposals", "v3", code=2).text
    table = desk.run("proposals").text.splitlines()
    assert max(map(len, table)) <= 80
    assert [line.split()[:5] for line in table[2:4]] == [
        [str(ACCOUNT), "v3", "balance", "12.5", "ann"],
        [str(OTHER), "v2", "balance", "3", "bob"],
    ]
    first, second = desk.run("proposals", "--json").json()
    assert (first["account"]["login"], first["operator"], first["state"]) == (ACCOUNT.login, "ann", "pending")
    assert (first["correction"], second["version"]) == ({"what": "balance", "balance": "12.5"}, 2)
    rows = list(csv.DictReader(io.StringIO(desk.run("proposals", "--csv", *where).out.decode())))
    assert [(row["account"], row["version"], row["reason"]) for row in rows] == [(str(ACCOUNT), "3", "'=1+1")]
    one = desk.run("proposals", "v3", *where).text
    assert "balance  0       12.5" in one
    assert "another person than ann decides until" in one
    assert desk.run("proposals", "v3", *where, "--json").json() == first
    policy = list(csv.DictReader(io.StringIO(desk.run("policy", "show", "--csv").out.decode())))
    assert [(row["approvals"], row["signed"]) for row in policy] == [("1", "false")] * 2


@pytest.mark.parametrize(
    ("words", "output"),
    [
        (("approve", "x", "--yes"), "as v1403"),
        (("approve", "v0", "--yes"), "as v1403"),
        (("approve", "v2", "--yes"), "is no proposal"),
        (("approve", "ledger-approval.e30"), "found one without"),
        (("approve", "ledger-approval.e3"), "copied whole"),
        (("reject", "v9", "--reason", "x"), "is no proposal"),
        (("proposals", "--text"), "name its VERSION"),
        (("proposals", "--json", "--csv"), "choose one"),
        (("proposals", "v2"), "is no proposal"),
        (("propose", "close", "99", "--reason", "x"), "is not open"),
        (("propose", "close", str(POSITION), "--reason", "x", "--break", "v2"), "no break"),
        (("propose", "close", str(POSITION), "--reason", "x", "--urgent"), "pass --yes"),
        (("propose", "balance", "--reason", "x"), "at least one of"),
        (("propose", "accept", "--reason", "x"), "--symbol"),
        (("policy", "set", "--approvals", "1", "--signed", "--reason", "x", "--yes"), "keys of two operators"),
        (("note", "v1", "x"), "opened no break"),
        (("verify", "--operator-key", "ann"), "NAME=FILE"),
    ],
)
def test_what_cannot_be_is_wrong_use(words, output, lone):
    ran = run(*words, journal=lone.url)
    assert (ran.code, output in ran.text) == (2, True), ran.text
    assert lone.run("log", "--kind", "approvals", "--json").out == b""


# ------------------------------------------------------------------------------------------------------------- signed


@pytest.fixture
def signing(desk, tmp_path):
    for name in ("ann", "bob", "eve"):
        assert f'"{name}" = "keys/{name}.pub.pem"' in run("keys", "operator", name).text
    settings = '[approvals.keys]\nann = "keys/ann.pub.pem"\nbob = ["keys/bob.pub.pem"]\n'
    (tmp_path / "ledger.toml").write_text(settings, encoding="utf-8")
    (tmp_path / "empty.toml").write_text("", encoding="utf-8")
    desk.before = ("--config", "ledger.toml")
    return desk


def signed_elsewhere(signing, version, key):
    text = signing.run("proposals", version, "--text").out.decode().strip()
    return text, run("approve", text, "--key", f"keys/{key}.pem", "--yes", "--json").json()["signed"]


def test_a_decision_is_signed_where_no_journal_is(signing, tmp_path):
    signing.two_persons("--signed")
    signing.run(*CLOSE, by="ann", code=4)
    assert "asks for a signature" in signing.run("approve", "v4", "--yes", by="bob", code=2).text
    text = signing.run("proposals", "v4", "--text").out.decode().strip()
    elsewhere = run("approve", text, "--key", "keys/bob.pem", "--yes")
    assert "buy 0.5 EURUSD @ 1.1  none" in elsewhere.text
    signing.run("approve", elsewhere.text, "--yes")  # all that was printed may be pasted
    assert signing.positions() == {}
    [decided] = [one for one in signing.run("log", "--json").out.decode().splitlines() if "CorrectionDecided" in one]
    assert json.loads(decided)["data"]["operator"] == "bob"
    assert signing.problems() == []
    assert "whose keys signed 1 decisions was not checked" in run("--config", "empty.toml", "verify", journal=signing.url).text
    (tmp_path / "ledger.toml").write_text("", encoding="utf-8")
    assert signing.problems("--operator-key", "bob=keys/bob.pub.pem") == []
    [(field, version, what)] = signing.problems("--operator-key", "bob=keys/eve.pub.pem")
    assert (field, version) == ("signature", 5)
    assert "nobody is known by the key" in what


def test_a_signature_holds_in_a_journal_that_was_restored(signing, tmp_path):
    signing.two_persons("--signed")
    signing.run(*CLOSE, by="ann", code=4)
    signing.run("approve", "v4", "--key", "keys/bob.pem", "--yes")
    signing.run("backup", "copy.db")
    assert run("restore", "copy.db", journal=f"sqlite:///{tmp_path}/restored.db").code == 0
    signing.url = f"sqlite:///{tmp_path}/restored.db"
    assert signing.problems() == []
    signing.run("propose", "balance", "--to", "5", "--reason", "x", by="ann")
    signing.run("approve", "v7", "--key", "keys/bob.pem", "--yes")
    assert signing.problems() == []


def test_the_wrong_key_and_a_changed_text_sign_nothing(signing):
    signing.two_persons("--signed")
    signing.run(*CLOSE, by="ann", code=4)
    for key, words in (("ann", "expected another person"), ("eve", "nobody is known by the key")):
        assert words in signing.run("approve", "v4", "--key", f"keys/{key}.pem", "--yes", code=2).text
        _, signed = signed_elsewhere(signing, "v4", key)
        assert words in signing.run("approve", signed, "--yes", code=2).text
    _, signed = signed_elsewhere(signing, "v4", "bob")
    assert "is bob's, and carl is named" in signing.run("approve", signed, "--yes", by="carl", code=2).text
    signing.run("reject", "v4", "--reason", "x", by="ann")
    signing.run(*CLOSE, by="ann", code=4)
    old, _ = signed_elsewhere(signing, "v4", "bob")
    new, _ = signed_elsewhere(signing, "v6", "bob")
    assert old != new
    assert "pass --yes" in run("approve", new, "--key", "keys/bob.pem").text
    assert "with which key?" in run("approve", new, "--yes").text
    assert signing.positions() == {POSITION: "0.5"}


@pytest.mark.parametrize(
    ("effect", "words"),
    [
        ({"money": {"balance": "1"}}, "the text was changed"),
        ({"positions": 5}, "holds no effect"),
        ({"adjusted": [5]}, "holds no effect"),
    ],
)
def test_nobody_signs_what_they_are_not_shown(effect, words, lone):
    run("keys", "operator", "bob")
    lone.run("propose", "balance", "--to", "5", "--reason", "x", by="ann")
    request = read_request(lone.run("proposals", "v3", "--text").out.decode())
    changed = attrs.evolve(request, effect=effect)
    if words != "the text was changed":
        changed = attrs.evolve(changed, approval=attrs.evolve(request.approval, effect_digest=digest_of(effect)))
    ran = run("approve", request_text(changed), "--key", "keys/bob.pem", "--yes")
    assert (ran.code, words in ran.text, "ledger-signature" in ran.text) == (2, True, False)


def test_a_forged_signature_is_found(signing):
    signing.two_persons("--signed")
    signing.run(*CLOSE, by="ann", code=4)
    _, signed = signed_elsewhere(signing, "v4", "bob")
    signing.run("reject", "v4", "--reason", "x", by="bob")
    signing.run(*CLOSE, by="ann", code=4)
    with Ledger.open(signing.url) as ledger:
        old, new = (ledger.account(ACCOUNT).approvals.proposal(version) for version in (4, 6))
    assert old is not None
    assert new is not None
    assert old.effect_digest == new.effect_digest
    copied = read_signed(signed).signature
    known: dict[str, Any] = {"signature": copied.signature, "key": copied.key, "time_msc": utc_now_us() // 1000}
    decided: dict[str, Any] = {"outcome": "approved", "operator": "bob", "effect_digest": new.effect_digest, "caused_by": 6}
    signing.record(CorrectionDecided(**decided, time_msc=known["time_msc"]))
    for rests_on in (new.rests_on, old.rests_on):
        signing.record(CorrectionDecided(**decided, **known, rests_on=rests_on))
    found = [one for one in signing.problems() if "sign" in one[2]]
    assert [one[:2] for one in found] == [("approval", 7), ("signature", 8), ("signature", 9)]
    assert ["has no signature" in found[0][2], "does not hold" in found[1][2], "another proposal" in found[2][2]] == [True] * 3
