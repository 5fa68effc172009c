"""What people record through the page: two persons, their roles, and what a page that only reads refuses."""

from __future__ import annotations

import json
import re
from pathlib import Path

import jsonschema_rs
import pytest

from ledger import BreakOpened, Ledger
from ledger.approvals.recipes import ARGUMENTS
from ledger.config import read
from ledger.page.openapi import description
from ledger.page.routes import ENDPOINTS
from ledger.page.source import Source
from tests.gateway.terminals import Terminal
from tests.support.broker import Desk
from tests.support.commands import run
from tests.support.journals import new_url
from tests.support.page_server import PageServer, account_path
from tools.testkit.facts import ACCOUNT
from tools.testkit.stories import fill

PATH = account_path(ACCOUNT)
ANN, BOB = "ann operator", "bob approver"
CLOSE = {"correction": {"what": "close", "position_id": 7}, "reason": "the broker has closed it"}
DESCRIBED = description(ENDPOINTS, "1")


@pytest.fixture(params=["sqlite", "postgres"])
def url(request, tmp_path):
    url = new_url(request.param, tmp_path)
    desk = Desk("#7 buy 2 @ 10, #8 buy 1 @ 12", "#7 long 2 @ 10, #8 long 1 @ 12", journal=url, ghost="report")
    desk.sync()
    desk.broker.show("#8 long 1 @ 12")
    desk.sync(2)
    desk.account.ledger.close()
    return url


@pytest.fixture
def page(url):
    with PageServer(Source.open(url, url), allow_writes=True) as page:
        yield page


def done(answer, schema="Recorded"):
    """Return an answer that is as it is described."""
    assert answer.status == 200, answer
    whole = {"$ref": f"#/components/schemas/{schema}", "components": DESCRIBED["components"]}
    jsonschema_rs.validate(whole, answer.json())
    return answer.json()


def code(answer):
    return answer.status, answer.json()["error"]["code"]


def ghost(page):
    return next(one for one in page.get("/api/breaks")["rows"] if one["kind"] == "ghost")


def decide(page, proposal, outcome="approved", *, who=BOB, **more):
    body = {"outcome": outcome, "effect_digest": proposal["effect_digest"], **more}
    return page.post(f"{PATH}/proposals/{proposal['version']}/decision", body, who=who)


def test_one_person_proposes_another_approves_and_both_are_recorded(page, url):
    about = ghost(page)
    draft = done(page.post(f"{PATH}/preview", CLOSE, who=ANN), "Draft")
    made = done(page.post(f"{PATH}/proposals", CLOSE | {"break": about["version"], "lapses_min": 30}, who=ANN))
    assert (made["outcome"], made["proposal"]["operator"]) == ("proposed", "ann")
    assert made["proposal"]["effect_digest"] == draft["effect_digest"]
    assert [one["version"] for one in page.get(PATH)["proposals"]] == [made["proposal"]["version"]]
    assert page.get("/api/overview")["totals"]["proposals"] == 1
    assert ghost(page)["proposals"] == 1
    assert code(decide(page, made["proposal"], who="ann approver")) == (409, "RuleError")
    with Ledger.open(url) as ledger:  # an engine goes on trading
        ledger.account(ACCOUNT).record(fill(900, position_id=9, time_msc=ledger.account(ACCOUNT).journal_head.last_msc + 1000))
    applied = done(decide(page, made["proposal"], reason="looked at the terminal"))
    assert applied["outcome"] == "applied"
    life = page.get(f"{PATH}/breaks/{about['version']}")
    assert [one["role"] for one in life["events"]][-3:] == ["decided", "corrected", "closed"]
    assert {one["data"].get("operator") for one in life["events"]} >= {"ann", "bob"}
    assert (life["break"]["state"], life["closed"]["end"]) == ("closed", "accepted")
    assert 7 not in [one["position_id"] for one in page.get(PATH)["replay"]["positions"]]
    with Ledger.open(url) as ledger:
        assert ledger.verify().ok


