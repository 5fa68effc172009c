"""The page's answers: the objects that the commands print, as they are described, from real journals over real sockets."""

from __future__ import annotations

import io
import itertools
import json
import re
import shutil
import sqlite3
import subprocess
import sys
import zipfile
from pathlib import Path
from urllib.parse import urlencode

import jsonschema_rs
import pytest

from ledger import AccountId, Ledger
from ledger.clock import moment_end_us, moment_span_us
from ledger.importer import import_files
from ledger.page.endpoints import WINDOWS
from ledger.page.openapi import description
from ledger.page.routes import ENDPOINTS
from ledger.page.source import Source
from ledger.seals import create as create_seal
from ledger.seals import load_key
from ledger.service import utc_now_us
from ledger.signing_keys import make_keys
from tests.support.broker import Desk
from tests.support.commands import run
from tests.support.journals import bare_postgres, empty_postgres_url, new_postgres_url
from tests.support.page_server import PageServer, account_path
from tools.testkit.facts import ACCOUNT

DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data"
EXPORT = DATA / "ftmo_hedge_export1.xlsx"
#: What changes from one look to the next: ages, and the moment itself.
MOVING = re.compile(r"(_age_sec|age_sec|as_of|duration_sec)$")


def write_journal(folder: Path) -> str:
    """Write a journal with an account that disagrees with its broker, and a real export where these are."""
    url = f"sqlite:///{folder / 'desk.db'}"
    story = "#7 buy 2 @ 10, #8 buy 1 @ 12, #8 out sell 1 @ 13, deposit 100"
    desk = Desk(story, "#7 long 2 @ 10", journal=url, drift="report", zombie="report")
    desk.sync(1)
    desk.broker.show("#7 long 1 @ 10, #9 short 1 @ 11")
    desk.sync(3)
    desk.watch.now_us = utc_now_us()
    if EXPORT.is_file():
        list(import_files(desk.account.ledger, [EXPORT]))
    key = load_key(make_keys(folder, "seal")[1])
    create_seal(desk.account.ledger.journal, key, desk.watch.now_us)
    desk.account.ledger.close()
    return url


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    return write_journal(tmp_path_factory.mktemp("page"))


@pytest.fixture(scope="module")
def page(url):
    with PageServer(Source.open(url)) as server:
        yield server


@pytest.fixture(scope="module")
def broken(url):
    with Ledger.open(url) as ledger:
        account = ledger.account(ACCOUNT)
        return next(one.version for one in account.portfolio.breaks if one.version)


def still(value):
    """Return JSON without what moves with the clock."""
    if isinstance(value, dict):
        return {name: still(one) for name, one in value.items() if not MOVING.search(name)}
    return [still(one) for one in value] if isinstance(value, list) else value


def command(url, *words):
    """Return what a command prints with --json: a value, or the values of its lines."""
    ran = run(*words, "--json", journal=url)
    assert ran.code in (0, 1), ran.text
    try:
        return json.loads(ran.out)
    except ValueError:
        return [json.loads(line) for line in ran.out.splitlines()]


def without(item, *names):
    return {name: value for name, value in item.items() if name not in names}


# ------------------------------------------------------------------------------------------------- the same objects


def test_every_endpoint_answers_as_it_is_described(page, broken):
    described = description(ENDPOINTS, "1")
    account = account_path(ACCOUNT)
    for endpoint in ENDPOINTS:
        if endpoint.method != "GET" or "/" in endpoint.answer or "{job}" in endpoint.path:
            continue
        path = endpoint.path.replace("/api/accounts/{server}/{login}", account).replace("{version}", str(broken))
        found = page.get(path)
        schema = {"$ref": f"#/components/schemas/{endpoint.answer}", "components": described["components"]}
        problems = [
            f"{list(one.instance_path)}: {one.message}" for one in jsonschema_rs.Draft202012Validator(schema).iter_errors(found)
        ]
        assert problems == [], f"{path}: {problems[:3]} in {json.dumps(found)[:500]}"


