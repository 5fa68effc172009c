"""Verification names the account, the version and the field of whatever was changed behind the journal's back."""

# ruff: noqa: S608, RUF100  # a test breaks in on purpose
from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from itertools import count
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from ledger import AccountId, BalanceAsserted, CorruptEvent, Event, Ledger, OrderIntended
from ledger.cli import main
from ledger.codec import Stored
from ledger.journal.chain import covered, with_hash
from ledger.journal.sql.words import account_key
from tests.support.journals import (
    ACCOUNT,
    DURABLE,
    OTHER,
    START_MSC,
    Clock,
    Intruder,
    cash,
    digest_of,
    fill,
    ghost,
    new_url,
    opened,
    revised,
    shared_postgres,
    specified,
)
from tests.support.orders import TOKEN

ROOT = Path(__file__).resolve().parents[2]
LAST = 12
ANSWER = b'{"positions": []}'
KEY, OTHER_KEY = account_key(ACCOUNT), account_key(OTHER)
TEXTS = (
    "kind", "symbol", "data", "natural_key", "correlation", "evidence", "comment", "origin", "client_id", "token",
)  # fmt: skip
BLOBS = ("prev_hash", "hash", "checks")
NUMBERS = tuple(name for name in Stored._fields if name not in TEXTS + BLOBS)
#: Version of an event in the middle that has a value in the column.
SET = dict.fromkeys(Stored._fields, 4) | {
    "evidence": 9,
    "caused_by": 8,
    "order_msc": 6,
    "order_deal": 6,
    "client_id": 10,
    "token": 10,
}


def record_much(url):
    """Record on two accounts everything that rows can hold: late events, completions, revisions, corrections."""
    with Ledger.create(url, now_us=Clock()) as ledger:
        for account in (ACCOUNT, OTHER):
            events: list[Event] = [
                opened(account),
                specified("EURUSD"),
                fill(5, 5),
                fill(
                    6, 6, magic=77, reason=3, comment="a comment", external_id="ext", commission=-1, fee=-2, swap=-3, profit=4
                ),
                fill(7, 7, profit=None),
                fill(1, 1),  # late
                fill(7, 7, profit=5),  # completes
                revised(fill(5, 8, profit=9)),
                ghost(6, 20, evidence=digest_of(ANSWER)),
                OrderIntended(client_id="c1", token=TOKEN, kind="cancel", target_order=7, time_msc=START_MSC + 21_000),
                BalanceAsserted(balance=100, time_msc=START_MSC + 22_000),
                cash(30, 30),
            ]
            head = ledger.journal.append(account, events, correlation="a correlation", evidence=(ANSWER,)).head
            assert head.version == LAST
        assert ledger.verify().ok


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """The journals to copy: kind -> URL."""
    urls = {kind: new_url(kind, tmp_path_factory.mktemp(kind)) for kind in DURABLE}
    for url in urls.values():
        record_much(url)
    return urls


@pytest.fixture(params=DURABLE)
def kind(request):
    return request.param


_numbers = count()


def copy_of(url, folder):
    if not url.startswith("sqlite"):
        return shared_postgres().create_database(template=url)
    copied = folder / f"copy-{next(_numbers)}.db"
    shutil.copy(url.removeprefix("sqlite:///"), copied)
    return f"sqlite:///{copied}"


@pytest.fixture
def url(recorded, kind, tmp_path):
    return copy_of(recorded[kind], tmp_path)


@pytest.fixture
def intruder(url):
    """Somebody who removed what guards the tables."""
    intruder = Intruder(url)
    intruder.disarm()
    return intruder


@pytest.fixture
def sqlite_intruder(recorded, tmp_path):
    intruder = Intruder(copy_of(recorded["sqlite"], tmp_path))
    intruder.disarm()
    return intruder


def found(url):
    """What verification finds: (account, version, field)."""
    with Ledger.open(url) as ledger:
        verification = ledger.verify()
    assert verification.ok == (not verification.problems)
    return {(problem.account, problem.version, problem.field) for problem in verification.problems}


def at(version, *fields, account=ACCOUNT):
    return {(str(account), version, field) for field in fields}


def changed(value):
    """Another value of the same kind."""
    if isinstance(value, int):
        return value + 1
    return bytes([value[0] ^ 1]) + value[1:] if isinstance(value, bytes) else chr(ord(value[0]) ^ 1) + value[1:]


