"""An account that cannot be read hides no other: every listing names it and, where it adds nothing up, lists the others."""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger import CorruptEvent, Ledger, LedgerError
from ledger.cli import COMMANDS as MODULES
from ledger.codec import Stored
from ledger.journal.sql.words import account_key
from ledger.values import AccountId
from tests.support.commands import run
from tests.support.journals import Intruder, new_url
from tools.testkit.every_event import EVENTS
from tools.testkit.stories import START_MSC, fill

DAMAGED, WHOLE = AccountId("Desk", 2), (AccountId("Desk", 1), AccountId("Desk", 3))
#: Listings of several accounts that go on with the others; and those whose figures rest on every account.
LISTINGS = (
    ("accounts",), ("trades",), ("replay",), ("log",), ("explain", "balance"), ("explain", "position", "700"), ("breaks",),
    ("incidents", "--since", "9000d"), ("orders",), ("limits", "show"), ("equity",), ("monitors",), ("proposals", "--all"),
)  # fmt: skip
SUMS = (("positions",), ("balance",), ("balance", "--since", "2020-01-01"), ("report",))
#: Commands with ``--account`` or all accounts that list nothing of their events, or ask a gateway.
OTHERS = {
    "account", "alert", "backup", "compare", "correct", "derive", "doctor", "drift", "export", "gateway", "halt", "import",
    "init", "keys", "metrics", "order", "resume", "restore", "sandbox", "seal", "status", "sync", "verify", "page",
    "propose", "approve", "reject", "note", "policy", "archive", "directory", "fleet",
}  # fmt: skip
COLUMNS = sorted(set(Stored._fields) - {"version"})
VALUES = (None, "x", b"\xff", 1.5, -1, 2**62, "{", "[]")


@pytest.fixture(scope="module")
def desk(tmp_path_factory):
    """A journal of three accounts with every kind of event, whose events anybody can change."""
    folder = tmp_path_factory.mktemp("unread")
    url = new_url("sqlite", folder)
    with Ledger.open(url) as ledger:
        for name in (*WHOLE, DAMAGED):
            account = ledger.account(name)
            account.open(currency="USD", mode="hedging", clock="ny-close", time_msc=START_MSC)
            account.record_many([*EVENTS[1:], fill(70_001, position_id=700)])
    (folder / "ledger.toml").write_text("".join(f'[monitors."{name}"]\ndaily_loss = 100\n' for name in (*WHOLE, DAMAGED)))
    Intruder(url).disarm()
    return url


class Damage:
    """One column of one event of an account that holds something else for a while."""

    def __init__(self, url, version, column, value):
        self._path, self._column, self._value = url.removeprefix("sqlite:///"), column, value
        self._row = (account_key(DAMAGED), version)

    def _set(self, value):
        with closing(sqlite3.connect(self._path)) as connection, connection:
            where = "WHERE account_id = ? AND version = ?"
            [before] = connection.execute(f"SELECT {self._column} FROM events {where}", self._row).fetchone()  # noqa: S608
            connection.execute(f"UPDATE events SET {self._column} = ? {where}", (value, *self._row))  # noqa: S608
            return before

    def __enter__(self):
        try:
            self._before = self._set(self._value)
        except sqlite3.IntegrityError:  # the table itself refuses it
            return False
        return True

    def __exit__(self, *_):
        if hasattr(self, "_before"):
            self._set(self._before)


def last_version(url):
    with Ledger.open(url) as ledger:
        return ledger.account(DAMAGED).version


def test_every_command_is_a_listing_or_is_none():
    """A new command that lists several accounts goes into LISTINGS or SUMS."""
    assert {words[0] for words in LISTINGS + SUMS} | OTHERS >= set(MODULES)


def shapes(out):
    """Return what is shown of the other accounts: ages go on between two commands."""
    lines = out.decode().splitlines()
    return [re.sub(r"[\d.]+(e-\d+)?", "0", line) for line in lines if line and str(DAMAGED) not in line]


@pytest.mark.parametrize("form", ["", "--json"])
@pytest.mark.parametrize("words", LISTINGS, ids=" ".join)
def test_a_listing_names_the_account_that_cannot_be_read_and_shows_the_others(words, form, desk):
    shown = [*words, *([form] if form else [])]
    with Damage(desk, 1, "data", "{"):  # what it was opened with: nothing of it can be read
        ran = run(*shown, journal=desk)
    assert ran.code == 1
    assert f"{DAMAGED}: " in ran.err.decode()
    whole = run(*shown, *(part for name in WHOLE for part in ("--account", str(name))), journal=desk)
    assert whole.out
    assert shapes(ran.out) == shapes(whole.out)


@pytest.mark.parametrize("words", SUMS, ids=" ".join)
def test_what_adds_up_ends_and_names_the_account(words, desk):
    with Damage(desk, last_version(desk), "volume", None):
        ran = run(*words, journal=desk)
    assert ran.code == 1
    assert f"{DAMAGED} cannot be read; --account chooses others" in ran.err.decode()
    assert b"version" in ran.err


@settings(max_examples=50)
@given(st.data())
def test_a_damaged_row_is_an_error_that_names_it_and_never_a_fault_of_the_program(desk, data):
    """Whatever a column holds: an answer, or an error of the ledger; the fold states account and version."""
    version = data.draw(st.integers(1, last_version(desk)))
    damage = Damage(desk, version, data.draw(st.sampled_from(COLUMNS)), data.draw(st.sampled_from(VALUES)))
    words = data.draw(st.sampled_from(LISTINGS + SUMS))
    with damage as is_damaged:
        ran = run(*words, journal=desk)
        assert ran.code in ((0, 1, 2) if words in SUMS else (0, 1)), ran.text
        if ran.code and words[0] != "orders":
            assert str(DAMAGED) in ran.err.decode()
        if is_damaged:
            with Ledger.open(desk) as ledger:
                account = ledger.account(DAMAGED)
                for ask in (lambda: account.portfolio, lambda: list(account.trades()), account.current_orders):
                    try:
                        ask()
                    except CorruptEvent as error:
                        assert "version" in str(error) or "heads" in str(error)  # noqa: PT017  # it may also be none
                    except LedgerError:
                        pass


def test_verify_names_the_damaged_place_of_an_assertion_and_goes_on(desk):
    with Ledger.open(desk) as ledger:
        rows = ledger.journal.rows(DAMAGED)
        [version] = [row.version for row in rows if row.kind == "GhostClosed"]
        with Damage(desk, version, "order_msc", b"\xff"):
            found = {(one.version, one.field) for one in ledger.account(DAMAGED).verify().problems if one.field != "evidence"}
        assert found == {(version, "order_msc")}