def test_an_answer_is_the_object_that_the_command_prints(page, url):
    account = account_path(ACCOUNT)
    named = ("--account", str(ACCOUNT))
    shown = page.get(account)
    assert shown["replay"] == command(url, "replay", *named)
    assert [still(shown["status"])] == still(command(url, "status", *named))
    assert page.get(account, until="2026-01-05T10:00:01")["replay"] == command(
        url, "replay", *named, "--until", "2026-01-05T10:00:01"
    )
    trades = page.get(f"{account}/trades")["rows"]
    assert trades
    assert trades == command(url, "trades", *named)[::-1]
    events = [without(one, "words", "lag_sec") for one in page.get(f"{account}/log", limit=500)["rows"]]
    assert events == command(url, "log", *named)[::-1]
    assert page.get(f"{account}/report", by="symbol") == command(url, "report", *named, "--by", "symbol")
    assert still(page.get(f"{account}/incidents")["rows"]) == still(
        command(url, "incidents", *named, "--since", "2000-01-01")[::-1]
    )
    assert page.get(f"{account}/compare", a="v3") == command(url, "compare", f"{ACCOUNT}@v3", str(ACCOUNT))
    assert page.get(f"{account}/explain")["explanations"] == [command(url, "explain", "balance", *named)]
    assert page.get(f"{account}/limits") == command(url, "limits", "show", *named)[0]
    assert page.get(f"{account}/orders")["rows"] == command(url, "orders", *named)
    breaks = page.get("/api/breaks")["rows"]
    assert breaks
    expected = sorted(still(command(url, "breaks")), key=json.dumps)
    assert sorted((without(still(one), "name", "proposals", "state") for one in breaks), key=json.dumps) == expected
    rows = {
        row["name"]: without(row, "name", "version", "behind", "summary", "summary_reason")
        for row in page.get("/api/overview")["rows"]
    }
    assert [still(row) for _, row in sorted(rows.items())] == still(command(url, "status"))
    checks = page.get("/api/health")["checks"]
    names = [one["check"] for one in command(url, "doctor") if one["check"] != "key folder"]
    assert [one["check"] for one in checks if one["check"] != "key folder"] == names


@pytest.mark.parametrize(
    "words", [{"kind": "deals"}, {"kind": "notable"}, {"position": "7"}, {"late": "1"}, {"kind": ["breaks", "deals"]}]
)
def test_the_log_is_filtered_as_the_command_filters_it_and_its_pages_make_the_whole(page, url, words):
    options = [
        part
        for name, values in words.items()
        for one in ([values] if isinstance(values, str) else values)
        for part in (f"--{name}", one)
    ]
    options = [one for one in options if one != "1"] if "late" in words else options
    expected = [one["version"] for one in command(url, "log", "--account", str(ACCOUNT), *options)]
    found, before = [], None
    while True:
        part = page.get(f"{account_path(ACCOUNT)}/log", before=before, limit=3, **words)
        found += [one["version"] for one in part["rows"]]
        before = part["next"]
        if before is None:
            break
    assert expected
    assert found == expected[::-1]


