"""Attacks on the page: the real command in a process of its own, and what each attacker would send, byte by byte."""

from __future__ import annotations

import json
import signal
import socket
import stat
import time

import pytest

from ledger.page.routes import ENDPOINTS
from ledger.page.security.links import folder_of
from ledger.page.security.refusals import HEADERS
from ledger.page.serve import CONNECTIONS_MAX
from ledger.page_settings import PageSettings, Role
from tests.support.page import RunningPage, make_desk

SETTINGS = """
[page]
access_log = "access.log"
[page.operators]
ann = "approver"
Bob = "operator"
vic = "viewer"
mallory = "viewer"
"""
WRITE = "/api/alerts/test"
SECRETS = ("Broker-Live", "70113", "csrf", "desk.db")


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    folder = make_desk(tmp_path_factory.mktemp("page"), SETTINGS)
    with RunningPage(folder, "--port", "0", "--allow-writes", *("--operator", "ann", "--operator", "bob")) as running:
        yield running


@pytest.fixture(scope="module")
def people(page):
    return [page.person(token) for token in page.tokens(2)]


@pytest.fixture(scope="module")
def ann(people):
    return people[0]


@pytest.fixture(scope="module")
def bob(people):
    return people[1]


@pytest.fixture(scope="module")
def reading(tmp_path_factory):
    """A page that only reads, without settings: whoever started it is the only person."""
    with RunningPage(make_desk(tmp_path_factory.mktemp("reading")), "--port", "0", "--role", "admin") as running:
        yield running


@pytest.fixture(scope="module")
def admin(reading):
    return reading.person(reading.tokens()[0])


# ------------------------------------------------------------------------------------------------------------ signing in


def test_two_people_in_two_browsers_have_their_own_names_roles_and_tokens(ann, bob):
    assert (ann.get("/api/session").json["name"], ann.get("/api/session").json["role"]) == ("ann", "approver")
    assert (bob.get("/api/session").json["name"], bob.get("/api/session").json["role"]) == ("Bob", "operator")
    assert ann.csrf != bob.csrf
    assert ann.get("/api/session").json["csrf"] == ann.csrf


def test_the_cookie_is_for_this_name_alone_and_for_no_script(page):
    cookie = page.sign_in(page.token("vic")).header("set-cookie") or ""
    name, *attributes = cookie.split("; ")
    assert name.startswith("__Host-ledger=")
    assert attributes == ["Secure", "HttpOnly", "SameSite=Strict", "Path=/"]


def test_a_link_signs_in_once(page):
    token = page.token("vic")
    assert page.sign_in(token).status == 200
    again = page.sign_in(token)
    assert (again.status, again.code) == (401, "LinkUsed")
    assert again.header("set-cookie") is None


def test_of_many_who_use_a_link_at_once_one_signs_in(page):
    token, done = page.token("vic"), []
    body = json.dumps({"token": token}).encode()
    head = "".join(f"{name}: {value}\r\n" for name, value in page.script_headers().items())
    request = f"POST /api/sign-in HTTP/1.1\r\nHost: {page.own_name}\r\n{head}Content-Length: {len(body)}\r\n"
    wires = [socket.create_connection(("127.0.0.1", page.port)) for _ in range(5)]
    for wire in wires:
        wire.sendall(f"{request}Connection: close\r\n\r\n".encode() + body[:-1])
    for wire in wires:  # the last byte of each makes it a request
        wire.sendall(body[-1:])
    for wire in wires:
        with wire:
            done.append(wire.makefile("rb").read().split(b" ", 2)[1])
    assert sorted(done) == [b"200", *[b"401"] * 4]


def test_links_wait_in_files_that_only_their_owner_reads_and_no_file_signs_anybody_in(page):
    token = page.token("vic")
    files = [path for path in (page.folder / "run").rglob("*") if path.is_file()]
    assert files
    for path in (page.folder / "run" / "ledger-page").rglob("*"):
        assert not stat.S_IMODE(path.stat().st_mode) & 0o077, path
    assert not any(token.encode() in path.read_bytes() for path in files)
    assert page.sign_in(token).status == 200


