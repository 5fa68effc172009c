"""Several accounts at once, even if one is dead: drift, sync and doctor; and what doctor knows of a journal's surroundings."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from ledger import Ledger
from ledger.gateway.sandbox.client import Sandbox
from ledger.journal.notices import SentNotice
from ledger.journal.sql.engine import open_engine
from ledger.journal.sql.surroundings import file_system, pooler, text_encoding
from ledger.seals import create as create_seal
from ledger.service import utc_now_us
from tests.gateway.terminals import Terminal, plain, unused_port
from tests.support.commands import run
from tests.support.journals import (
    ACCOUNT,
    OTHER,
    Intruder,
    fill,
    new_postgres_url,
    new_url,
    opened,
    shared_postgres,
)
from tests.support.pooler import pooled

NAMES = ("Good/1", "Dead/2", "Differs/3", "Refused/4")


@pytest.fixture
def desk(tmp_path, monkeypatch):
    """A journal of four accounts, and their gateways in a file of settings beside it."""
    for name in ("LEDGER_JOURNAL", "GTW_HOST", "GTW_PORT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    url = new_url("sqlite", tmp_path)
    with Ledger.open(url) as ledger:
        for name in NAMES:
            ledger.account(name).open(currency="USD", mode="hedging")
    terminals = [
        Terminal(lambda *_: (b'{"status": "SUCCESS", "positions": []}',)), Terminal(plain),
        Terminal(lambda *_: (b'{"status": "SUCCESS", "positions": null}',)),
    ]  # fmt: skip
    good, differs, refused = (one.endpoint for one in terminals)
    urls = (good, f"tcp://127.0.0.1:{unused_port()}", differs, refused)
    lines = [f'[gateways."{name}"]\nurl = "{one}"\ntimeout_ms = 500\n' for name, one in zip(NAMES, urls, strict=True)]
    (tmp_path / "ledger.toml").write_text("".join(lines))
    yield url
    for one in terminals:
        one.stop()


def by_account(items):
    return {f"{one['account']['server']}/{one['account']['login']}": one for one in items}


def test_drift_compares_all_accounts_and_one_that_is_dead_is_a_line(desk):
    ran = run("drift", "--json", journal=desk)
    found = by_account(ran.json())
    assert ran.code == 3
    assert {name: one["agrees"] for name, one in found.items()} == dict(zip(NAMES, (True, None, False, None), strict=True))
    assert found["Dead/2"]["error"]["code"] in ("GatewayUnavailable", "GatewayTimeout")
    assert found["Dead/2"]["error"]["retryable"] is True
    assert found["Refused/4"]["error"]["code"] == "SnapshotRefused"
    text = run("drift", journal=desk)
    assert text.code == 3
    assert "Good/1: agrees\n" in text.out.decode()
    assert "Differs/3: differs\n" in text.out.decode()
    assert [line.split(":")[1] for line in text.err.decode().splitlines() if "unknown whether" in line] == [
        " Dead/2",
        " Refused/4",
    ]
    assert run("drift", "--account", "Differs/3", journal=desk).code == 1


def test_drift_and_doctor_take_the_accounts_that_are_named(desk):
    named = ("--account", "Good/1", "--account", "Dead/2", "--account", "Good/1")
    ran = run("drift", *named, "--json", journal=desk)
    assert (ran.code, sorted(by_account(ran.json()))) == (3, ["Dead/2", "Good/1"])
    checks = run("doctor", *named, "--account", "Nobody/9", "--json", journal=desk).json()
    assert {one["account"] for one in checks} == {None, "Good/1", "Dead/2", "Nobody/9"}
    assert {one["account"] for one in checks if one["gateway"]} >= {"Good/1", "Dead/2"}
    assert [(one["state"], one["seen"]) for one in checks if one["check"] == "Nobody/9"] == [("warning", "not in this journal")]
    assert run("drift", "--account", "Good/1", "--json", journal=desk).json()["agrees"] is True


def test_doctor_knows_how_old_the_last_seal_is(desk):
    def seal_check() -> tuple[str, str]:
        (found,) = (one for one in run("doctor", "--json", journal=desk).json() if one["check"] == "seal")
        return found["state"], found["seen"]

    assert seal_check() == ("ok", "none was made of this journal")
    key = Ed25519PrivateKey.generate()
    with Ledger.open(desk) as ledger:
        create_seal(ledger.journal, key, utc_now_us() - 3 * 86_400_000_000)
    assert seal_check() == ("warning", "1 made, the last 3 d ago")
    with Ledger.open(desk) as ledger:
        create_seal(ledger.journal, key, utc_now_us() - 3_600_000_000)
    assert seal_check() == ("ok", "2 made, the last 1 h ago")


def test_doctor_knows_how_far_derived_tables_are_behind_and_whether_a_channel_ever_worked(desk, tmp_path):
    settings = tmp_path / "alerts.toml"
    settings.write_text('[alerts]\nroutes = [["desk"]]\n[alerts.channels.desk]\ntype = "command"\ncommand = ["true"]\n')

    def check(name: str) -> tuple[str, str]:
        checks = run("--config", str(settings), "doctor", "--json", journal=desk).json()
        (found,) = (one for one in checks if one["check"] == name)
        return found["state"], found["seen"]

    assert check("derived tables") == ("ok", "nobody keeps them: reports are made of the events")
    with Ledger.open(desk) as ledger:
        events = {str(one.name): one.version for one in ledger.accounts()}
        ledger.account("Good/1").derived.catch_up()
        assert check("derived tables") == ("ok", f"{sum(events.values()) - events['Good/1']} events behind")
        for account in ledger.accounts():
            account.derived.catch_up()
        assert check("derived tables") == ("ok", "up to date")
        assert check("alerts by desk") == ("warning", "no notice was sent yet")
        ledger.journal.save_notice(SentNotice(key="k", stage=0, channel="desk", sent_us=utc_now_us() - 3_600_000_000))
    assert check("alerts by desk") == ("ok", "last notice 1 h ago")
    settings.write_text('[alerts.channels.desk]\ntype = "webhook"\nurl_file = "gone"\n')
    state, seen = check("alerts by desk")
    assert state == "warning"
    assert seen.startswith("alerts.channels.desk.url_file: the file that it names cannot be read")
    (tmp_path / "gone").write_text("https://hooks.example/secret")
    assert check("alerts by desk") == ("ok", "last notice 1 h ago")


def test_sync_covers_all_accounts_and_one_that_is_dead_is_one_result(desk):
    for words in (("sync", "--dry-run"), ("sync",)):
        ran = run(*words, "--json", journal=desk)
        states = {name: one["status"] for name, one in by_account(ran.json()).items()}
        assert states == dict(zip(NAMES, ("SUCCESS", "DEGRADED", "SUCCESS", "DEGRADED"), strict=True)), words
        assert ran.code == 3
    assert "Dead/2: DEGRADED" in run("sync", journal=desk).text


def test_one_with_wrong_keys_does_not_stop_the_others(desk, tmp_path):
    text = (tmp_path / "ledger.toml").read_text()
    (tmp_path / "ledger.toml").write_text(text + 'server_key = "none.key"\nclient_key = "none.key_secret"\n')
    found = by_account(run("sync", "--json", journal=desk).json())
    assert found["Good/1"]["status"] == "SUCCESS"
    assert (found["Refused/4"]["status"], "none.key" in found["Refused/4"]["reason"]) == ("FAILED", True)
    assert by_account(run("drift", "--json", journal=desk).json())["Good/1"]["agrees"] is True


def test_doctor_looks_at_every_account_and_refuses_what_drift_refuses(desk):
    ran = run("doctor", "--json", journal=desk)
    assert ran.code == 1
    gateways = {one["account"]: one for one in ran.json() if one["check"].startswith("gateway ")}
    assert {name: one["state"] for name, one in gateways.items()} == dict(
        zip(NAMES, ("ok", "unavailable", "warning", "failed"), strict=True)
    )
    assert all(one["gateway"] for one in gateways.values())
    syncs = {one["account"]: one["state"] for one in ran.json() if one["check"] == "sync"}
    assert syncs == dict.fromkeys(NAMES, "warning")
    assert "gateway" in run("doctor", journal=desk).text
    run("sync", journal=desk)
    after = {one["account"]: one["state"] for one in run("doctor", "--json", journal=desk).json() if one["check"] == "sync"}
    assert after == dict(zip(NAMES, ("ok", "warning", "ok", "warning"), strict=True))


def test_doctor_goes_on_behind_settings_that_cannot_be_read(tmp_path):
    url = new_url("sqlite", tmp_path)
    with Ledger.open(url) as ledger:
        ledger.journal.append(ACCOUNT, [opened()])
    (tmp_path / "ledger.toml").write_text('[alerts.channels.desk]\ntype = "pigeon"\n', encoding="utf-8")
    config = f"--config={tmp_path / 'ledger.toml'}"
    found = run(config, "doctor", "--json", journal=url)
    states = {one["check"]: one["state"] for one in found.json()}
    assert (found.code, states["settings"], states["triggers"], states[str(ACCOUNT)]) == (1, "failed", "ok", "ok")


@pytest.mark.parametrize("change", ["volume = NULL", "time_msc = 'x'", "kind = 'Nonsense'"])
def test_doctor_looks_at_every_account_whatever_one_has_in_the_journal(change, tmp_path):
    url = new_url("sqlite", tmp_path)
    with Ledger.open(url) as ledger:
        for name in (ACCOUNT, OTHER):
            ledger.journal.append(name, [opened(name), fill(1), fill(2)])
    intruder = Intruder(url)
    intruder.disarm()
    of_first = "account_id IN (SELECT account_id FROM accounts WHERE login = 70113)"
    intruder(f"UPDATE events SET {change} WHERE version = 2 AND {of_first}")  # noqa: S608  # of the test's own
    found = run("doctor", "--json", journal=url)
    states = {(one["account"], one["check"]): one["state"] for one in found.json()}
    assert (found.code, states[str(ACCOUNT), str(ACCOUNT)], states[str(OTHER), str(OTHER)]) == (1, "failed", "ok")


@pytest.mark.parametrize("fault", ["not-connected", "wrong-login", "half", "duplicate", "none", "error", "malformed", "stale"])
def test_doctor_states_ok_to_no_answer_that_drift_refuses(fault, tmp_path):
    url = new_url("sqlite", tmp_path)
    with Sandbox.start("--positions", "3", "--server-tz", "UTC") as sandbox:
        at = ("--gateway", sandbox.endpoint)
        assert run("sync", *at, journal=url).code == 0
        sandbox.fault(fault, times=-1)
        refused = run("drift", *at, journal=url).code == 3
        ran = run("doctor", "--json", *at, journal=url)
        (state,) = [one["state"] for one in ran.json() if one["check"].startswith("gateway ")]
        assert (state in ("failed", "unavailable")) is refused
        assert not refused or ran.code != 0


# ---------------------------------------------------------------------------------------------------------- surroundings

MOUNTS = """\
22 1 8:1 / / rw,relatime - ext4 /dev/sda1 rw
23 22 0:5 / /run rw - tmpfs tmpfs rw
24 22 0:6 / /srv/share rw shared:1 master:2 - nfs4 host:/x rw
25 24 0:7 / /srv/share/disk rw - xfs /dev/sdb rw
26 22 0:8 / /mnt/with\\040space rw - cifs //host/x rw
27 22 0:9 / /hidden rw - nfs host:/y rw
28 22 0:9 / /hidden rw - btrfs /dev/sdc rw
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/home/me", "ext4"), ("/run/x/desk.db", "tmpfs"), ("/runx", "ext4"), ("/srv/share", "nfs4"),
        ("/srv/share/disk/a", "xfs"), ("/mnt/with space/x", "cifs"), ("/hidden/x", "btrfs"), ("/", "ext4"),
    ],
)  # fmt: skip
def test_a_path_is_on_the_mount_that_is_nearest_and_latest(path, kind):
    assert file_system(Path(path), MOUNTS) == kind