def test_a_proposal_whose_effect_changed_lapses_and_a_rejected_or_withdrawn_one_changes_nothing(page, url):
    update = {"correction": {"what": "update", "position_id": 8, "volume": "0.5"}, "reason": "as the broker has it"}
    first = done(page.post(f"{PATH}/proposals", update, who=ANN))["proposal"]
    with Ledger.open(url) as ledger:
        account = ledger.account(ACCOUNT)
        account.record(fill(901, position_id=8, volume="0.25", time_msc=account.journal_head.last_msc + 1000))
    lapsed = done(decide(page, first))
    assert lapsed["outcome"] == "lapsed"
    assert lapsed["changed"]
    second = done(page.post(f"{PATH}/proposals", update, who=ANN))["proposal"]
    assert code(decide(page, second, "rejected")) == (400, "BadValue")
    assert done(decide(page, second, "rejected", reason="ask the broker first"))["outcome"] == "rejected"
    third = done(page.post(f"{PATH}/proposals", update, who=ANN))["proposal"]
    assert code(decide(page, third, "withdrawn", who=BOB)) == (409, "RuleError")
    assert done(decide(page, third, "withdrawn", who=ANN))["outcome"] == "withdrawn"
    assert page.get(PATH)["proposals"] == []


def test_where_one_person_is_enough_what_was_shown_is_applied_at_once(page, url):
    for correction in (CLOSE["correction"], {"what": "clock", "clock": "UTC+3"}, {"what": "order", "order": "time"}):
        given = {"correction": correction, "reason": "the statement"}
        draft = done(page.post(f"{PATH}/preview", given, who=BOB), "Draft")
        assert [draft["waits"], done(page.post(f"{PATH}/preview", given, who=ANN), "Draft")["waits"]] == [False, True]
        shown = given | {"effect_digest": draft["effect_digest"]}
        assert code(page.post(f"{PATH}/corrections", shown | {"effect_digest": "ab" * 32}, who=BOB)) == (409, "RuleError")
        made = done(page.post(f"{PATH}/corrections", shown, who=BOB))
        assert (made["became"], made["proposal"], made["events"][0]["data"]["operator"]) == ("applied", None, "bob")
    done(page.post(f"{PATH}/policy", {"approvals": 2, "reason": "the rule"}, who="cyd admin"))
    again = {"correction": {"what": "close", "position_id": 8}, "reason": "gone"}
    draft = done(page.post(f"{PATH}/preview", again, who=BOB), "Draft")
    made = done(page.post(f"{PATH}/corrections", again | {"effect_digest": draft["effect_digest"]}, who=BOB))
    assert (draft["waits"], made["became"], made["proposal"]["operator"]) == (True, "proposed", "bob")
    with Ledger.open(url) as ledger:
        assert ledger.verify().ok


def test_the_page_has_a_recipe_for_each_correction_of_the_command():
    script = (Path(__file__).parents[2] / "ledger/page/static/decisions.js").read_text(encoding="utf-8")
    listed = re.search(r"const RECIPES = {(.*?)^};", script, re.DOTALL | re.MULTILINE)
    assert listed is not None
    lines = re.findall(r'^  (\w+): \["[^"]*"(.*)\]', listed[1], re.MULTILINE)
    found = {what: set(re.findall(r'"([a-z_]+\??)"', rest)) for what, rest in lines}
    expected = {
        what: {*needed, *(f"{name}?" for name in others)} - {"opened_msc?"}
        for what, (needed, others) in ARGUMENTS.items()
        if what != "policy"
    }
    assert found == expected


def test_what_waits_without_a_break_is_listed_with_the_breaks(page):
    money = {"correction": {"what": "balance", "balance": "5"}, "reason": "the statement"}
    lone = done(page.post(f"{PATH}/proposals", money, who=ANN))["proposal"]
    done(page.post(f"{PATH}/proposals", CLOSE | {"break": ghost(page)["version"]}, who=ANN))
    found = done(page.ask("/api/breaks"), "Breaks")
    assert [(one["name"], one["proposals"]) for one in found["proposals"]] == [(str(ACCOUNT), [lone])]
    assert page.get("/api/breaks", kind="ghost")["proposals"] == page.get("/api/breaks", state="escalated")["proposals"] == []
    done(decide(page, lone))
    assert page.get("/api/breaks")["proposals"] == []


