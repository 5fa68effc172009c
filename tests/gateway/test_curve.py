"""Keys: who may read them, who is let in, and which error others get."""

from __future__ import annotations

import os
import shutil
import socket
import stat
import threading
from contextlib import suppress

import pytest
import zmq
import zmq.auth

from ledger.errors import BadValue, GatewayDenied, GatewayTimeout
from ledger.gateway.client import ZmqGateway
from ledger.gateway.curve import (
    authorise,
    authorised_keys,
    load_client_keys,
    load_server_keys,
    make_keys,
    mechanism_of,
)
from ledger.keyfiles import write_new
from tests.gateway.terminals import GIVE_UP_SEC, Terminal, echoing, silent, until

PATIENT = round(GIVE_UP_SEC * 1000)


@pytest.fixture
def folder(tmp_path):
    for name in ("server", "desk", "stranger"):
        make_keys(tmp_path, name)
    authorise(tmp_path / "desk.key", tmp_path / "authorised")
    return tmp_path


def keys_of(folder, name="desk", *, server="server"):
    return load_client_keys(folder / f"{name}.key_secret", folder / f"{server}.key")


# ---- files


@pytest.mark.skipif(os.name != "posix", reason="rights are those of POSIX")
def test_nobody_else_can_ever_read_a_secret_key(tmp_path, monkeypatch):
    created = []
    opened = os.open

    def watched(path, flags, mode=0o777, **options):
        descriptor = opened(path, flags, mode, **options)
        created.append((os.fspath(path), stat.S_IMODE(os.fstat(descriptor).st_mode)))
        return descriptor

    umask = os.umask(0)
    monkeypatch.setattr(os, "open", watched)
    try:
        _, secret = make_keys(tmp_path / "keys", "desk")
    finally:
        os.umask(umask)
    assert (str(secret), 0o600) in created
    assert stat.S_IMODE(secret.stat().st_mode) == 0o600
    assert stat.S_IMODE(secret.parent.stat().st_mode) == 0o700
    assert {path.name for path in secret.parent.iterdir()} == {"desk.key", "desk.key_secret"}


@pytest.mark.parametrize("there", ["server.key", "server.key_secret"])
def test_keys_are_never_overwritten(tmp_path, there):
    (tmp_path / there).write_text("mine")
    with pytest.raises(BadValue, match="never overwritten"):
        make_keys(tmp_path, "server")
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {there: "mine"}


def test_a_file_that_appears_meanwhile_is_not_overwritten_either(tmp_path):
    (tmp_path / "desk.key").write_text("mine")
    with pytest.raises(BadValue, match="never overwritten"):
        write_new(tmp_path / "desk.key", b"other", 0o600)
    assert (tmp_path / "desk.key").read_text() == "mine"


@pytest.mark.parametrize("name", ["", ".", "..", "../up", "a/b", ".hidden", "a\0b", "a\nb", "x" * 200])
def test_a_name_is_a_plain_one(tmp_path, name):
    with pytest.raises(BadValue, match="plain name"):
        make_keys(tmp_path, name)


@pytest.mark.skipif(os.name != "posix", reason="rights are those of POSIX")
@pytest.mark.parametrize("mode", [0o644, 0o640, 0o660, 0o604])
def test_a_secret_key_that_others_can_read_is_refused(folder, mode):
    (folder / "desk.key_secret").chmod(mode)
    with pytest.raises(BadValue, match="chmod 600"):
        keys_of(folder)


def test_what_is_no_secret_key_is_refused(folder):
    with pytest.raises(BadValue, match="key_secret"):
        load_server_keys(folder / "server.key")
    with pytest.raises(BadValue, match="expected a file of keys"):
        load_server_keys(folder / "nobody.key_secret")


@pytest.mark.parametrize(
    "text", ["", "public-key = ", 'public-key = "short"', f'public-key = "{"~" * 40}"', f'public-key = "{"#" * 40}"']
)
def test_what_is_no_key_is_refused_and_authorises_nobody(folder, text):
    (folder / "authorised" / "broken.key").write_text(text)
    with pytest.raises(BadValue):
        load_client_keys(folder / "desk.key_secret", folder / "authorised" / "broken.key")
    assert [path.name for path in authorised_keys(folder / "authorised")] == ["desk.key"]


def test_two_halves_of_different_pairs_are_refused(folder):
    one, other = (zmq.auth.load_certificate(folder / f"{name}.key_secret") for name in ("desk", "stranger"))
    file = folder / "desk.key_secret"
    file.write_bytes(file.read_bytes().replace(one[1] or b"", other[1] or b""))
    with pytest.raises(BadValue, match="do not belong together"):
        keys_of(folder)


def test_a_secret_key_is_not_shown(folder):
    keys = keys_of(folder)
    assert keys.secret.decode() not in repr(keys)
    assert keys.public.decode() in repr(keys)