def event_value(intruder, name, version, key=KEY):
    [(value,)] = intruder(f"SELECT {name} FROM events WHERE account_id = ? AND version = ?", key, version)
    return value


def change_event(intruder, version, /, key=KEY, **columns):
    for name, value in columns.items():
        intruder(f"UPDATE events SET {name} = ? WHERE account_id = ? AND version = ?", value, key, version)


# ------------------------------------------------------------------------------------------------------------ untouched


def test_an_untouched_journal_raises_nothing(url):
    assert found(url) == set()


def test_a_journal_without_events_is_fine(tmp_path, kind):
    assert found(new_url(kind, tmp_path)) == set()


def test_a_journal_that_others_write_to_meanwhile_is_fine(url):
    """An append between reading the events and reading the head is no missing tail."""
    with Ledger.open(url) as ledger, Ledger.open(url) as other:
        numbers = count(100)

        class Busy:
            """The journal, where after every step of a verification somebody has appended."""

            def __getattr__(self, name):
                step = getattr(ledger.journal, name)
                if not callable(step):
                    return step

                def then_append(*args, **words):
                    result = step(*args, **words)
                    if name == "raw_rows":
                        result = iter(list(result))
                    if (number := next(numbers)) < 110:
                        for account in (ACCOUNT, OTHER, AccountId("New", number)):
                            other.journal.append(account, [opened(account), fill(number, number)])
                    return result

                return then_append

        verification = Ledger(Busy()).verify()
        assert verification.problems == ()
        assert next(numbers) > 110


# --------------------------------------------------------------------------------------------------- one changed column


@pytest.mark.parametrize("name", [name for name in Stored._fields if name != "version"])
def test_a_changed_column_is_named(name, intruder, url):
    version = SET[name]
    change_event(intruder, version, **{name: changed(event_value(intruder, name, version))})
    assert found(url) == at(version, name)


@pytest.mark.parametrize("version", range(1, LAST + 1))
@pytest.mark.parametrize("name", ["time_msc", "recorded_us", "hash", "prev_hash", "checks", "kind", "placement"])
def test_a_changed_column_is_named_wherever_the_event_is(name, version, intruder, url):
    value = event_value(intruder, name, version)
    change_event(intruder, version, **{name: (value + 1) % 3 if name == "placement" else changed(value)})
    assert found(url) == at(version, name)


@pytest.mark.parametrize(
    "name",
    [
        "deal",
        "deal_type",
        "entry",
        "position_id",
        "order_ticket",
        "symbol",
        "volume",
        "price",
        "commission",
        "fee",
        "swap",
        "profit",
        "magic",
        "reason",
        "comment",
        "origin",
        "data",
        "correlation",
        "caused_by",
        "evidence",
        "client_id",
        "token",
    ],
)
def test_a_forgotten_column_is_named(name, intruder, url):
    change_event(intruder, SET[name], **{name: None})
    assert found(url) == at(SET[name], name)


@pytest.mark.parametrize("name", ["deal", "caused_by", "evidence", "reason", "comment", "magic", "price", "order_ticket"])
def test_a_column_that_was_empty_and_now_has_a_value_is_named(name, intruder, url):
    version = {"caused_by": 4, "evidence": 4}.get(name, 10)
    assert event_value(intruder, name, version) is None
    change_event(intruder, version, **{name: "x" if name in TEXTS else 1})
    assert found(url) == at(version, name)


@pytest.mark.parametrize("by", [65521, -65521, 2 * 65521], ids=str)
def test_a_change_that_the_columns_own_check_does_not_show_is_still_found(by, intruder, url):
    change_event(intruder, 4, profit=event_value(intruder, "profit", 4) + by)
    assert found(url) == at(4, "hash")


def test_several_damages_are_all_named(intruder, url):
    change_event(intruder, 3, profit=1, volume=7)
    change_event(intruder, 9, natural_key="x")
    change_event(intruder, LAST, key=OTHER_KEY, profit=1)
    assert found(url) == at(3, "profit", "volume") | at(9, "natural_key") | at(LAST, "profit", account=OTHER)


def test_an_event_with_another_number_is_named_with_its_place(intruder, url):
    change_event(intruder, 4, version=400)
    assert found(url) == at(4, "version") | at(400, "version")