def test_the_log_of_a_position_or_a_deal_has_what_was_decided_about_it(page, url):
    about = ghost(page)
    made = done(page.post(f"{PATH}/proposals", CLOSE | {"break": about["version"]}, who=ANN))["proposal"]
    done(page.post(f"{PATH}/breaks/{about['version']}/notes", {"text": "phoned"}, who=ANN))
    done(decide(page, made))
    with Ledger.open(url) as ledger:
        account = ledger.account(ACCOUNT)
        deal = next(row.deal for row in ledger.journal.rows(ACCOUNT) if row.deal and row.position_id == 7)
        account.record(BreakOpened(kind="withdrawn", deal=deal, time_msc=account.journal_head.last_msc))
        account.record(BreakOpened(kind="withdrawn", deal=deal * 10, time_msc=account.journal_head.last_msc))
    expected: dict[str, tuple[int, set[str]]] = {
        "position": (7, {"CorrectionProposed", "CorrectionDecided", "BreakNoted", "FillRecorded", "BreakOpened"}),
        "deal": (deal, {"FillRecorded", "BreakOpened"}),
    }
    for name, (number, kinds) in expected.items():
        shown = page.get(f"{PATH}/log", **{name: number, "limit": 500})["rows"]
        listed = run("--journal", url, "log", f"--{name}", str(number), "--json").out.decode().splitlines()
        assert [row["version"] for row in shown] == [json.loads(line)["version"] for line in listed][::-1]
        assert kinds <= {row["kind"] for row in shown}
    assert [row["kind"] for row in page.get(f"{PATH}/log", deal=deal)["rows"]].count("BreakOpened") == 1


def test_a_note_is_part_of_the_life_of_a_break_and_takes_it_over(page):
    version = ghost(page)["version"]
    done(page.post(f"{PATH}/breaks/{version}/notes", {"text": "phoned the broker", "owner": "ann"}, who=ANN))
    assert ghost(page)["owner"] == "ann"
    life = page.get(f"{PATH}/breaks/{version}")
    assert (life["owner"], life["events"][-1]["role"]) == ("ann", "noted")
    assert life["events"][-1]["data"]["text"] == "phoned the broker"


def test_a_policy_is_set_by_an_admin_and_lowered_by_two(page):
    raised = done(page.post(f"{PATH}/policy", {"approvals": 2, "reason": "two persons"}, who="eve admin"))
    assert (raised["outcome"], page.get(PATH)["policy"]["approvals"]) == ("applied", 2)
    lowered = done(page.post(f"{PATH}/policy", {"approvals": 1, "reason": "one person"}, who="eve admin"))
    assert (lowered["outcome"], page.get(PATH)["policy"]["approvals"]) == ("proposed", 2)
    assert done(decide(page, lowered["proposal"]))["outcome"] == "applied"
    assert page.get(PATH)["policy"]["approvals"] == 1


@pytest.mark.parametrize("approvals", [1, 2])
def test_nobody_proposes_a_policy_who_may_not_set_one(page, approvals):
    done(page.post(f"{PATH}/policy", {"approvals": 2, "corrections": ["credit"], "reason": "two"}, who="eve admin"))
    policy = {"correction": {"what": "policy", "approvals": approvals}, "reason": "less"}
    for who in (ANN, "ann approver"):
        assert code(page.post(f"{PATH}/proposals", policy, who=who)) == (403, "NotPermitted")
    assert page.get(PATH)["proposals"] == []
    assert done(page.post(f"{PATH}/proposals", policy, who="eve admin"))["outcome"] == "proposed"


WRITES = {
    f"{PATH}/proposals": (CLOSE, "operator"),
    f"{PATH}/corrections": (CLOSE | {"effect_digest": "0" * 64}, "approver"),
    f"{PATH}/preview": (CLOSE, "operator"),
    f"{PATH}/proposals/1/decision": ({"outcome": "approved", "effect_digest": "0" * 64}, "approver"),
    f"{PATH}/breaks/1/notes": ({"text": "x"}, "operator"),
    f"{PATH}/policy": ({"approvals": 2, "reason": "x"}, "admin"),
    f"{PATH}/compare-now": ({}, "operator"),
    "/api/alerts/test": ({}, "operator"),
}
ROLES = ("viewer", "operator", "approver", "admin")