@pytest.mark.skipif(not EXPORT.is_file(), reason=f"the sample exports are not at {DATA}")
def test_a_real_export_is_shown_as_the_command_replays_it_at_any_step(page, url):
    with Ledger.open(url) as ledger:
        name = next(one.name for one in ledger.accounts() if one.name != ACCOUNT)
    account = account_path(name)
    steps = page.get(f"{account}/steps")
    assert len(steps["until"]) == steps["version"]
    for one in steps["until"][:: len(steps["until"]) // 4]:
        expected = command(url, "replay", "--account", str(name), "--until", one["at"])
        assert page.get(account, until=one["at"])["replay"] == expected
    for one in steps["known_at"][:: len(steps["known_at"]) // 3]:
        expected = command(url, "replay", "--account", str(name), "--known-at", one["at"])
        assert page.get(account, known_at=one["at"])["replay"] == expected
    curve = page.get(f"{account}/curve", columns=50)
    assert curve["columns"][-1][3] == page.get(account)["replay"]["balance"]


# ------------------------------------------------------------------------------------------------------------- states


@pytest.mark.parametrize(
    ("written", "exact"),
    [
        ("2026-06-15", "2026-06-15T23:59:59.999999Z"),
        ("2026-06-15 12:00", "2026-06-15T12:00:59.999999Z"),
        ("2026-06-15T12:00:05+03:00", "2026-06-15T09:00:05.999999Z"),
        ("2026-06-15T12:00:05Z", "2026-06-15T12:00:05Z"),
        ("2026-06-15T12:00:05.123Z", "2026-06-15T12:00:05.123Z"),
    ],
)
def test_a_moment_that_is_written_shorter_is_named_exactly_too(page, written, exact):
    path = account_path(ACCOUNT)
    found, same = (page.get(f"{path}?{urlencode({'until': one, 'known_at': one})}") for one in (written, exact))
    assert found["at"] == same["at"] == {"until": exact, "known_at": exact}
    assert still(found["replay"]) | {"until": 0, "known_at": 0} == still(same["replay"]) | {"until": 0, "known_at": 0}


@pytest.mark.parametrize("earliest", ["0001-01-01", "0001-01-01T00:00:00+15:59", "1969-12-31T23:59:59.999999Z"])
@pytest.mark.parametrize("latest", ["9999-12-31", "9999-12-31T23:59:59.999999Z", "9999-12-31T23:59:59-15:59"])
def test_moments_at_the_ends_of_the_calendar_are_no_fault(page, earliest, latest):
    for endpoint in ENDPOINTS:
        names = [one.name for one in endpoint.parameters if "24h" in one.schema.get("examples", ())]
        path = endpoint.path.replace("{server}/{login}", account_path(ACCOUNT).removeprefix("/api/accounts/"))
        if endpoint.method != "GET" or "{" in path:
            continue
        for query in [{one: moment} for one in names for moment in (earliest, latest)] + [
            dict(zip(names, (earliest, latest), strict=False))
        ]:
            assert page.ask(f"{path}?{urlencode(query)}").status in (200, 202, 400), (path, query)


def test_a_curve_reaches_to_the_newest_sample_of_what_the_account_is_worth(page, url):
    """What is open moves without events: between the last one and now is what an operator looks for."""
    path = account_path(ACCOUNT)
    mark, answer = page.get(path)["mark"], page.get(f"{path}/curve")
    last = page.get(f"{path}/log?limit=1")["rows"][0]["event_time"]
    assert mark["time"] > last
    assert answer["to"] > mark["time"]


def test_a_curve_of_the_past_ends_with_the_balance_that_was_known_then(page):
    path = account_path(ACCOUNT)
    for row in page.get(f"{path}/log", limit=500)["rows"]:
        curve = page.get(f"{path}/curve", known_at=row["recorded_at"])
        balance = page.get(path, known_at=row["recorded_at"])["replay"]["balance"]
        assert (curve["columns"][-1][3] if curve["columns"] else curve["opening"]) == balance


def test_a_link_states_whether_history_and_rules_are_those_of_whoever_made_it(page):
    path = account_path(ACCOUNT)
    now = page.get(path)
    made = {"v": 5, "h": page.get(path, v=5)["head"][:16], "f": now["fold"]}
    assert page.get(path, **made, known_at="2100-01-01")["link"] == {"h": "same", "f": "same"}
    for others in ({"h": "0" * 16}, {"h": made["h"][:3]}, {"v": 6}, {"v": 500}):
        assert page.get(path, **made | others, known_at="2100-01-01")["link"] == {"h": "differs", "f": "same"}
    assert page.get(path, **made | {"f": "00000000"})["link"] == {"h": "same", "f": "differs"}
    assert now["link"] == {"h": "-", "f": "-"}


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("/api/accounts/No-Such/1", 404, "AccountUnknown"),
        ("/api/nothing", 404, "NotFound"),
        ("/api/overview?page=9", 404, "NotFound"),
        ("/api/overview?sort=money", 400, "BadValue"),
        ("/api/overview?untill=1", 400, "BadValue"),
        (f"{account_path(ACCOUNT)}?until=soon", 400, "BadValue"),
        (f"{account_path(ACCOUNT)}?v=1&v=2", 400, "BadValue"),
        (f"{account_path(ACCOUNT)}/events/99999", 404, "NotFound"),
        (f"{account_path(ACCOUNT)}/breaks/1", 404, "NotFound"),
        (f"{account_path(ACCOUNT)}/curve?from=2026-02-01&to=2026-01-01", 400, "BadValue"),
        ("/api/breaks?kind=gost", 400, "BadValue"),
        (f"{account_path(ACCOUNT)}/explain?what=luck", 400, "BadValue"),
        ("/api/jobs/none", 404, "NotFound"),
        ("/static/../app.py", 404, "NotFound"),
        ("/static/%2e%2e/app.py", 404, "NotFound"),
        ("/static/nothing.js", 404, "NotFound"),
    ],
)
def test_what_is_not_understood_is_refused_with_what_was_expected(page, path, status, code):
    answer = page.ask(path)
    assert (answer.status, answer.json()["error"]["code"]) == (status, code)
    assert answer.json()["error"]["text"]