@pytest.mark.parametrize("number", [0, -1, -(2**62)])
def test_an_event_before_the_first_is_named(number, intruder, url):
    change_event(intruder, 4, version=number)
    assert at(number, "version") | at(4, "version") == found(url)


# --------------------------------------------------------------------------------------------------------- whole events


def columns():
    return ", ".join(f'"{name}"' for name in ("account_id", *Stored._fields))


def test_a_missing_event_is_named(intruder, url):
    intruder("DELETE FROM events WHERE account_id = ? AND version = 5", KEY)
    assert found(url) == at(5, "version")


def test_several_missing_events_are_named_by_the_first(intruder, url):
    intruder("DELETE FROM events WHERE account_id = ? AND version BETWEEN 4 AND 8", KEY)
    intruder("DELETE FROM events WHERE account_id = ? AND version = 10", KEY)
    assert found(url) == at(4, "version") | at(10, "version")


def test_a_missing_first_event_is_named(intruder, url):
    intruder("DELETE FROM events WHERE account_id = ? AND version = 1", KEY)
    assert found(url) == at(1, "version")


def test_swapped_events_are_named(intruder, url):
    for before, after in ((4, 400), (5, 4), (400, 5)):
        change_event(intruder, before, version=after)
    assert found(url) == at(4, "version") | at(5, "version")


def test_an_event_put_in_is_named(intruder, url):
    intruder(
        f"INSERT INTO events ({columns()}) SELECT "
        + columns().replace('"version"', "13").replace('"natural_key"', "'deal:99'")
        + " FROM events WHERE account_id = ? AND version = 12",
        KEY,
    )
    assert found(url) == at(13, "version", "natural_key", "heads.version")


def test_a_cut_tail_is_named_by_the_head(intruder, url):
    intruder("DELETE FROM events WHERE account_id = ? AND version > 9", KEY)
    with Ledger.open(url) as ledger:
        [problem] = ledger.verify().problems
    assert (problem.version, problem.field) == (9, "heads.version")
    assert "tail of the stream is missing" in problem.what


def test_a_wiped_account_is_named_by_its_head(intruder, url):
    intruder("DELETE FROM events WHERE account_id = ?", KEY)
    assert found(url) == at(0, "heads.version")


@pytest.mark.parametrize("also", ["events", "heads"])
def test_an_account_that_was_partly_removed_is_named(also, intruder, url):
    if intruder.is_sqlite:
        tables = ["accounts", also]
    else:
        tables = [also, "accounts"]
        for table in ("events", "heads"):
            intruder(f"ALTER TABLE {table} DROP CONSTRAINT fk_{table}_account_id")
    for table in tables:
        intruder(f"DELETE FROM {table} WHERE account_id = ?", KEY)
    left = (LAST, "heads.account_id") if also == "events" else (1, "account_id")
    assert {(version, field) for _, version, field in found(url)} == {left, (None, "evidence.account_id")}


def test_an_event_moved_to_another_account_is_missed_here_and_named_there(intruder, url):
    intruder(
        "UPDATE events SET account_id = ?, version = 13, natural_key = 'deal:66' WHERE account_id = ? AND version = 4",
        OTHER_KEY,
        KEY,
    )
    assert found(url) == at(4, "version") | at(13, "version", "natural_key", "heads.version", account=OTHER)


def test_the_last_event_of_one_account_does_not_continue_another(intruder, url):
    intruder("DELETE FROM events WHERE account_id = ? AND version = 12", OTHER_KEY)
    intruder("UPDATE events SET account_id = ? WHERE account_id = ? AND version = 12", OTHER_KEY, KEY)
    there = at(12, "prev_hash", "heads.hash", "heads.recorded_us", account=OTHER)
    assert found(url) == at(11, "heads.version") | there


def test_a_row_rewritten_with_a_hash_of_its_own_is_named_with_the_next(intruder, url):
    rewrite(intruder, url, 4, profit=999_000_000)
    assert found(url) == at(4, "version") | at(5, "prev_hash")


def test_a_last_row_rewritten_with_a_hash_of_its_own_is_named_by_the_head(intruder, url):
    rewrite(intruder, url, LAST, profit=999_000_000)
    assert found(url) == at(LAST, "heads.hash")


def test_a_rewritten_row_that_contradicts_itself_is_named(intruder, url):
    with Ledger.open(url) as ledger:
        data = next(iter(ledger.journal.rows(ACCOUNT, after=9))).data
    assert data is not None
    rewrite(intruder, url, 10, data=data.replace('"c1"', '"c2"'))
    assert found(url) == at(10, "client_id", "natural_key") | at(11, "prev_hash")