def test_every_write_needs_its_role_and_a_page_that_may_write(tmp_path):
    assert len(WRITES) == sum(one.method == "POST" for one in ENDPOINTS)
    url = new_url("sqlite", tmp_path)
    with Ledger.open(url) as ledger:
        ledger.account(ACCOUNT).open(currency="USD", mode="hedging")
        head = ledger.account(ACCOUNT).version
    for allow_writes, writer in ((True, url), (False, url), (True, None)):
        with PageServer(Source.open(url, writer), allow_writes=allow_writes) as page:
            for path, (body, least) in WRITES.items():
                for role in ROLES:
                    answer = page.post(path, body, who=f"ann {role}")
                    may = ROLES.index(role) >= ROLES.index(least)
                    records = not path.endswith(("/test", "/compare-now", "/preview"))
                    if not may or (records and not (allow_writes and writer)):
                        assert code(answer) == (403, "NotPermitted"), (path, role, allow_writes)
                    elif path.endswith("policy"):
                        assert done(answer)["outcome"] == "applied"
                    else:  # nothing of it is there
                        assert answer.status in (400, 409), (path, role)
    with Ledger.open(url) as ledger:
        assert ledger.account(ACCOUNT).version == head + 1


@pytest.mark.parametrize(
    ("path", "body", "expected"),
    [
        ("proposals", b"{", "JSON object"),
        ("proposals", b"[1]", "JSON object"),
        ("proposals", b"[" * 50_000, "JSON object"),
        ("proposals", {"correction": "close", "reason": "x"}, "correction: expected an object"),
        ("proposals", {"correction": {"what": "sell"}, "reason": "x"}, "add"),
        ("proposals", CLOSE | {"urgent": "yes"}, "urgent: expected true or false"),
        ("proposals", CLOSE | {"lapses_min": True}, "lapses_min: expected a whole number"),
        ("proposals", CLOSE | {"lapses_min": 0}, "expected minutes until a proposal lapses"),
        ("proposals", CLOSE | {"operator": "bob"}, "no member 'operator'"),
        ("proposals", {"reason": "x"}, "expected correction"),
        ("proposals/1/decision", {"outcome": "lapsed"}, "outcome: expected approved"),
        ("proposals/1/decision", {"outcome": "approved"}, "effect_digest: expected"),
        ("breaks/1/notes", {"text": ""}, ""),
        ("policy", {"approvals": 3, "reason": "x"}, ""),
    ],
)
def test_a_body_that_is_none_is_refused_with_what_was_expected(tmp_path, path, body, expected):
    url = new_url("sqlite", tmp_path)
    with Ledger.open(url) as ledger:
        ledger.account(ACCOUNT).open(currency="USD", mode="hedging")
    with PageServer(Source.open(url, url), allow_writes=True) as page:
        answer = page.post(f"{PATH}/{path}", body)
        assert answer.status in (400, 409), answer
        assert expected in answer.json()["error"]["text"]
        assert page.get(PATH)["now_version"] == 1
        huge = page.post(f"{PATH}/{path}", b" " * 70_000)
        assert code(huge) == (413, "TooLarge")


def test_comparing_now_is_what_drift_prints_and_records_nothing(tmp_path):
    url = new_url("sqlite", tmp_path)
    terminal = Terminal(lambda *_: (b'{"status": "SUCCESS", "positions": []}',))
    settings = f'[gateways."{ACCOUNT}"]\nurl = "{terminal.endpoint}"\ntimeout_ms = 2000\n'
    Path(tmp_path / "ledger.toml").write_text(settings)
    with Ledger.open(url) as ledger:
        ledger.account(ACCOUNT).open(currency="USD", mode="hedging")
    with PageServer(Source.open(url, configuration=read(tmp_path / "ledger.toml"))) as page:
        found = done(page.post(f"{PATH}/compare-now", who=ANN), "Drift")
        assert (found["agrees"], found["breaks"]) == (True, [])
        terminal.stop()
        away = done(page.post(f"{PATH}/compare-now", who=ANN), "Drift")
        assert (away["agrees"], away["error"]["retryable"]) == (None, True)
        assert page.get(PATH)["now_version"] == 1