def test_signing_in_again_in_the_same_browser_ends_what_was_before(page):
    first = page.person(page.token("vic"))
    second = page.sign_in(page.token("mallory"), Cookie=first.cookie)
    assert second.json["name"] == "mallory"
    assert first.get("/api/session").status == 401


def test_signing_out_ends_the_stream_and_the_cookie(page):
    vic = page.person(page.token("vic"))
    with page.connected() as wire:
        wire.sendall(f"GET /api/stream HTTP/1.1\r\nHost: {page.own_name}\r\nCookie: {vic.cookie}\r\n\r\n".encode())
        stream = wire.makefile("rb")
        assert b"200" in stream.readline()
        assert vic.post("/api/sign-out", {}).json == {"signed_out": True}
        assert b"event: hello" in stream.read()  # to its end
    assert vic.get("/api/session").status == 401


def test_a_name_of_several_programs_is_warned_of(page):
    token = page.token("vic")
    own = f"127.0.0.1:{page.port}"
    headers = {**page.script_headers(), "Origin": f"http://{own}"}
    found = page.request("POST", "/api/sign-in", headers, {"token": token}, host=own)
    assert "every program that listens on a port of it" in found.json["warning"]
    assert "warning" not in page.sign_in(page.token("vic")).json


@pytest.mark.parametrize("body", [b"{", b"[]", b'{"token": 7}', b"[" * 5000, b'{"token": "../../x"}', b"\xff"])
def test_no_body_signs_anybody_in(body, page):
    found = page.request("POST", "/api/sign-in", page.script_headers(), body)
    assert found.status in (400, 401)
    assert found.code in ("BadValue", "LinkUsed")


# --------------------------------------------------------------------------------------------------- names of the page


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "desk.localhost.evil.example",
        "evil.desk.localhost",
        "127.0.0.1.nip.io",
        "127.1",
        "2130706433",
        "0.0.0.0",  # noqa: S104
        "[::ffff:127.0.0.1]",
        "desk.localhost.",
        "desk.localhost@evil.example",
        "desk.localhost:8077:evil",
        "<img src=x onerror=alert(1)>",
        "\u202edesk.localhost",
        "",
    ],
)
def test_another_name_is_refused_before_all_else(host, ann, page):
    found = page.request("GET", "/api/session", {"Cookie": ann.cookie}, host=host or " ")
    assert found.status == 421
    assert found.code == "HostUnknown"
    assert not host.strip() or host.encode() not in found.body
    assert page.request("GET", "/", host=host or " ").status == 421


@pytest.mark.parametrize("host", ["DESK.localhost", "localhost:1", "127.0.0.1", "[::1]:8077"])
def test_names_of_this_machine_are_fine(host, ann, page):
    assert page.request("GET", "/api/session", {"Cookie": ann.cookie}, host=host).status == 200


def lines(*given: str) -> bytes:
    return ("\r\n".join(given) + "\r\n\r\n").encode()


def test_a_request_without_one_name_is_refused(ann, page):
    own, cookie = f"Host: {page.own_name}", f"Cookie: {ann.cookie}"
    for request, status in (
        (lines("GET /api/session HTTP/1.1", own, "Host: evil.example", cookie), 400),
        (lines("GET /api/session HTTP/1.1", own, own, cookie), 400),
        (lines("GET /api/session HTTP/1.1", cookie), 400),
        (lines("GET /api/session HTTP/1.0", cookie), 421),
        (lines("GET http://evil.example/api/session HTTP/1.1", own, cookie, "Connection: close"), 400),
        (lines(f"GET http://{page.own_name}/api/session HTTP/1.1", own, cookie, "Connection: close"), 400),
        (lines("GET //evil.example/api/session HTTP/1.1", own, "Connection: close"), 401),
        (lines("OPTIONS * HTTP/1.1", own, "Connection: close"), 400),
        (lines("CONNECT evil.example:443 HTTP/1.1", own, "Connection: close"), 400),
    ):
        (found,) = page.raw(request)
        assert found.status == status, request
        assert not any(secret.encode() in found.body for secret in SECRETS)