def rewrite(intruder, url, version, **columns):
    with Ledger.open(url) as ledger:
        row = next(iter(ledger.journal.rows(ACCOUNT, after=version - 1)))
    new = with_hash(row._replace(**columns), row.prev_hash)
    assert covered(new) != covered(row)
    change_event(intruder, version, **columns, hash=new.hash, checks=new.checks)


def test_the_same_deal_twice_is_named(intruder, url):
    intruder.drop_constraints()
    if intruder.is_sqlite:
        return  # there the key is the table itself
    intruder("UPDATE events SET natural_key = 'deal:5' WHERE account_id = ? AND version = 4", KEY)
    assert found(url) == at(4, "natural_key")


# -------------------------------------------------------------------------------------------------- heads and accounts


@pytest.mark.parametrize("name", ["version", "hash", "recorded_us", "last_msc", "last_deal"])
def test_a_changed_head_is_named(name, intruder, url):
    [(value,)] = intruder(f"SELECT {name} FROM heads WHERE account_id = ?", KEY)
    intruder(f"UPDATE heads SET {name} = ? WHERE account_id = ?", changed(value), KEY)
    assert found(url) == at(LAST, f"heads.{name}")


def test_a_missing_head_is_named(intruder, url):
    intruder("DELETE FROM heads WHERE account_id = ?", KEY)
    assert found(url) == at(None, "heads")


def test_a_head_that_fell_behind_is_named(intruder, url):
    intruder("UPDATE heads SET version = 3 WHERE account_id = ?", KEY)
    assert found(url) == at(LAST, "heads.version")


@pytest.mark.parametrize(
    ("name", "value"), [("server", "Elsewhere"), ("server", ""), ("server", "a/b"), ("login", 7), ("login", -7)]
)
def test_a_renamed_account_is_named_as_it_was(name, value, intruder, url):
    intruder(f"UPDATE accounts SET {name} = ? WHERE account_id = ?", value, KEY)
    assert at(None, f"accounts.{name}") <= found(url)
    assert not any(account == str(OTHER) for account, _, _ in found(url))


def test_an_account_with_another_id_is_named(intruder, url):
    if not intruder.is_sqlite:
        for table in ("events", "heads"):
            intruder(f"ALTER TABLE {table} DROP CONSTRAINT fk_{table}_account_id")
    intruder("UPDATE accounts SET account_id = 5 WHERE account_id = ?", KEY)
    strays = at(1, "account_id") | at(LAST, "heads.account_id") | at(None, "evidence.account_id")
    assert found(url) == at(None, "accounts.account_id") | strays


# --------------------------------------------------------------------- what only SQLite lets in: columns that hold anything


@pytest.mark.parametrize("name", TEXTS)
def test_text_that_is_no_text_is_named(name, sqlite_intruder):
    sqlite_intruder(f"UPDATE events SET {name} = CAST(x'41ff42' AS TEXT) WHERE account_id = ? AND version = ?", KEY, SET[name])
    assert found(sqlite_intruder.url) == at(SET[name], name)


@pytest.mark.parametrize("value", ["abc", 1.5, b"\x01", "", 1e300, "9223372036854775808"], ids=repr)
@pytest.mark.parametrize("name", [name for name in NUMBERS if name != "version"])
def test_a_number_that_is_no_whole_number_is_named(name, value, sqlite_intruder):
    change_event(sqlite_intruder, SET[name], **{name: value})
    assert found(sqlite_intruder.url) == at(SET[name], name)


@pytest.mark.parametrize("name", TEXTS)
def test_bytes_in_place_of_text_are_named(name, sqlite_intruder):
    change_event(sqlite_intruder, SET[name], **{name: b"\xff\x00"})
    assert found(sqlite_intruder.url) == at(SET[name], name)


@pytest.mark.parametrize("value", ["text", 5, b"", b"short"], ids=repr)
@pytest.mark.parametrize("name", BLOBS)
def test_no_hash_in_place_of_a_hash_is_named(name, value, sqlite_intruder):
    change_event(sqlite_intruder, 4, **{name: value})
    assert found(sqlite_intruder.url) == at(4, name)


