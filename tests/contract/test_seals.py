"""Seals: what a chain alone cannot show, shown. Every tampering that can be staged is found and called by its name."""

# ruff: noqa: S608, RUF100  # a test breaks in on purpose
from __future__ import annotations

import json
import random
import shutil
import sqlite3
import subprocess
from collections import Counter
from itertools import count
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from ledger import BadValue, CorruptEvent, Ledger
from ledger.cli import main
from ledger.codec import Stored
from ledger.journal.chain import genesis, with_hash
from ledger.journal.sql.words import account_key
from ledger.seals import create, load_key, load_public_key, read
from ledger.signing_keys import make_keys
from ledger.values import AccountId
from tests.support.journals import Clock, Intruder, cash, digest_of, fill, ghost, new_url, opened, revised, shared_postgres

ACCOUNTS = [AccountId("Desk", login) for login in (1, 2, 3)]
TRIES = 500
RAW = b"{}"
COLUMNS = ", ".join(f'"{name}"' for name in Stored._fields)
_numbers = count(1)


def record(ledger, name, begin, end):
    for at in range(begin, end):
        recorded = [fill(at, at), cash(1000 + at, at), ghost(at, at + 0.5, evidence=digest_of(RAW))]
        ledger.journal.append(name, [recorded[at % 3]], evidence=[RAW])
    ledger.journal.append(name, [revised(fill(begin + begin % 3, begin, profit=end))], conflicts="keep")


@pytest.fixture(scope="module")
def key():
    return Ed25519PrivateKey.generate()


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def desk(request, tmp_path_factory, key):
    """A journal of three accounts, its seal, a copy from before the seal, and events recorded after it."""
    folder = tmp_path_factory.mktemp("seals")
    url = new_url(request.param, folder)
    with Ledger.create(url, now_us=Clock()) as ledger:
        for name in ACCOUNTS:
            ledger.journal.append(name, [opened(name)])
            record(ledger, name, 3, 24)
        ledger.close()
        older = copied(url, folder)
        for name in ACCOUNTS:
            record(ledger, name, 24, 33)
        seal = create(ledger.journal, key, ledger.now_us())
        for name in ACCOUNTS[:2]:
            record(ledger, name, 33, 36)
    return url, older, seal


def copied(url, folder):
    if url.startswith("sqlite"):
        target = folder / f"copy-{next(_numbers)}.db"
        shutil.copy(url.removeprefix("sqlite:///"), target)
        return f"sqlite:///{target}"
    return shared_postgres().create_database(template=url)


def discard(url):
    if url.startswith("sqlite"):
        Path(url.removeprefix("sqlite:///")).unlink()
    else:
        shared_postgres().drop_database(url)


def problems(url, seal):
    with Ledger.open(url) as ledger:
        return ledger.verify(since=seal).problems


# ------------------------------------------------------------------------------------------------------- the tampering