def test_http_1_0_is_answered_where_it_names_the_page(ann, page):
    (found,) = page.raw(lines("GET /api/session HTTP/1.0", f"Host: {page.own_name}", f"Cookie: {ann.cookie}"))
    assert found.status == 200
    assert found.json["name"] == "ann"


# ------------------------------------------------------------------------------------------------------------- cookies


def test_cookies_of_other_programs_sign_nobody_in(ann, page):
    value = ann.cookie.partition("=")[2]
    for cookie in (
        f"ledger={value}",
        f"__Host-other={value}",
        f"{ann.cookie}; {ann.cookie[:-1]}x",
        f"{ann.cookie[:-1]}x; {ann.cookie}",
        f"{ann.cookie}x",
        f"__host-ledger={value}",
        "__Host-ledger=",
        f'__Host-ledger="{value}"',
    ):
        assert page.request("GET", "/api/session", {"Cookie": cookie}).status == 401, cookie
    assert page.request("GET", "/api/session", {"Cookie": f"theirs=1; {ann.cookie}; more"}).status == 200


def test_a_sign_in_that_nobody_uses_ends(tmp_path):
    with RunningPage(make_desk(tmp_path, "[page]\nidle_min = 0.004\n"), "--port", "0") as page:
        person = page.person(page.tokens()[0])
        with page.connected() as wire:  # whoever looks uses it: so look only after so long as a head is waited for
            assert b"408" in wire.recv(100)
        assert person.get("/api/session").status == 401


# ------------------------------------------------------------------------------------------- cross-site request forgery


FORGED = {
    "a form": ({"Content-Type": "application/x-www-form-urlencoded"}, "NotJson"),
    "a form with a file": ({"Content-Type": "multipart/form-data; boundary=x"}, "NotJson"),
    "text that is JSON": ({"Content-Type": "text/plain"}, "NotJson"),
    "JSON among other types": ({"Content-Type": "text/plain; a=application/json"}, "NotJson"),
    "another site": ({"Sec-Fetch-Site": "cross-site"}, "OtherOrigin"),
    "another port of this machine": ({"Sec-Fetch-Site": "same-site"}, "OtherOrigin"),
    "a typed address": ({"Sec-Fetch-Site": "none"}, "OtherOrigin"),
    "another origin": ({"Origin": "http://evil.example"}, "OtherOrigin"),
    "no origin of a sandbox": ({"Origin": "null"}, "OtherOrigin"),
    "another scheme": ({"Origin": "https://desk.localhost"}, "OtherOrigin"),
    "another port": ({"Origin": "http://desk.localhost:1"}, "OtherOrigin"),
    "a wrong token": ({"X-Ledger-Csrf": "x" * 43}, "TokenWrong"),
    "an empty token": ({"X-Ledger-Csrf": ""}, "TokenWrong"),
}


@pytest.mark.parametrize("way", FORGED)
def test_a_write_that_the_page_did_not_send_is_refused(way, ann, page):
    headers, code = FORGED[way]
    found = ann.post(WRITE, {}, **headers)
    assert (found.status, found.code) == (403, code)
    if code != "TokenWrong":  # nor can another page sign a browser in as somebody else
        token = page.token("vic")
        assert page.sign_in(token, **headers).status == 403
        assert page.sign_in(token).status == 200


@pytest.mark.parametrize("name", ["Content-Type", "Sec-Fetch-Site", "X-Ledger-Csrf"])
def test_a_write_without_what_only_the_page_sends_is_refused(name, ann):
    assert ann.post(WRITE, {}, without=[name]).status == 403


def test_the_token_of_one_person_is_none_for_another(ann, bob):
    found = ann.post(WRITE, {}, **{"X-Ledger-Csrf": bob.csrf})
    assert (found.status, found.code) == (403, "TokenWrong")