def test_files_have_their_types_and_every_view_is_the_one_document(page):
    assert page.ask("/static/uplot/uPlot.iife.min.js").headers["content-type"].startswith("text/javascript")
    assert page.ask("/static/uplot/uPlot.min.css").headers["content-type"].startswith("text/css")
    document = page.ask("/")
    assert document.headers["content-type"].startswith("text/html")
    for path in ("/breaks", "/log", "/health", "/a/Some%20Server/7", "/a/Some%20Server/7/log", "/a/S/7/breaks/12?x=1"):
        assert page.ask(path).body == document.body


@pytest.mark.parametrize("path", ["/nothing", "/breaks/", "/a/S/none", "/a/S/7/breaks/x", "/apiary", "/healthz"])
def test_a_browser_that_opens_an_address_of_nothing_gets_the_page_and_a_program_gets_json(page, path):
    document = page.ask("/").body
    opened = page.ask(path, accept="text/html,application/xhtml+xml,*/*;q=0.8")
    assert (opened.status, opened.headers["content-type"], opened.body) == (404, "text/html; charset=utf-8", document)
    assert page.ask(path).json()["error"]["code"] == "NotFound"
    for data in (f"/api{path}", f"/static{path}"):
        assert page.ask(data, accept="text/html").json()["error"]["code"] == "NotFound"


def test_every_window_that_ends_before_it_begins_is_refused_with_both_ends(page):
    times = ["2026-01-01", "2026-01-01T12:00", "2026-01-01T12:00:00Z", "2026-02-01"]
    windows = [
        (one.path.format(server=ACCOUNT.server, login=ACCOUNT.login), pair)
        for one in ENDPOINTS
        for pair in WINDOWS
        if set(pair) <= {each.name for each in one.parameters}
    ]
    assert len(windows) == 9
    named = {name for one in ENDPOINTS for each in one.parameters if "moment" in repr(each.read) for name in (each.name,)}
    assert named == {name for pair in WINDOWS for name in pair} | {"known_at"}
    for path, (begin, end) in windows:
        for first, last in itertools.product(times, times):
            answer = page.ask(path, **{begin: first, end: last})
            if moment_end_us(last) > moment_span_us(first)[0]:
                assert answer.status in (200, 202), answer
            else:
                text = answer.json()["error"]["text"]
                assert (answer.status, [f"{begin} {first}" in text, f"{end} {last}" in text]) == (400, [True, True]), text


def test_a_corrupt_account_names_its_version_and_others_work(url, tmp_path):
    shutil.copy(url.removeprefix("sqlite:///"), tmp_path / "desk.db")
    with sqlite3.connect(tmp_path / "desk.db") as database:
        for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            database.execute(f"DROP TRIGGER {name}")
        key = database.execute("SELECT account_id FROM accounts WHERE login = ?", (ACCOUNT.login,)).fetchone()[0]
        database.execute("UPDATE events SET data = '{' WHERE account_id = ? AND kind = 'BreakOpened'", (key,))
        database.execute("DELETE FROM checkpoints")
        database.execute("DELETE FROM summaries")
    with PageServer(Source.open(f"sqlite:///{tmp_path / 'desk.db'}")) as page:
        answer = page.ask(account_path(ACCOUNT))
        assert answer.status == 422, answer
        error = answer.json()["error"]
        assert (error["code"], error["account"], error["command"]) == ("CorruptEvent", str(ACCOUNT), "ledger verify")
        assert error["version"] > 0
        rows = page.get("/api/overview")["rows"]
        assert str(ACCOUNT) in {row["name"] for row in rows}
        assert [one["account"] for one in page.get("/api/breaks")["unread"]] == [str(ACCOUNT)]
        for row in rows:
            if row["name"] != str(ACCOUNT):
                assert page.ask(account_path(AccountId.parse(row["name"]))).status == 200


