"""The other ways to the page: a Unix socket, a proxy with a secret, TLS; and who is signed in on each."""

from __future__ import annotations

import datetime as dt
import json
import socket
import ssl
import stat
import sys
import time

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from ledger.page.serve import CONNECTIONS_MAX, HEAD_SEC
from tests.support.page import Person, RunningPage, make_desk

NAME = "desk.example.com"
SECRET = "s" * 64
SETTINGS = f"""
[page]
hosts = ["{NAME}"]
allow_writes = true
[page.operators]
Ann = "approver"
[page.groups]
desk = "viewer"
"""
BROWSER = {"Content-Type": "application/json", "Sec-Fetch-Site": "same-origin", "Origin": f"https://{NAME}"}

pytestmark = pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="this system has no Unix sockets")


def by_proxy(page: RunningPage, method: str, path: str, user: str | None, content: object = None, **more: str):
    """Send what a proxy sends for a person whom it signed in."""
    headers = {} if user is None else {"X-Forwarded-User": user}
    return page.request(method, path, headers | {name.replace("_", "-"): one for name, one in more.items()}, content, host=NAME)


def test_a_proxy_signs_people_in_over_the_socket(tmp_path):
    make_desk(tmp_path, SETTINGS)
    path = tmp_path / "page.sock"
    with RunningPage(tmp_path, "--socket", str(path)) as page:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        ann = by_proxy(page, "GET", "/api/session", "ANN").json
        assert (ann["name"], ann["role"], ann["via"]) == ("Ann", "approver", "proxy")
        assert by_proxy(page, "GET", "/api/session", "bob", X_Forwarded_Groups="other,desk").json["role"] == "viewer"
        assert by_proxy(page, "GET", "/api/session", "eve").code == "NotPermitted"
        assert by_proxy(page, "GET", "/api/session", None).code == "SignInNeeded"
        write = {**BROWSER, "X-Ledger-Csrf": ann["csrf"]}
        assert by_proxy(page, "POST", "/api/nothing", "ann", {}, **write).status == 404
        assert by_proxy(page, "POST", "/api/nothing", "bob", {}, **write, X_Forwarded_Groups="desk").code == "TokenWrong"
        assert by_proxy(page, "POST", "/api/nothing", "ann", {}, **(write | {"Origin": "https://evil"})).code == "OtherOrigin"
        out = by_proxy(page, "POST", "/api/sign-out", "ann", {}, **write)
        assert out.json == {"signed_out": False, "reason": "a proxy signs this person in: sign out there"}
        assert page.request("GET", "/api/session", {"X-Forwarded-User": "ann"}, host="evil.example").status == 421
        second = page.command("page", "--socket", str(path))
        assert (second.returncode, "another program listens on the socket" in second.stderr) == (2, True)
        link = page.command("page", "link", "--socket", str(path), "--operator", "ann")
        assert link.stdout.startswith(f"https://{NAME}/#token="), link.stderr
        token = link.stdout.strip().partition("token=")[2]
        found = by_proxy(page, "POST", "/api/sign-in", None, {"token": token}, **BROWSER)  # a proxy that only speaks TLS
        assert found.json["role"] == "approver"
    assert not path.exists()
    rows = [json.loads(line) for line in page.errors if line.startswith("{")]
    assert [one["stated"] for one in rows if one.get("code") == "NotPermitted"] == ["eve"]


def test_a_socket_that_a_killed_page_left_is_used_again(tmp_path):
    make_desk(tmp_path, SETTINGS)
    path = tmp_path / "page.sock"
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))
    with RunningPage(tmp_path, "--socket", str(path)) as page:
        assert by_proxy(page, "GET", "/api/session", "ann").status == 200


@pytest.mark.parametrize("listen", ["localhost", "::1"])
def test_a_page_on_a_named_address_of_this_machine_leaves_the_other_to_nobody(listen, tmp_path):
    make_desk(tmp_path, f'[page]\nlisten = "{listen}"\n')
    with RunningPage(tmp_path) as page:
        assert page.request("GET", "/api/session").code == "SignInNeeded"
        for family, address in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
            with socket.socket(family) as theirs, pytest.raises(OSError, match="in use"):
                theirs.bind((address, page.port))
        link = page.command("page", "link", "--port", str(page.port), "--operator", "ann")
        assert (link.returncode, link.stdout.startswith("http://desk.localhost:")) == (0, True), link.stderr