def test_a_write_of_the_page_itself_reaches_it(ann):
    assert ann.post("/api/nothing", {}).status == 404
    assert ann.post("/api/nothing", {}, without=["Origin"]).status == 404


def test_another_page_reads_nothing(ann):
    for site in ("cross-site", "same-site"):
        assert ann.get("/api/session", Sec_Fetch_Site=site).code == "OtherOrigin"
    assert ann.get("/api/session", Sec_Fetch_Site="none").status == 200
    assert ann.get("/api/session", Origin="http://evil.example").header("access-control-allow-origin") is None


@pytest.mark.parametrize("method", ["OPTIONS", "PUT", "DELETE", "PATCH", "TRACE", "get", "PROPFIND"])
def test_other_methods_are_refused(method, ann, page):
    found = page.request(method, "/api/session", {"Cookie": ann.cookie})
    assert (found.status, found.code, found.header("allow")) == (405, "MethodUnknown", "GET, HEAD, POST")


# -------------------------------------------------------------------------------------------------------------- roles


def test_a_link_gives_no_higher_role_than_the_settings(page):
    more = page.command("page", "link", "--port", str(page.port), "--operator", "vic", "--role", "admin")
    assert more.returncode == 2
    assert "vic has the role viewer in [page.operators] of ledger.toml, not admin" in more.stderr
    other = page.command("page", "link", "--port", str(page.port), "--operator", "eve")
    assert other.returncode == 2
    assert "eve is not in [page.operators]" in other.stderr


def test_a_link_file_that_somebody_changed_gives_no_higher_role(page):
    token = page.token("vic")
    (path,) = (page.folder / "run" / "ledger-page").rglob("links/*.json")
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | {"role": "admin"}), encoding="utf-8")
    assert page.sign_in(token).json["role"] == "viewer"


def test_one_person_has_one_name_however_it_is_written(page):
    assert page.sign_in(page.token("BOB")).json["name"] == "Bob"


def paths(method: str) -> list[tuple[str, Role]]:
    values = {"server": "Broker-Live", "login": "70113", "version": "1", "job": "x"}
    return [(one.path.format(**values), one.role) for one in ENDPOINTS if one.method == method]


def test_no_endpoint_answers_anybody_who_is_not_signed_in(page):
    reads = [path for path, _ in paths("GET")] + ["/api/stream"]
    assert len(reads) > 20
    for path in reads:
        found = page.request("GET", path)
        assert (found.status, found.code) == (401, "SignInNeeded"), path
    for path, _ in [*paths("POST"), (WRITE, Role.ADMIN)]:
        assert page.request("POST", path, page.script_headers(), {}).status == 401, path


def test_no_endpoint_answers_a_lower_role_than_its_own(page):
    roles = {"vic": Role.VIEWER, "bob": Role.OPERATOR, "ann": Role.APPROVER}
    people = {role: page.person(page.token(name, role)) for name, role in roles.items()}
    for path, role in paths("POST"):
        for has, person in people.items():
            found = person.post(path, {})
            assert (found.status == 403) is (has < role), (path, has, found)


def test_headers_of_a_proxy_are_a_forgery_here(ann, page):
    for name in ("X-Forwarded-User", "X-Forwarded-Groups", "X-Ledger-Proxy-Secret"):
        for path in ("/api/session", "/"):
            found = page.request("GET", path, {name: "ann"})
            assert (found.status, found.code) == (403, "ProxyUnknown")
        assert ann.get("/api/session", **{name: "admin"}).status == 403


def test_a_page_that_only_reads_refuses_every_write(admin):
    assert admin.said["role"] == "admin"
    found = admin.post(WRITE, {})
    assert (found.status, found.code) == (403, "ReadOnly")
    assert "--allow-writes" in found.json["error"]["text"]


def test_a_cookie_means_nothing_to_another_page(admin, ann, page, reading):
    assert reading.request("GET", "/api/session", {"Cookie": ann.cookie}).status == 401
    assert page.request("GET", "/api/session", {"Cookie": admin.cookie}).status == 401


