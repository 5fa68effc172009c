"""What a page gives at once: long histories are jobs, slow statements end, and nothing that is asked breaks it."""

from __future__ import annotations

import shutil
import sqlite3
import threading

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import content_type_conformance, response_schema_conformance, status_code_conformance

from ledger import Ledger
from ledger.errors import JournalError
from ledger.journal.sql.journal import SqlJournal
from ledger.journal.sql.statement_limits import StatementLimits
from ledger.page import app, desk, looks, work
from ledger.page.source import Source
from tests.e2e.test_page_api import still, write_journal
from tests.support.journals import new_url
from tests.support.page_server import PageServer, account_path
from tools.testkit.facts import ACCOUNT

CHECKS = [not_a_server_error, response_schema_conformance, status_code_conformance, content_type_conformance]
SHORT = settings(
    max_examples=3, phases=[Phase.generate], deadline=None, derandomize=True, suppress_health_check=list(HealthCheck)
)
ENDLESS = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT count(*) FROM n WHERE x < 0"
LONG = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < 900000) SELECT count(*) FROM n"


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    return write_journal(tmp_path_factory.mktemp("limits"))


def test_a_cold_account_is_folded_by_a_job_and_its_answer_is_the_same(url, tmp_path, monkeypatch):
    with PageServer(Source.open(url)) as page:
        warm = {name: page.get(f"{account_path(ACCOUNT)}{name}") for name in ("", "/trades", "/explain", "/incidents")}
    shutil.copy(url.removeprefix("sqlite:///"), tmp_path / "cold.db")
    with sqlite3.connect(tmp_path / "cold.db") as database:
        database.executescript("DELETE FROM checkpoints; DELETE FROM followers; DELETE FROM summaries")
    for module in (work, desk):
        monkeypatch.setattr(module, "AT_ONCE", 3)
    monkeypatch.setattr(work, "_WAIT_SEC", 0)
    with PageServer(Source.open(f"sqlite:///{tmp_path / 'cold.db'}")) as page:
        page.desk.work.wait("the start of the page")
        page.desk.source.reader.forget(ACCOUNT)
        first = page.ask(account_path(ACCOUNT))
        if first.status != 200:  # it may be done by the time that it is asked for
            assert first.status == 202
            assert first.json()["of"] > 3
            assert page.wait(first.json()["job"])["state"] == "done"
        for name, expected in warm.items():
            assert still(page.get(f"{account_path(ACCOUNT)}{name}")) | {"derived": 0} == still(expected) | {"derived": 0}


def test_health_leaves_out_only_what_would_take_long_and_names_why(url, tmp_path, monkeypatch):
    monkeypatch.setattr(looks, "_EVENTS_MAX", 3)
    shutil.copy(url.removeprefix("sqlite:///"), tmp_path / "long.db")
    with sqlite3.connect(tmp_path / "long.db") as database:
        database.execute("DELETE FROM checkpoints")
    with PageServer(Source.open(f"sqlite:///{tmp_path / 'long.db'}")) as page:
        reader, name = page.desk.source.reader, str(ACCOUNT)

        def seen():
            return [(one.state, one.seen) for one in looks.checks_of(page.desk) if one.account == name and one.name == name]

        reader.forget(ACCOUNT)
        version = reader.account(ACCOUNT).version
        assert seen() == [("unavailable", f"not checked: {version} events have to be folded first")]
        reader.account(ACCOUNT).current()
        assert seen() == [("warning", "2 open breaks")]


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_a_statement_that_takes_too_long_ends_and_no_other_one_does(kind, tmp_path):
    with Ledger.open(new_url(kind, tmp_path)) as ledger:
        journal = ledger.journal
        assert isinstance(journal, SqlJournal)
        limits = StatementLimits(journal.engine)
        with limits.within(0.2) as limit, pytest.raises(JournalError):
            journal.select(ENDLESS)
        assert limit.is_over
        outcomes = []

        def without_limit():
            outcomes.append(journal.select(LONG))

        beside = threading.Thread(target=without_limit)
        beside.start()
        with limits.within(0.05), pytest.raises(JournalError):
            journal.select(ENDLESS)
        beside.join()
        assert outcomes == [[(900000,)]]
        with limits.within(60) as limit:
            assert journal.select("SELECT 1") == [(1,)]
        assert not limit.is_over
        limits.close()


def test_an_answer_that_takes_too_long_is_429_and_names_what_to_narrow(url, monkeypatch):
    monkeypatch.setattr(app, "STATEMENT_SEC", 0.1)
    with PageServer(Source.open(url)) as page:
        monkeypatch.setattr("ledger.journal.sql.looks.ROW", f"({ENDLESS}) AS x, *")
        answer = page.ask(f"{account_path(ACCOUNT)}/log")
        assert (answer.status, answer.json()["error"]["code"]) == (429, "TooMuch")
        assert "shorter period" in answer.json()["error"]["text"]


def test_nothing_that_fits_the_description_breaks_the_page_and_answers_fit_it_too(url, tmp_path):
    copy = f"sqlite:///{shutil.copy(url.removeprefix('sqlite:///'), tmp_path / 'copy.db')}"
    with PageServer(Source.open(copy, copy), allow_writes=True) as page:
        described = page.get("/api/openapi.json")
        for paths in described["paths"].values():  # accounts that are there, so that more than 404 is answered
            for operation in paths.values():
                for one in operation["parameters"]:
                    named = {"server": ACCOUNT.server, "login": ACCOUNT.login}.get(one["name"])
                    if one["in"] == "path" and named is not None:
                        one["schema"] = {"enum": [named]}
        for found in schemathesis.openapi.from_dict(described).get_all_operations():
            assert isinstance(found, Ok), found
            operation = found.ok()

            @SHORT
            @given(operation.as_strategy())
            def ask(case):
                answer = case.call(base_url=f"http://127.0.0.1:{page.port}")
                case.validate_response(answer, checks=CHECKS)

            ask()