def test_an_empty_journal_is_no_error(tmp_path):
    url = f"sqlite:///{tmp_path / 'desk.db'}"
    Ledger.create(url).close()
    with PageServer(Source.open(url)) as page:
        found = page.get("/api/overview")
        assert (found["totals"]["accounts"], found["rows"], found["pages"]) == (0, [], 1)
        assert page.get("/api/breaks")["rows"] == []


def test_a_journal_that_is_away_is_503_and_comes_back():
    url = new_postgres_url()
    name = url.rpartition("/")[2].partition("?")[0]
    with Ledger.open(url) as ledger:
        ledger.account(ACCOUNT).open(currency="USD", mode="hedging")
    with PageServer(Source.open(url)) as page, bare_postgres(empty_postgres_url()) as server:
        known = page.get(account_path(ACCOUNT))
        server.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
        server.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", (name,))
        for path in ("/api/overview", account_path(ACCOUNT), "/api/breaks"):
            answer = page.ask(path)
            assert (answer.status, answer.headers["retry-after"]) == (503, "1")
            assert answer.json()["error"]["retryable"]
        assert page.ask("/api/session").status == 200
        server.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS true')
        assert page.get(account_path(ACCOUNT))["replay"] == known["replay"]


# ------------------------------------------------------------------------------------------------------------ evidence


def test_an_export_case_is_checked_offline_and_a_changed_one_is_not_believed(page, broken, tmp_path):
    answer = page.ask(f"{account_path(ACCOUNT)}/breaks/{broken}/case.zip")
    assert answer.status == 200
    assert answer.headers["content-disposition"].startswith("attachment;")
    zipfile.ZipFile(io.BytesIO(answer.body)).extractall(tmp_path)

    def checked():
        return subprocess.run([sys.executable, "-I", "check.py"], cwd=tmp_path, capture_output=True, text=True, check=False)

    assert (checked().returncode, checked().stdout) == (0, "all of it holds\n")
    assert list((tmp_path / "evidence").iterdir())
    before, after = (json.loads((tmp_path / f"portfolio_{one}.json").read_text("utf-8")) for one in ("before", "after"))
    assert len(before["breaks"]) < len(after["breaks"])
    changes = (
        ("events.jsonl", "BreakOpened", "BreakClosed"),
        ("chain.jsonl", '\\"EURUSD\\"', '\\"EURJPY\\"'),
        ("seal.txt", "account ", "account 9"),
    )
    for name, old, new in changes:
        content = (tmp_path / name).read_text("utf-8")
        assert old in content
        (tmp_path / name).write_text(content.replace(old, new), "utf-8")
        assert checked().returncode == 1, name
        (tmp_path / name).write_text(content, "utf-8")
    path = tmp_path / "events.jsonl"
    content = path.read_text("utf-8")
    for part, name in (("row", "symbol"), ("row", "data"), ("event", "correlation")):
        path.write_text(changed_line(content, lambda one: one[part].update({name: "mine"})), "utf-8")  # noqa: B023
        assert checked().returncode == 1, (part, name)
    path.write_text(changed_line(content, lambda one: one["event"]["data"].update(kind="mine")), "utf-8")
    assert "its readable form is not what was chained" in checked().stdout
    path.write_text(content, "utf-8")
    (tmp_path / "seal.txt").rename(tmp_path / "seal")
    case = (tmp_path / "case.json").read_text("utf-8")
    (tmp_path / "case.json").write_text(json.dumps(json.loads(case) | {"versions": {"last": 9, "sealed": None}}), "utf-8")
    assert (checked().returncode, "no seal is behind all of the case" in checked().stdout) == (0, True)
    evidence = next((tmp_path / "evidence").iterdir())
    evidence.write_bytes(evidence.read_bytes() + b" ")
    assert checked().returncode == 1


def changed_line(content, change):
    first, *others = content.splitlines()
    one = json.loads(first)
    change(one)
    return "\n".join([json.dumps(one), *others]) + "\n"


def test_evidence_is_an_attachment_of_plain_text_byte_by_byte(page, url):
    with Ledger.open(url) as ledger:
        account = ledger.account(ACCOUNT)
        version, digest = next((row.version, row.evidence) for row in ledger.journal.rows(ACCOUNT) if row.evidence)
        raw = account.evidence(digest)
    answer = page.ask(f"{account_path(ACCOUNT)}/events/{version}/evidence")
    assert answer.body == raw
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert answer.headers["content-disposition"].startswith("attachment;")