# ------------------------------------------------------------------------------------------------- sizes and slowness


def test_what_is_too_large_is_refused(ann, page):
    head = f"POST {WRITE} HTTP/1.1\r\nHost: {page.own_name}\r\nCookie: {ann.cookie}\r\nX-Ledger-Csrf: {ann.csrf}\r\n"
    head += "".join(f"{name}: {value}\r\n" for name, value in page.script_headers().items())
    chunk = b"10000\r\n" + b" " * 0x10000 + b"\r\n"
    for request, status in (
        (f"{head}Content-Length: 65537\r\n\r\n".encode(), 413),
        (f"{head}Content-Length: {10**30}\r\n\r\n".encode(), 400),
        (f"{head}Transfer-Encoding: chunked\r\n\r\n".encode() + chunk * 2, 413),
        (f"{head}Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{{}}\r\n0\r\n\r\n".encode(), 400),
        (lines("GET / HTTP/1.1", f"Host: {page.own_name}", "Content-Length: 1") + b"x", 413),
        (lines("GET / HTTP/1.1", f"Host: {page.own_name}", f"X: {'y' * 20_000}"), 431),
        (lines(f"GET /{'y' * 20_000} HTTP/1.1", f"Host: {page.own_name}"), 431),
        (lines(f"GET /?{'y' * 20_000} HTTP/1.1", f"Host: {page.own_name}"), 431),
        (lines("GET / HTTP/1.1", f"Host: {page.own_name}", f"X: {'y' * 200_000}"), 400),
        (lines("GET / HTTP/1.1", f"Host: {page.own_name}", "X: a\x00b"), 400),
        (lines("GET / HTTP/1.1", f"Host: {page.own_name}", "X : a"), 400),
        (b"\x16\x03\x01\x00\xa5\x01\x00\x00", 400),
    ):
        found = page.raw(request)[0]
        assert found.status == status, request[:200]
        assert {name.decode(): value.decode() for name, value in HEADERS.items()}.items() <= dict(found.headers).items()


@pytest.mark.parametrize("begun", [b"", b"GET / HT", b"GET / HTTP/1.1\r\nHost: desk.localhost\r\nX: "])
def test_a_head_that_does_not_arrive_is_not_waited_for(begun, page):
    (found,) = page.raw(begun)
    assert (found.status, found.code) == (408, "TooSlow")


def test_a_second_head_that_does_not_arrive_is_not_waited_for_either(page):
    first, second = page.raw(lines("GET /static/nothing HTTP/1.1", f"Host: {page.own_name}") + b"GET /api")
    assert (first.status, second.status) == (404, 408)


def test_a_body_that_does_not_arrive_is_not_waited_for(page):
    head = "".join(f"{name}: {value}\r\n" for name, value in page.script_headers().items())
    request = f"POST /api/sign-in HTTP/1.1\r\nHost: {page.own_name}\r\n{head}Content-Length: 9\r\n\r\n{{"
    found = page.raw(request.encode())[0]
    assert (found.status, found.code, found.header("connection")) == (408, "TooSlow", "close")


def test_answers_that_nobody_reads_are_not_waited_for(page):
    with socket.socket() as wire:
        wire.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)  # soon full
        wire.settimeout(60)
        wire.connect(("127.0.0.1", page.port))
        with pytest.raises(ConnectionError):
            send_until_it_hangs_up(wire, lines("GET /static/uplot/uPlot.esm.js HTTP/1.1", f"Host: {page.own_name}") * 100)


def send_until_it_hangs_up(wire, request):
    while True:
        wire.sendall(request)


def test_connections_that_ask_for_nothing_keep_nobody_out(admin, reading):
    wires = [socket.create_connection(("127.0.0.1", reading.port)) for _ in range(CONNECTIONS_MAX)]
    assert admin.get("/api/session").status == 200
    for wire in wires:
        wire.close()