class Tamperer:
    """Somebody with all rights on the database, the program's source, and no key."""

    def __init__(self, url, chance):
        self.do = Intruder(url)
        self.do.disarm()
        self.do.drop_constraints()
        self.chance = chance
        self.name = chance.choice(ACCOUNTS)
        self.key = account_key(self.name)
        rows = self.do(f"SELECT {COLUMNS} FROM events WHERE account_id = ? ORDER BY version", self.key)
        self.rows = [Stored._make(bytes(value) if isinstance(value, memoryview) else value for value in row) for row in rows]

    def pick(self, low=2, high=None):
        """Pick a version; never the last one, where an edit and a new event look the same to everybody."""
        return self.chance.randint(low, (high or len(self.rows)) - 1)

    def number(self, before, after):
        self.do("UPDATE events SET version = ? WHERE account_id = ? AND version = ?", after, self.key, before)

    def shift(self, begin, by):
        """Renumber everything from a version on."""
        for row in self.rows[begin - 1 :][:: -1 if by > 0 else 1]:
            self.number(row.version, row.version + by)

    def head(self, version, row):
        """Put the head where it has to be, so that it does not give the rest away."""
        self.do(
            "UPDATE heads SET version = ?, hash = ?, recorded_us = ? WHERE account_id = ?",
            version, row.hash, row.recorded_us, self.key,
        )  # fmt: skip

    def put(self, row):
        marks = ", ".join("?" * (len(row) + 1))
        self.do(f"INSERT INTO events (account_id, {COLUMNS}) VALUES ({marks})", self.key, *row)

    def forged(self, version, prev_hash):
        """An event of the forger's own, with a hash that fits itself."""
        like = self.rows[self.pick() - 1]
        new = like._replace(version=version, natural_key=f"deal:{10**6 + version}", deal=10**6 + version)
        return with_hash(new, prev_hash)

    # ---- each returns the word that names it

    def edit(self):
        at = self.pick()
        row = self.rows[at - 1]
        name = self.chance.choice(
            ["time_msc", "recorded_us", "natural_key", "origin", "comment", "magic", "volume", "correlation"]
        )
        value = getattr(row, name)
        new = value + self.chance.choice([-1, 1, 1000]) if isinstance(value, int) else f"{value or ''}x"
        new = self.chance.randint(1, 9) if name in ("magic", "volume") and value is None else new
        self.do(f"UPDATE events SET {name} = ? WHERE account_id = ? AND version = ?", new, self.key, at)
        return "changed", at

    def edit_with_a_new_hash(self):
        at = self.pick()
        row = self.rows[at - 1]
        row = with_hash(row._replace(magic=(row.magic or 0) + 1), row.prev_hash)
        self.do(
            "UPDATE events SET magic = ?, hash = ?, checks = ? WHERE account_id = ? AND version = ?",
            row.magic, row.hash, row.checks, self.key, at,
        )  # fmt: skip
        return "edited", at

    def remove(self):
        at = self.pick()
        self.do("DELETE FROM events WHERE account_id = ? AND version = ?", self.key, at)
        return "removed", at

    def remove_and_close_the_gap(self):
        _, at = self.remove()
        self.shift(at + 1, -1)
        self.head(len(self.rows) - 1, self.rows[-1])
        return "removed", at

    def insert(self):
        at = self.pick()
        self.shift(at, 1)
        self.put(self.forged(at, self.rows[at - 2].hash))
        self.head(len(self.rows) + 1, self.rows[-1])
        return "inserted", at

    def insert_a_copy(self):
        at, like = self.pick(), self.rows[self.pick() - 1]
        self.shift(at, 1)
        self.put(like._replace(version=at, natural_key=f"{like.natural_key}x"))
        self.head(len(self.rows) + 1, self.rows[-1])
        return "inserted", at

    def swap(self):
        left, right = sorted(self.chance.sample(range(2, len(self.rows)), 2))
        for before, after in ((left, 10**6), (right, left), (10**6, right)):
            self.number(before, after)
        return "swapped", None

    def cut(self, seal=None):
        assert seal is not None
        at = self.pick(2, seal.accounts[self.name].version)
        self.do("DELETE FROM events WHERE account_id = ? AND version > ?", self.key, at)
        self.head(at, self.rows[at - 1])
        return "cut off", at + 1

    def rewrite(self, seal=None):
        """Write everything from some event on anew, as the program itself would have."""
        assert seal is not None
        at = self.pick(2, seal.accounts[self.name].version + 1)
        before = self.rows[at - 2].hash
        self.do("DELETE FROM events WHERE account_id = ? AND version >= ?", self.key, at)
        row = self.rows[at - 1]
        for row in self.rows[at - 1 :]:
            row = with_hash(row._replace(magic=77) if row.version == at else row, before)  # noqa: PLW2901
            self.put(row)
            before = row.hash
        self.head(row.version, row)
        return "rewritten", seal.accounts[self.name].version

    def wipe(self):
        for table in ("checkpoints", "evidence", "events", "heads", "accounts"):
            self.do(f"DELETE FROM {table} WHERE account_id = ?", self.key)
        return "removed", 1


WAYS = [
    "edit", "edit_with_a_new_hash", "remove", "remove_and_close_the_gap", "insert", "insert_a_copy", "swap", "cut", "rewrite",
    "wipe", "older copy",
]  # fmt: skip