def test_a_key_is_authorised_once_under_whatever_name(folder):
    allowed = folder / "authorised"
    shutil.copy(folder / "desk.key", folder / "again.key")
    assert authorise(folder / "again.key", allowed) == allowed / "desk.key"
    shutil.copy(folder / "stranger.key", folder / "other.pub")
    assert authorise(folder / "other.pub", allowed) == allowed / "other.key"  # only *.key is looked at
    assert len(authorised_keys(allowed)) == 2


def test_a_secret_key_is_never_copied_to_the_authorised(folder):
    with pytest.raises(BadValue, match="public one"):
        authorise(folder / "stranger.key_secret", folder / "authorised")


def test_a_name_that_another_key_has_is_refused(folder):
    (folder / "elsewhere").mkdir()
    make_keys(folder / "elsewhere", "desk")
    with pytest.raises(BadValue, match="of another key"):
        authorise(folder / "elsewhere" / "desk.key", folder / "authorised")


# ---- sockets


def client_of(server, keys):
    return ZmqGateway(server.endpoint, timeout_ms=PATIENT, keys=keys)


def test_an_authorised_client_is_let_in(folder):
    with Terminal(echoing, keys=folder) as server, client_of(server, keys_of(folder)) as gateway:
        assert gateway.positions().is_extended


def denied(server, keys):
    with client_of(server, keys) as gateway, pytest.raises(GatewayDenied) as refused:
        gateway.positions()
    assert server.asked == []
    return str(refused.value)


def test_a_client_that_is_not_authorised_gets_an_error_that_states_what_to_do(folder):
    with Terminal(echoing, keys=folder) as server:
        assert "ledger keys authorise" in denied(server, keys_of(folder, "stranger"))


def test_a_pinned_key_that_is_not_the_servers_is_reported_promptly(folder):
    with Terminal(echoing, keys=folder) as server:
        assert "pinned server key is not the gateway's" in denied(server, keys_of(folder, server="stranger"))


def test_a_client_without_keys_gets_an_error_that_the_server_has_some(folder):
    with Terminal(echoing, keys=folder) as server:
        assert "speaks with keys only, and we have none" in denied(server, None)


def test_a_client_with_keys_gets_an_error_that_the_server_has_none(folder):
    with Terminal(echoing) as server:
        assert "has no keys, and we speak with keys only" in denied(server, keys_of(folder))


def test_a_server_without_its_authenticator_lets_nobody_in(folder):
    with Terminal(echoing, keys=folder, enforce=False) as server:
        assert "no authenticator runs there" in denied(server, keys_of(folder))


def test_a_client_that_is_authorised_later_gets_in_without_a_restart_of_anything(folder):
    with Terminal(echoing, keys=folder) as server, client_of(server, keys_of(folder, "stranger")) as gateway:
        with pytest.raises(GatewayDenied):
            gateway.positions()
        # The socket that was made after it is denied too, and tries no more.
        until(lambda: gateway.reconnections == 0 and gateway._connected().denied is not None, "the second denial")
        authorise(folder / "stranger.key", folder / "authorised")
        assert gateway.positions().is_extended


def test_a_client_that_is_no_longer_authorised_is_refused_without_a_restart(folder):
    with Terminal(echoing, keys=folder) as server:
        with client_of(server, keys_of(folder)) as gateway:
            gateway.positions()
        (folder / "authorised" / "desk.key").unlink()
        with client_of(server, keys_of(folder)) as gateway, pytest.raises(GatewayDenied):
            gateway.positions()


def test_a_gateway_that_hangs_is_no_denial(folder):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        endpoint = f"tcp://127.0.0.1:{listener.getsockname()[1]}"
        gateway = ZmqGateway(endpoint, timeout_ms=250, keys=keys_of(folder))
        with gateway, pytest.raises(GatewayTimeout, match="it hangs"):
            gateway.positions()


def test_a_server_that_cuts_off_every_handshake_may_be_starting(folder):
    with socket.create_server(("127.0.0.1", 0)) as listener:  # as a tunnel does before its gateway is there
        done = threading.Event()

        def cut_off():
            listener.settimeout(0.05)
            while not done.is_set():
                with suppress(TimeoutError):
                    listener.accept()[0].close()

        cutting = threading.Thread(target=cut_off)
        cutting.start()
        for keys in (None, keys_of(folder)):
            gateway = ZmqGateway(f"tcp://127.0.0.1:{listener.getsockname()[1]}", timeout_ms=1500, keys=keys)
            with gateway, pytest.raises(GatewayTimeout):
                gateway.positions()
        done.set()
        cutting.join()


def test_the_protocol_of_a_gateway_is_read_from_its_greeting(folder):
    with Terminal(silent) as plain, Terminal(silent, keys=folder) as guarded:
        assert [mechanism_of(server.endpoint, GIVE_UP_SEC) for server in (plain, guarded)] == ["NULL", "CURVE"]
    assert mechanism_of(plain.endpoint, GIVE_UP_SEC) is None