def test_one_browser_opens_no_more_streams_than_there_may_be(page):
    vic = page.person(page.token("vic"))
    request = f"GET /api/stream HTTP/1.1\r\nHost: {page.own_name}\r\nCookie: {vic.cookie}\r\n\r\n".encode()
    wires = [socket.create_connection(("127.0.0.1", page.port)) for _ in range(24)]
    for wire in wires:
        wire.sendall(request)
        assert b"200" in wire.recv(100)
    found = vic.get("/api/session")
    assert (found.status, found.code) == (429, "TooMuch")
    for wire in wires:
        wire.close()
    page.until(lambda: vic.get("/api/session").status == 200, "the streams to end")


def test_a_websocket_is_none_here(ann, page):
    upgrade = ("Connection: Upgrade, close", "Upgrade: websocket", "Sec-WebSocket-Key: x", "Sec-WebSocket-Version: 13")
    (found,) = page.raw(lines("GET /api/stream HTTP/1.1", f"Host: {page.own_name}", *upgrade))
    assert found.status == 401
    (found,) = page.raw(lines("GET /api/session HTTP/1.1", f"Host: {page.own_name}", f"Cookie: {ann.cookie}", *upgrade))
    assert found.status == 200


# --------------------------------------------------------------------------------------------------- paths and headers


@pytest.mark.parametrize(
    "path",
    [
        "/static/../../../etc/passwd",
        "/static/..%2f..%2f..%2fetc/passwd",
        "/static/%2e%2e/%2e%2e/serve.py",
        "/static/%252e%252e/serve.py",
        "/static/..\\..\\serve.py",
        "/static/%5c..%5cserve.py",
        "/static//etc/passwd",
        "/static/%2fetc/passwd",
        "/static/app.py%00.js",
        "/static/.",
        "/static/%c0%ae%c0%ae/serve.py",
        "/%61pi/session",
        "/api%2fsession",
        "/static/../api/session",
        "/static/%2e%2e/api/session",
        "/a/../api/session",
        "/a/..%2fapi/session",
        "/a//api/session",
        "/API/session",
        "/api/session;x",
        "/./api/session",
        "/api/accounts/Broker%2DLive/70113",
        "/api/accounts/%42roker-Live/70113",
    ],
)
def test_no_way_of_writing_a_path_gets_around_the_sign_in(path, page):
    found = page.request("GET", path)
    assert found.status in (400, 401, 404), found
    assert not any(text in found.body for text in (b"root:", b"import ", b"Broker", b"70113", b"csrf"))


def test_an_account_is_found_by_its_percent_encoded_name(ann):
    assert ann.get("/api/accounts/Broker%2DLive/70113").status == 200
    assert ann.get("/api/accounts/Broker%2DLive%2Fx/70113").status in (400, 404)


def test_nothing_of_a_request_gets_into_the_headers_of_an_answer(ann, page):
    for path in ("/api/%0d%0aSet-Cookie:%20x=1", "/a/%0d%0aX-Evil:%201/7", "/static/%0aX-Evil:1"):
        found = ann.get(path)
        names = {name for name, _ in found.headers}
        assert not names & {"x-evil", "set-cookie"}
    (found,) = page.raw(lines("GET / HTTP/1.1", f"Host: {page.own_name}", "Connection: close", "X: a\rX-Evil: b"))
    assert found.status == 400


EXACTLY = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self' data:; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}


def test_every_answer_has_the_headers_and_none_names_the_program(ann, page):
    for found in (
        page.request("GET", "/"),
        page.request("GET", "/static/uplot/uPlot.min.css"),
        page.request("GET", "/nothing"),
        page.request("GET", "/api/session"),
        page.request("GET", "/api/session", host="evil.example"),
        page.request("PUT", "/"),
        page.sign_in("x" * 43),
        ann.get("/api/session"),
        ann.get("/api/overview"),
        ann.get("/api/nothing"),
        ann.get("/api/overview?page=x"),
        ann.post(WRITE, {}, without=["X-Ledger-Csrf"]),
    ):
        for name, value in EXACTLY.items():
            assert found.header(name) == value
        assert found.header("server") is None
        assert found.header("content-type") is not None


# -------------------------------------------------------------------------------------------------------- the access log