def test_random_tampering_is_always_found_and_named(desk, tmp_path):
    """500 tries on SQLite; on Postgres, where a copy of a database takes longer, a tenth of that."""
    url, older, seal = desk
    tries = TRIES if url.startswith("sqlite") else TRIES // 10
    done: Counter[str] = Counter()
    for number in range(tries):
        chance = random.Random(number)
        way = WAYS[number % len(WAYS)]
        target = copied(older if way == "older copy" else url, tmp_path)
        if way == "older copy":
            word, version, names = "an older copy", None, [str(name) for name in ACCOUNTS]
        else:
            tamperer = Tamperer(target, chance)
            arguments = {"seal": seal} if way in ("cut", "rewrite") else {}
            word, version = getattr(tamperer, way)(**arguments)
            names = [str(tamperer.name)]
        found = problems(target, seal)
        about = [one for one in found if word in one.what and version in (None, one.version)]
        assert sorted({one.account for one in about}) == sorted(names), (number, way, version, found)
        assert {one.account for one in found} <= {*names, "the file"}, (number, way, found)
        done[way] += 1
        discard(target)
    assert len(done) == len(WAYS)


def test_an_untouched_journal_raises_nothing(desk, tmp_path, key):
    url, _, seal = desk
    for number in range(20):
        target = copied(url, tmp_path)
        assert problems(target, seal) == ()
        with Ledger.open(target, now_us=Clock(10**16 + number)) as ledger:
            ledger.account(ACCOUNTS[number % 3]).record(fill(7000 + number, 7000))  # and nothing that came since
            later = create(ledger.journal, key, ledger.now_us())
            assert ledger.verify(since=later).ok
            assert ledger.verify(since=seal).ok
        discard(target)


def test_many_renumbered_events_are_one_problem(desk, tmp_path):
    target = copied(desk[0], tmp_path)
    tamperer = Tamperer(target, random.Random(1))
    tamperer.shift(3, 1)
    tamperer.put(tamperer.forged(3, tamperer.rows[1].hash))
    tamperer.head(len(tamperer.rows) + 1, tamperer.rows[-1])
    found = problems(target, desk[2])
    assert len(found) < 5, found
    discard(target)


# ------------------------------------------------------------------------------------------------------------ the text


def test_a_seal_names_the_one_before(desk, tmp_path, key):
    target = copied(desk[0], tmp_path)
    with Ledger.open(target, now_us=Clock(10**16)) as ledger:
        second = create(ledger.journal, key, ledger.now_us())
        third = create(ledger.journal, key, ledger.now_us())
        assert (desk[2].previous, second.previous, third.previous) == (None, desk[2].digest, second.digest)
        assert ledger.journal.seals() == [desk[2].text, second.text, third.text]
    discard(target)


def test_every_changed_byte_of_a_seal_is_found(desk):
    text = desk[2].text
    for at in range(len(text) - 1):
        changed = text[:at] + chr(ord(text[at]) ^ 1) + text[at + 1 :]
        with pytest.raises((CorruptEvent, BadValue)):
            read(changed)
    for cut in range(len(text) - 1):
        with pytest.raises((CorruptEvent, BadValue)):
            read(text[:cut])


def test_somebody_elses_seal_is_read_and_not_trusted(desk, tmp_path, capsys):
    _, ours = make_keys(tmp_path, "ours")
    public, theirs = make_keys(tmp_path, "theirs")
    target = copied(desk[0], tmp_path)
    with Ledger.open(target) as ledger:
        (tmp_path / "x.seal").write_text(create(ledger.journal, load_key(theirs), ledger.now_us()).text)
    command = ["verify", "--journal", target, "--since", str(tmp_path / "x.seal"), "--json"]
    for trusted, code in ((public, 0), (tmp_path / "ours.pub.pem", 1)):
        with pytest.raises(SystemExit) as left:
            main([*command, "--trusted-key", str(trusted)])
        output = json.loads(capsys.readouterr().out)
        assert (left.value.code, output["ok"], output["seal"]["trusted"]) == (code, not code, not code)
        assert output["seal"]["key"] == load_public_key(public)
    discard(target)
    assert ours.stat().st_mode & 0o777 == 0o600