def test_what_cannot_be_read_is_not_known():
    assert file_system(Path("/x"), "") is None
    assert file_system(Path("/x"), "nonsense\n - \n") is None


@pytest.mark.parametrize(("kind", "state"), [("nfs4", "failed"), ("tmpfs", "warning"), ("ext4", "ok"), (None, "ok")])
def test_doctor_knows_network_and_memory_file_systems(kind, state, tmp_path, monkeypatch):
    monkeypatch.setattr("ledger.journal.sql.surroundings.file_system", lambda _: kind)
    checks = {one["check"]: one for one in run("doctor", "--json", journal=new_url("sqlite", tmp_path)).json()}
    assert checks["file system"]["state"] == state


def test_doctor_knows_text_that_is_not_utf_8(tmp_path):
    import psycopg

    assert text_encoding(open_engine(new_url("sqlite", tmp_path))) == "UTF-8"
    server = shared_postgres()
    assert text_encoding(open_engine(server.url())) == "UTF8"
    with psycopg.connect(server.url().replace("+psycopg", ""), autocommit=True) as connection:
        connection.execute("CREATE DATABASE ascii TEMPLATE template0 ENCODING 'SQL_ASCII' LOCALE 'C'")
    try:
        url = server.url("ascii")
        checks = {one["check"]: one for one in run("doctor", "--json", journal=url).json()}
        assert checks["journal"]["state"] == "failed"
        assert "encoding SQL_ASCII" in checks["journal"]["seen"]
    finally:
        server.drop_database("ascii")


@pytest.mark.parametrize(("mode", "connections"), [("transaction", 1), ("transaction", 3), ("session", 1), ("session", 6)])
def test_doctor_knows_poolers(mode, connections):
    url = new_postgres_url()
    direct = open_engine(url)
    assert pooler(direct) is None
    direct.dispose()
    with pooled(url, mode=mode, connections=connections) as (through_pooler, _):
        through = open_engine(through_pooler)
        found = pooler(through)
        through.dispose()
    assert found == mode


def test_sqlite_has_no_pooler(tmp_path):
    assert pooler(open_engine(new_url("sqlite", tmp_path))) is None


@pytest.mark.parametrize(("mode", "state"), [(0o777, "failed"), (0o770, "warning"), (0o700, "ok"), (0o1777, "failed")])
def test_doctor_knows_folders_of_keys_that_others_can_write_to(mode, state, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    folder.chmod(mode)
    (tmp_path / "ledger.toml").write_text('[gateway]\nurl = "tcp://127.0.0.1:1"\nserver_key = "elsewhere/gateway.key"\n')
    checks = [
        one for one in run("doctor", "--json", journal=new_url("sqlite", tmp_path)).json() if one["check"] == "key folder"
    ]
    assert [one["state"] for one in checks] == [state]