@pytest.mark.parametrize("value", ["abc", 4.5, b"4"], ids=repr)
def test_a_version_that_is_no_number_is_named(value, sqlite_intruder):
    change_event(sqlite_intruder, 4, version=value)
    assert at(4, "version") <= found(sqlite_intruder.url)


@pytest.mark.parametrize("value", ["text", 1.5, b"\x00\xff"], ids=repr)
@pytest.mark.parametrize("name", ["version", "hash", "recorded_us", "last_msc", "last_deal"])
def test_a_head_that_holds_anything_is_named(name, value, sqlite_intruder, capsys):
    sqlite_intruder(f"UPDATE heads SET {name} = ? WHERE account_id = ?", value, KEY)
    assert found(sqlite_intruder.url) == at(LAST, f"heads.{name}")
    assert cli(sqlite_intruder.url, capsys)[0] == 1


@pytest.mark.parametrize("value", [b"\xff", 5.5, "\ud800".encode("utf-8", "surrogatepass")], ids=repr)
@pytest.mark.parametrize("name", ["server", "login"])
def test_an_account_name_that_is_none_is_named(name, value, sqlite_intruder, capsys):
    sqlite_intruder(f"UPDATE accounts SET {name} = ? WHERE account_id = ?", value, KEY)
    if name == "server" and isinstance(value, bytes):
        sqlite_intruder("UPDATE accounts SET server = CAST(server AS TEXT) WHERE account_id = ?", KEY)
    if (name, value) != ("server", 5.5):  # a number in a column of text becomes text
        assert at(None, f"accounts.{name}") == found(sqlite_intruder.url)
    assert cli(sqlite_intruder.url, capsys)[0] == 1


@pytest.mark.parametrize("name", ["comment", "correlation", "data", "kind", "symbol", "origin", "hash", "prev_hash", "checks"])
def test_a_flipped_byte_in_the_file_is_named(name, recorded, tmp_path):
    url = copy_of(recorded["sqlite"], tmp_path)
    path = Path(url.removeprefix("sqlite:///"))
    version = 4
    value = event_value(Intruder(url), name, version)
    row = event_value(Intruder(url), "checks", version)
    content = path.read_bytes()
    # The columns of a row are behind one another in the file, its checks at the end.
    end = content.index(row)
    needle = value if isinstance(value, bytes) else value.encode()
    place = end if name == "checks" else content.rindex(needle, 0, end)
    for bit in range(8):
        path.write_bytes(content[:place] + bytes([content[place] ^ 1 << bit]) + content[place + 1 :])
        assert at(version, name) == found(url), f"bit {bit}"


def test_a_flipped_byte_in_an_index_of_the_file_is_found(recorded, tmp_path, capsys):
    """The keys that make appends idempotent are in an index: damaged, a deal could land twice."""
    url = copy_of(recorded["sqlite"], tmp_path)
    path = Path(url.removeprefix("sqlite:///"))
    content = path.read_bytes()
    places = [place for place in range(len(content)) if content.startswith(b"deal:6", place)]
    assert len(places) == 4  # two accounts, each in the table and in the index
    seen = set()
    for place in places:
        path.write_bytes(content[: place + 5] + b"8" + content[place + 6 :])
        fields = {field for _, _, field in found(url)}
        assert "natural_key" in fields or "integrity_check" in fields
        assert cli(url, capsys)[0] == 1
        seen |= fields
    assert {"natural_key", "integrity_check"} <= seen


def test_a_torn_file_is_reported_as_damaged(recorded, tmp_path, capsys):
    url = copy_of(recorded["sqlite"], tmp_path)
    path = Path(url.removeprefix("sqlite:///"))
    content = path.read_bytes()
    path.write_bytes(content[:-4096] + bytes(4096))
    code, _ = cli(url, capsys)
    assert code == 1


def test_other_accounts_stay_readable(intruder, url):
    intruder("UPDATE accounts SET server = '' WHERE account_id = ?", KEY)
    with Ledger.open(url) as ledger:
        [account] = ledger.accounts()
        assert account.name == OTHER
        assert account.portfolio.balance == 200


# ------------------------------------------------------------------------------------------------------ the command line


def cli(url, capsys):
    with pytest.raises(SystemExit) as left:
        main(["verify", "--json", "--journal", url])
    output = capsys.readouterr().out
    output.encode()  # it can be printed
    return left.value.code, json.loads(output) if output else None