def test_openssl_agrees_with_the_signature(desk, tmp_path):
    """An auditor needs none of our code: the key is PEM, the signature is over the text before its line."""
    openssl = shutil.which("openssl")
    assert openssl, "every system that Python runs on here has it"
    public, secret = make_keys(tmp_path, "seal")
    target = copied(desk[0], tmp_path)
    with Ledger.open(target) as ledger:
        text = create(ledger.journal, load_key(secret), ledger.now_us()).text
    output, _, signature = text.rpartition("signature ")
    (tmp_path / "output").write_text(output, encoding="utf-8")
    (tmp_path / "signature").write_bytes(bytes.fromhex(signature))
    command = [openssl, "pkeyutl", "-verify", "-pubin", "-inkey", str(public), "-rawin"]
    files = ["-in", str(tmp_path / "output"), "-sigfile", str(tmp_path / "signature")]
    assert subprocess.run([*command, *files], capture_output=True, check=False).returncode == 0
    (tmp_path / "output").write_text(output.replace("accounts 3", "accounts 4"), encoding="utf-8")
    assert subprocess.run([*command, *files], capture_output=True, check=False).returncode != 0
    discard(target)


def test_a_seal_of_another_journal_proves_nothing(desk, tmp_path):
    with Ledger.create(new_url("sqlite", tmp_path)) as other:
        [problem] = other.verify(since=desk[2]).problems
    assert "another journal" in problem.what


@pytest.mark.parametrize(
    "text",
    ["", "ledger seal 1\n", "hello", "ledger seal 1\njournal x\nsignature 00\n", "ledger seal 2\nsignature \n"],
)
def test_what_is_no_seal_is_reported_as_such(text):
    with pytest.raises(BadValue, match="expected a seal"):
        read(text)


def test_keys_that_others_can_read_or_that_are_none_are_refused(tmp_path):
    public, secret = make_keys(tmp_path, "seal")
    with pytest.raises(BadValue, match="never overwritten"):
        make_keys(tmp_path, "seal")
    public.chmod(0o600)
    with pytest.raises(BadValue, match="expected a secret key"):
        load_key(public)
    with pytest.raises(BadValue, match="expected a public key"):
        load_public_key(secret)
    secret.chmod(0o640)
    with pytest.raises(BadValue, match="others can read"):
        load_key(secret)


def test_seals_and_identity_cannot_be_changed(desk, tmp_path):
    target = copied(desk[0], tmp_path)
    intruder = Intruder(target)
    for statement in (
        "UPDATE seals SET body = 'x'", "DELETE FROM seals", "UPDATE identity SET journal_id = 'x'", "DELETE FROM identity",
        "INSERT INTO identity (number, journal_id, made_us) VALUES (1, 'x', 1)",
    ):  # fmt: skip
        with pytest.raises(Exception, match=r"immutable|duplicate|permission"):
            intruder(statement)
    if intruder.is_sqlite:
        with pytest.raises(sqlite3.IntegrityError, match="immutable"):
            intruder("INSERT OR REPLACE INTO seals SELECT digest, made_us, 'x' FROM seals")
        with pytest.raises(sqlite3.IntegrityError, match="CHECK"):
            intruder("INSERT INTO identity (number, journal_id, made_us) VALUES (2, 'x', 1)")
    discard(target)


def test_the_first_predecessor_is_the_accounts_own():
    assert genesis(ACCOUNTS[0]) != genesis(ACCOUNTS[1])


def test_a_cut_of_the_only_account_is_distinguished_from_an_older_copy(tmp_path, key):
    """The journal still holds the note of a seal that it would be older than."""
    url = new_url("sqlite", tmp_path)
    with Ledger.create(url, now_us=Clock()) as ledger:
        ledger.journal.append(ACCOUNTS[0], [opened(ACCOUNTS[0]), *(fill(n, n) for n in range(1, 10))])
        ledger.close()
        older = copied(url, tmp_path)
        ledger.account(ACCOUNTS[0]).record(fill(50, 50))
        seal = create(ledger.journal, key, ledger.now_us())
        *_, before, _ = ledger.journal.rows(ACCOUNTS[0])
    intruder = Intruder(url)
    intruder.disarm()
    intruder("DELETE FROM events WHERE version = 11")
    intruder("UPDATE heads SET version = 10, hash = ?, recorded_us = ?", before.hash, before.recorded_us)
    [cut] = [one for one in problems(url, seal) if one.field == "seal"]
    assert cut.what.startswith("the tail was cut off")
    [old] = problems(older, seal)
    assert old.what.startswith("an older copy replaced the")