def test_the_access_log_has_who_read_what_and_no_secret(tmp_path):
    with RunningPage(make_desk(tmp_path, SETTINGS), "--port", "0") as page:
        token = page.token("vic")
        vic = page.person(token)
        vic.get("/api/overview?q=x")
        vic.post(WRITE, {}, without=["X-Ledger-Csrf"])
        page.request("GET", "/api/session", {"Cookie": "__Host-ledger=" + "s" * 43}, host="<b>evil")
        vic.post("/api/sign-out", {})
    path = tmp_path / "access.log"
    text = path.read_text(encoding="utf-8")
    rows = [json.loads(line) for line in text.splitlines()]
    mine = [(one["what"], one["path"], one["status"], one["who"]) for one in rows]
    assert mine == [
        ("sign-in", "/api/sign-in", 200, "vic"),
        ("read", "/api/overview", 200, "vic"),
        ("refused", WRITE, 403, "vic"),
        ("refused", "/api/session", 421, None),
        ("sign-out", "/api/sign-out", 200, "vic"),
    ]
    assert not any(secret in text for secret in (token, vic.csrf, vic.cookie.partition("=")[2], "s" * 43))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_nobody_guesses_for_long_and_nobody_else_waits_for_it(reading):
    token = reading.token("root", Role.ADMIN)
    found = [reading.sign_in("x" * 43).status for _ in range(12)]
    assert found[:10] == [401] * 10
    assert found[-1] == 429
    late = reading.sign_in("x" * 43)
    assert (late.status, late.code, late.header("retry-after")) == (429, "TooOften", "6")
    assert reading.sign_in(token).status == 200  # all users of a machine have the same address


# ------------------------------------------------------------------------------------------------- starting and stopping


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_stops_at_once_although_a_stream_is_open(number, tmp_path):
    with RunningPage(make_desk(tmp_path), "--port", "0") as page:
        person = page.person(page.tokens()[0])
        with page.connected() as wire, page.connected() as idle:
            wire.sendall(f"GET /api/stream HTTP/1.1\r\nHost: {page.own_name}\r\nCookie: {person.cookie}\r\n\r\n".encode())
            stream = wire.makefile("rb")
            while b"hello" not in stream.readline():
                pass
            idle.sendall(b"GET / ")
            begun = time.monotonic()
            assert page.stop(number) == 0
            assert time.monotonic() - begun < 1
        assert not [path for path in (tmp_path / "run").rglob("*") if path.name in ("running.json", "link")]
        assert not [line for line in page.errors if "Traceback" in line]


def test_a_second_page_on_the_same_port_says_so(page, tmp_path):
    done = page.command("page", "--port", str(page.port))
    assert done.returncode == 2
    assert f"another program listens on port {page.port} of 127.0.0.1, perhaps another ledger page" in done.stderr


def test_the_other_address_of_this_machine_is_nobody_elses(page):
    with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as theirs:
        theirs.bind(("::1", 0))
        theirs.listen()
        port = theirs.getsockname()[1]
        done = page.command("page", "--port", str(port))
    assert done.returncode == 2
    assert f"another program listens on port {port} of ::1" in done.stderr


def test_without_a_page_there_is_no_link(page):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    done = page.command("page", "link", "--port", str(port))
    assert done.returncode == 2
    assert f"no page of this user runs on port {port}" in done.stderr


def test_a_folder_that_others_read_gets_no_links(page, tmp_path):
    path = tmp_path / "page.sock"
    folder = folder_of(PageSettings(folder=tmp_path / "open", socket=path), 0)
    folder.mkdir(parents=True)
    folder.chmod(0o755)
    (tmp_path / "ledger.toml").write_text('[page]\nfolder = "open"\n', encoding="utf-8")
    done = page.command("page", "--socket", str(path), "--config", str(tmp_path / "ledger.toml"))
    assert done.returncode == 2
    assert "links to sign in would not be safe" in done.stderr
    assert list(folder.iterdir()) == []
    assert not path.exists()