@pytest.mark.parametrize("name", [name for name in Stored._fields if name != "version"])
def test_the_command_states_what_it_found_and_exits_1(name, intruder, url, capsys):
    assert cli(url, capsys)[0] == 0
    version = SET[name]
    change_event(intruder, version, **{name: changed(event_value(intruder, name, version))})
    code, output = cli(url, capsys)
    assert (code, output["ok"]) == (1, False)
    assert {(one["account"]["login"], one["version"], one["field"]) for one in output["problems"]} == {
        (ACCOUNT.login, version, name)
    }
    assert [one["ok"] for one in output["accounts"]] == [False, True]


@pytest.mark.parametrize("name", TEXTS)
def test_what_is_no_text_can_still_be_printed(name, sqlite_intruder, capsys):
    sqlite_intruder(f"UPDATE events SET {name} = CAST(x'41ff42' AS TEXT) WHERE account_id = ? AND version = ?", KEY, SET[name])
    assert cli(sqlite_intruder.url, capsys)[0] == 1


def test_the_program_exits_1(intruder, url):
    change_event(intruder, 4, profit=77)
    run = subprocess.run(
        [sys.executable, "-m", "ledger", "verify", "--json"],
        env=os.environ | {"LEDGER_JOURNAL": url},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    output = json.loads(run.stdout)
    assert (run.returncode, run.stderr) == (1, "")
    [problem] = output["problems"]
    assert (problem["account"], problem["version"], problem["field"]) == (
        {"server": ACCOUNT.server, "login": ACCOUNT.login},
        4,
        "profit",
    )


# ------------------------------------------------------------------------------------------------------------- the law

_values = st.one_of(
    st.none(),
    st.integers(-(2**63), 2**63 - 1),
    st.text(max_size=20),
    st.binary(max_size=40),
    st.floats(allow_nan=False),
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    version=st.integers(1, LAST), name=st.sampled_from([name for name in Stored._fields if name != "version"]), value=_values
)
@example(version=9, name="position_id", value=None)
@example(version=1, name="data", value="{}")
@example(version=11, name="data", value=":")
def test_whatever_is_put_into_a_column_is_named(version, name, value, recorded, tmp_path):
    intruder = Intruder(copy_of(recorded["sqlite"], tmp_path))
    intruder.disarm()
    before = event_value(intruder, name, version)
    try:
        change_event(intruder, version, **{name: value})
    except Exception as error:  # noqa: BLE001  # not every value goes into every column
        assert "constraint" in str(error) or "too large" in str(error)  # noqa: PT017
        return
    after = event_value(intruder, name, version)
    expected = set() if (type(after), after) == (type(before), before) else at(version, name)
    assert found(intruder.url) in (expected, at(version, "hash") if expected else set())


@pytest.mark.parametrize("noise", [bytes(4096), bytes(range(256)) * 16], ids=["zeros", "noise"])
def test_what_is_before_a_torn_page_stays_readable(noise, tmp_path):
    """The journal opens, verify reports up to where it can be read, and what is before it and elsewhere is read."""
    url = new_url("sqlite", tmp_path)
    with Ledger.create(url, now_us=Clock()) as ledger:
        ledger.journal.append(OTHER, [opened(OTHER), fill(1, 1)])
        ledger.journal.append(ACCOUNT, [opened(), *(fill(n, n, comment=f"<{n}>") for n in range(1, 400))])
        before = ledger.account(ACCOUNT).replay(version=100, checkpoints=False).state()
    path = Path(url.removeprefix("sqlite:///"))
    content = path.read_bytes()
    page = content.index(b"<395>") // 4096
    path.write_bytes(content[: page * 4096] + noise + content[(page + 1) * 4096 :])
    with Ledger.open(url) as ledger:
        problems = ledger.verify().problems
        assert {problem.account for problem in problems} <= {str(ACCOUNT), "the file"}
        [problem] = [problem for problem in problems if problem.account == str(ACCOUNT)]
        assert problem.field == "the file"
        assert problem.version is not None
        assert 100 < problem.version < 397
        account = ledger.account(ACCOUNT)
        assert account.replay(version=100, checkpoints=False).state() == before
        assert len([*account.events(upto=problem.version - 1)]) == problem.version - 1
        assert ledger.account(OTHER).verify().problems == ()
        with pytest.raises(CorruptEvent):
            account.replay(checkpoints=False)