def test_a_proxy_with_the_secret_is_the_only_way_in_where_others_could_read_along(tmp_path):
    make_desk(tmp_path, SETTINGS)
    (tmp_path / "secret").write_text(SECRET, encoding="utf-8")
    (tmp_path / "secret").chmod(0o600)
    with RunningPage(tmp_path, "--port", "0", "--listen", "0.0.0.0", "--proxy-secret-file", str(tmp_path / "secret")) as page:  # noqa: S104
        assert by_proxy(page, "GET", "/api/session", "ann", X_Ledger_Proxy_Secret=SECRET).json["name"] == "Ann"
        for secret in ({}, {"X_Ledger_Proxy_Secret": "x" * 64}):
            for path in ("/api/session", "/"):
                for user in ("ann", None):
                    assert by_proxy(page, "GET", path, user, **secret).code == "ProxyUnknown"
        assert SECRET not in "".join(page.errors)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """A certificate of our own, and its key."""
    folder = tmp_path_factory.mktemp("tls")
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, NAME)])
    begun = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(begun)
        .not_valid_after(begun + dt.timedelta(days=36_500))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(NAME), x509.DNSName("desk.localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    (folder / "cert.pem").write_bytes(made.public_bytes(pem))
    (folder / "key.pem").write_bytes(key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
    return folder


def test_with_tls_the_page_is_reached_from_other_machines(tmp_path, certificate):
    make_desk(tmp_path, SETTINGS)
    trusting = ssl.create_default_context(cafile=str(certificate / "cert.pem"))
    tls = ("--cert", str(certificate / "cert.pem"), "--key", str(certificate / "key.pem"))
    with RunningPage(tmp_path, "--port", "0", "--listen", "0.0.0.0", *tls, "--operator", "ann", tls=trusting) as page:  # noqa: S104
        page.host = NAME
        (link,) = page.until(lambda: page.links, "the link")
        assert link.startswith(f"https://{NAME}:{page.port}/#token=")
        ann: Person = page.person(page.tokens()[0])
        assert ann.get("/api/session").json["name"] == "Ann"
        assert ann.post("/api/nothing", {}).status == 404
        assert ann.post("/api/nothing", {}, Origin=f"http://{page.own_name}").code == "OtherOrigin"
        assert ann.get("/api/session", X_Forwarded_User="Ann").code == "ProxyUnknown"
        with socket.create_connection(("127.0.0.1", page.port)) as plain:
            plain.sendall(b"GET / HTTP/1.1\r\nHost: desk.example.com\r\n\r\n")
            assert not plain.recv(100).startswith(b"HTTP")


@pytest.mark.skipif(sys.platform == "win32", reason="systemd is not there")
def test_connections_that_never_speak_tls_use_up_nothing(tmp_path, certificate):
    make_desk(tmp_path, SETTINGS)
    trusting = ssl.create_default_context(cafile=str(certificate / "cert.pem"))
    tls = ("--cert", str(certificate / "cert.pem"), "--key", str(certificate / "key.pem"))
    with RunningPage(tmp_path, "--port", "0", "--listen", "0.0.0.0", *tls, tls=trusting) as page:  # noqa: S104
        page.host = NAME
        begun = time.monotonic()
        wires = [socket.create_connection(("127.0.0.1", page.port)) for _ in range(2 * CONNECTIONS_MAX)]
        page.until(lambda: sum(map(is_over, wires)) >= CONNECTIONS_MAX / 2, "the end of those that are too many")
        assert time.monotonic() - begun < HEAD_SEC
        page.until(lambda: all(map(is_over, wires)), "the end of those that never began")
        assert page.request("GET", "/").status == 200
        for wire in wires:
            wire.close()


def is_over(wire):
    wire.setblocking(False)
    try:
        return wire.recv(1) == b""
    except BlockingIOError:
        return False
    except ConnectionError:
        return True


def test_under_systemd_no_link_gets_into_its_log(tmp_path):
    make_desk(tmp_path, '[page.operators]\nann = "viewer"\n')
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notified:
        notified.bind(str(tmp_path / "notify"))
        notified.settimeout(60)
        environment = {"JOURNAL_STREAM": "8:1", "NOTIFY_SOCKET": str(tmp_path / "notify")}
        with RunningPage(tmp_path, "--port", "0", "--operator", "ann", environment=environment) as page:
            assert notified.recv(100) == b"READY=1"
            (line,) = page.until(lambda: page.links, "where the link is")
            file = line.strip().removeprefix("the link is in ")
            with open(file, encoding="utf-8") as links:  # noqa: PTH123
                token = links.read().strip().partition("#token=")[2]
            assert page.sign_in(token).json["name"] == "ann"
            assert token not in "".join(page.errors + page.links)


def test_metrics_are_served_beside_the_page(tmp_path):
    make_desk(tmp_path)
    with RunningPage(tmp_path, "--port", "0", "--metrics", "127.0.0.1:0") as page:
        (line,) = [one for one in page.errors if "metrics are at" in one]
        port = int(line.rpartition(":")[2].partition("/")[0])
        with socket.create_connection(("127.0.0.1", port)) as wire:
            wire.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
            assert b'ledger_safe_to_trade{login="70113",server="Broker-Live"} 0.0' in wire.makefile("rb").read()
        beside = page.request("GET", "/metrics")
        assert (beside.status, b"ledger_" in beside.body) == (404, False)
