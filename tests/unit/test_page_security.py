"""Sign-ins, links, names and the settings of the page: what each of them is, and where it ends."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import sys
import tempfile

import pytest

from ledger import NotPermitted
from ledger.config import read
from ledger.errors import BadValue
from ledger.page import serve
from ledger.page.principals import Principal, Role
from ledger.page.security.access_log import AccessLog
from ledger.page.security.hosts import has_cookie_of_its_own
from ledger.page.security.limits import Attempts, Bucket, until_over
from ledger.page.security.links import Link, Links, folder_of, private_folder
from ledger.page.security.proxy import Proxy
from ledger.page.security.refusals import Refused
from ledger.page.security.sessions import SESSIONS_MAX, Sessions
from ledger.page_settings import PageSettings
from tests.support.commands import run

ANN = Principal("ann", Role.APPROVER, "link")
HOUR = 3600.0


class Clock:
    """A clock that a test sets."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock():
    return Clock()


# ---- sign-ins


@pytest.fixture
def sessions(clock):
    return Sessions(longest_sec=12 * HOUR, idle_sec=2 * HOUR, clock=clock)


def test_a_sign_in_ends_when_nobody_uses_it_and_at_the_latest_after_so_long(sessions, clock):
    cookie, _ = sessions.begin(ANN)
    for _ in range(6):
        clock.now += 2 * HOUR - 1
        assert sessions.find(cookie.encode()).principal == ANN
    clock.now += HOUR
    assert sessions.find(cookie.encode()) is None  # 12 hours are over, although it was used
    cookie, session = sessions.begin(ANN)
    clock.now += 2 * HOUR
    assert sessions.find(cookie.encode()) is None
    assert session.over.is_set()


def test_an_open_stream_is_use_but_no_longer_than_the_longest(sessions, clock):
    cookie, session = sessions.begin(ANN)
    sessions.opened(session)
    clock.now += 11 * HOUR
    assert sessions.find(cookie.encode()) is session
    clock.now += HOUR
    assert sessions.left_sec(session) == 0
    assert sessions.find(cookie.encode()) is None


def test_there_are_only_so_many_and_the_one_idle_for_longest_goes(sessions, clock):
    cookies = []
    for _ in range(SESSIONS_MAX):
        cookies.append(sessions.begin(ANN)[0].encode())
        clock.now += 1
    sessions.find(cookies[0])
    sessions.begin(ANN)
    assert len(sessions) == SESSIONS_MAX
    assert sessions.find(cookies[0]) is not None
    assert sessions.find(cookies[1]) is None


def test_whom_a_proxy_signs_in_keeps_the_token_and_changes_the_role_at_once(sessions):
    first = sessions.of_proxy(Principal("ann", Role.VIEWER, "proxy"))
    assert sessions.of_proxy(Principal("ann", Role.VIEWER, "proxy")) is first
    changed = sessions.of_proxy(Principal("ann", Role.ADMIN, "proxy"))
    assert (changed.csrf, changed.principal.role) == (first.csrf, Role.ADMIN)
    assert first.over.is_set()
    assert sessions.of_proxy(Principal("bob", Role.ADMIN, "proxy")).csrf != first.csrf


# ---- links


def test_a_link_is_used_once_by_one_page_and_lapses(tmp_path, clock):
    links, other = Links(tmp_path / "page", clock=clock), Links(tmp_path / "other", clock=clock)
    token = links.make(Link("ann", Role.ADMIN), 10)
    assert other.use(token) is None
    clock.now += 599
    assert links.use(token) == Link("ann", Role.ADMIN)
    assert links.use(token) is None
    late = links.make(Link("ann", Role.ADMIN), 10)
    clock.now += 600
    assert links.use(late) is None
    assert not list(tmp_path.rglob("*.json"))


def test_links_that_nobody_used_are_cleared_away(tmp_path, clock):
    links = Links(tmp_path / "page", clock=clock)
    for _ in range(3):
        links.make(Link("ann", Role.ADMIN), 10)
    clock.now += 600
    links.make(Link("ann", Role.ADMIN), 10)
    assert len(list(tmp_path.rglob("*.json"))) == 1


@pytest.mark.skipif(sys.platform == "win32", reason="rights of files are access lists there")
def test_a_folder_that_others_read_or_that_is_a_link_gets_no_links(tmp_path):
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o755)
    (tmp_path / "private").mkdir(mode=0o700)
    (tmp_path / "link").symlink_to(tmp_path / "private")
    for name in ("open", "link"):
        with pytest.raises(BadValue, match="folder in \\[page\\]"):
            private_folder(tmp_path / name)
    assert private_folder(tmp_path / "private").is_dir()


@pytest.mark.skipif(sys.platform == "win32", reason="files have no such owners there")
def test_what_somebody_else_put_there_signs_nobody_in(tmp_path, clock, monkeypatch):
    links = Links(tmp_path / "page", clock=clock)
    token = links.make(Link("ann", Role.ADMIN), 10)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    settings = PageSettings()
    assert folder_of(settings, 1) == tmp_path / "ledger-page" / "port-1"
    me = os.geteuid()
    monkeypatch.setattr(tempfile, "gettempdir", lambda: str(tmp_path / "other"))
    monkeypatch.setattr(os, "geteuid", lambda: me + 1)
    assert links.use(token) is None
    assert folder_of(settings, 1).is_relative_to(tmp_path / "other")  # not in the folder of another user's session
    monkeypatch.setattr(os, "geteuid", lambda: me)
    assert links.use(token) == Link("ann", Role.ADMIN)


# ---- limits


def test_a_bucket_fills_again(clock):
    bucket = Bucket(2, 6.0, clock)
    assert [bucket.draw() for _ in range(3)] == [True, True, False]
    clock.now += 6
    assert [bucket.draw() for _ in range(2)] == [True, False]
    clock.now += 600
    assert [bucket.draw() for _ in range(3)] == [True, True, False]


def test_failures_of_one_address_are_not_those_of_another(clock):
    attempts = Attempts(3, 6.0, clock)
    for _ in range(3):
        attempts.check("10.0.0.1")
        attempts.failed("10.0.0.1")
    with pytest.raises(Refused, match="429"):
        attempts.check("10.0.0.1")
    attempts.check("10.0.0.2")
    clock.now += 6
    attempts.check("10.0.0.1")


@pytest.mark.parametrize(("ends", "seconds"), [(False, 0.0), (True, None)])
def test_a_stream_ends_with_its_sign_in(ends, seconds):
    async def silent():
        await asyncio.Event().wait()  # a browser that stays, and sends nothing
        raise AssertionError

    async def next_message():
        over = asyncio.Event()
        if ends:
            over.set()
        return await until_over(silent, over, seconds)

    assert asyncio.run(next_message()) == {"type": "http.disconnect"}


def test_refusals_do_not_fill_the_access_log_and_what_is_left_out_is_counted(clock):
    lines: list[str] = []
    log = AccessLog(None, lines.append, clock=clock)
    for _ in range(150):
        log.write("refused", path="/x")
    log.write("sign-in", path="/y\n\u202e")
    assert len(lines) == 101
    assert all(line.isascii() and "\n" not in line for line in lines)


def test_an_access_log_that_cannot_be_written_stops_no_page(tmp_path):
    lines: list[str] = []
    log = AccessLog(tmp_path / "none" / "access.log", lines.append)
    for _ in range(3):
        log.write("read", path="/x")
    assert len(lines) == 1
    assert "cannot be written" in lines[0]


# ---- the proxy

SETTINGS = PageSettings(operators={"Ann": Role.OPERATOR}, groups={"desk": Role.VIEWER, "risk": Role.APPROVER, "é": Role.ADMIN})


@pytest.fixture
def secret(tmp_path):
    path = tmp_path / "secret"
    path.write_text("s" * 64 + "\n", encoding="utf-8")
    path.chmod(0o600)
    return path


def proxied(settings, **headers):
    sent = [(name.replace("_", "-").lower().encode(), value) for name, value in headers.items()]
    return Proxy(settings).principal(sent)


@pytest.mark.parametrize(
    ("user", "groups", "found"),
    [
        (b"ann", b"", ("Ann", Role.OPERATOR)),
        (b"ANN", b"other, risk", ("Ann", Role.APPROVER)),
        (b"bob", b"desk,risk", ("bob", Role.APPROVER)),
        (b"BOB", b"desk", ("bob", Role.VIEWER)),
        (b"bob", "é".encode(), ("bob", Role.ADMIN)),
    ],
)
def test_names_and_groups_of_the_proxy_become_a_person_with_the_highest_role(user, groups, found, tmp_path):
    person = proxied(PageSettings(socket=tmp_path / "s", operators=SETTINGS.operators, groups=SETTINGS.groups),
                     X_Forwarded_User=user, X_Forwarded_Groups=groups)  # fmt: skip
    assert (person.name, person.role, person.via) == (*found, "proxy")


@pytest.mark.parametrize(
    ("user", "groups", "refused"),
    [
        (b"eve", b"", "403 NotPermitted: eve has no role here"),
        (b"eve", b"DESK, risk2", "403 NotPermitted"),
        (b"", b"risk", "400 BadValue"),
        (b"ann\xff", b"risk", "400 BadValue"),
        (b" ann", b"risk", "400 BadValue"),
        ("ann\u202e".encode(), b"risk", "400 BadValue"),
        (b"a" * 101, b"risk", "400 BadValue"),
    ],
)
def test_what_is_no_person_with_a_role_is_refused(user, groups, refused, tmp_path):
    settings = PageSettings(socket=tmp_path / "s", operators=SETTINGS.operators, groups=SETTINGS.groups)
    with pytest.raises(Refused, match=refused):
        proxied(settings, X_Forwarded_User=user, X_Forwarded_Groups=groups)


def test_the_secret_makes_a_request_the_proxys(secret):
    settings = PageSettings(proxy_secret_file=secret, operators=SETTINGS.operators)
    assert proxied(settings, X_Forwarded_User=b"ann", X_Ledger_Proxy_Secret=b"s" * 64).name == "Ann"
    for headers in ({}, {"X_Ledger_Proxy_Secret": b"s" * 63}, {"X_Ledger_Proxy_Secret": b""}):
        with pytest.raises(Refused, match="403 ProxyUnknown"):
            proxied(settings, X_Forwarded_User=b"ann", **headers)
    with pytest.raises(Refused, match="400 HeaderTwice"):
        Proxy(settings).principal([(b"x-forwarded-user", b"ann"), (b"x-forwarded-user", b"bob")])


@pytest.mark.parametrize(
    ("text", "mode"), [("short", 0o600), ("s" * 64, 0o604), ("s" * 40 + "\n" + "t" * 40, 0o600), (None, 0)]
)
def test_a_secret_that_is_none_is_refused(text, mode, tmp_path):
    path = tmp_path / "secret"
    if text is not None:
        path.write_text(text, encoding="utf-8")
        path.chmod(mode)
    with pytest.raises(BadValue):
        Proxy(PageSettings(proxy_secret_file=path))


# ---- settings


def test_settings_are_read_from_the_file(tmp_path):
    path = tmp_path / "ledger.toml"
    path.write_text(
        '[page]\nport = 9000\nhosts = ["Desk.Example.COM"]\nsocket = "run/page.sock"\n[page.operators]\nann = "admin"\n',
        encoding="utf-8",
    )
    page = read(path).page
    assert (page.port, page.hosts, page.socket) == (9000, ("desk.example.com",), tmp_path / "run" / "page.sock")
    assert page.operator("ANN") == ("ann", Role.ADMIN)
    assert page.operator("bob") == ("bob", None)
    assert not page.allow_writes


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("[page]\nprot = 1", "there is no setting in [page] 'prot'. Did you mean port?"),
        ("[page]\nport = 70000", "page.port: expected `int` <= 65535"),
        ('[page]\nhosts = ["http://x"]', "expected the name of a host without a port"),
        ('[page.operators]\nann = "root"', "page.operators"),
        ('[page.operators]\nann = "admin"\nANN = "viewer"', "which are one person: write one"),
        ('[page.operators]\n"ann " = "admin"', "expected the name of a person"),
    ],
)
def test_settings_that_are_wrong_are_named(text, complaint, tmp_path):
    path = tmp_path / "ledger.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(BadValue) as refused:
        read(path)
    assert complaint in str(refused.value)


def test_each_role_includes_those_before_it():
    assert sorted(Role, reverse=True) == [Role.ADMIN, Role.APPROVER, Role.OPERATOR, Role.VIEWER]
    assert issubclass(NotPermitted, Exception)


# ---- where it may listen

FILE = "ledger.toml"


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"listen": "0.0.0.0"}, "needs TLS (--cert and --key), or a trusted proxy in front of it (--proxy-secret-file)"),  # noqa: S104
        ({"listen": "192.0.2.7", "hosts": ("desk.example.com",)}, "others could read along on 192.0.2.7"),
        ({"listen": "everywhere"}, "expected an address to listen on"),
        ({"listen": "::", "proxy_secret_file": FILE}, "which name do browsers call the page by on ::?"),
        ({"cert": FILE}, "expected --cert and --key together"),
        ({"cert": FILE, "key": FILE}, "expected a certificate and its secret key without a password"),
        ({"hosts": ("desk.example.com",)}, "a browser sends the sign-in of desk.example.com only by TLS"),
        ({"hosts": ("localhost.example.com",)}, "only by TLS"),
        ({"socket": FILE, "listen": "::1"}, "expected a Unix socket, or an address"),
        ({"socket": FILE}, "is no socket"),
        ({"socket": "none/page.sock"}, "nothing can listen on the socket"),
        ({"socket": "page.sock", "socket_group": "no-such-group"}, "there is no group"),
        ({"listen": "192.0.2.7", "proxy_secret_file": FILE, "hosts": ("x",)}, "nothing can listen on port 0 of 192.0.2.7"),
    ],
)
def test_where_it_would_not_be_safe_it_does_not_start(settings, complaint, tmp_path):
    (tmp_path / FILE).write_text("", encoding="utf-8")
    paths = ("socket", "cert", "key", "proxy_secret_file")
    found = {name: tmp_path / value if name in paths else value for name, value in settings.items()}
    made = PageSettings(port=0, **found)
    with pytest.raises(BadValue) as refused:
        start(made)
    assert complaint in str(refused.value)


def has_ipv6():
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


def start(settings):
    serve.check(settings)
    serve.listening(settings)


@pytest.mark.parametrize("listen", [None, "127.0.0.1", "localhost", "::1", "127.0.0.2"])
def test_a_page_listens_on_both_addresses_of_this_machine_and_on_no_other_that_is_not_named(listen):
    sockets = serve.listening(PageSettings(port=0, listen=listen))
    try:
        names = [one.getsockname()[:2] for one in sockets]
        both = {"127.0.0.1", "::1"} if has_ipv6() else {"127.0.0.1"}
        assert {host for host, _ in names} == both | ({"127.0.0.2"} if listen == "127.0.0.2" else set())
        assert len({port for _, port in names}) == 1
    finally:
        for one in sockets:
            one.close()


def test_a_connection_does_not_collect_what_is_written():
    async def no_delay_of_each():
        found = []

        async def noted(_reader, writer):
            wire = writer.get_extra_info("socket")
            found.append(wire.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
            writer.close()

        for listening in serve.listening(PageSettings(port=0)):
            async with await asyncio.start_server(noted, sock=listening):
                reader, writer = await asyncio.open_connection(*listening.getsockname()[:2])
                assert await reader.read() == b""
                writer.close()
        return found

    found = asyncio.run(no_delay_of_each())
    assert found
    assert all(found)


@pytest.mark.parametrize("speaking", [set(), {0}, {0, 1, 2}])
def test_of_connections_that_never_speak_tls_the_first_makes_room_for_the_next(speaking, monkeypatch):
    monkeypatch.setattr(serve, "CONNECTIONS_MAX", 2)
    monkeypatch.setattr(serve, "_MORE_MAX", 1)
    with contextlib.ExitStack() as opened:
        listening, *_ = [opened.enter_context(one) for one in serve.listening(PageSettings(port=0))]
        wires, accepted = [], []
        for _ in range(3):
            wires.append(opened.enter_context(socket.create_connection(listening.getsockname())))
            accepted.append(opened.enter_context(listening.accept()[0]))
        monkeypatch.setattr(listening, "speaking", lambda: {accepted[at].fileno() for at in speaking})
        wires.append(opened.enter_context(socket.create_connection(listening.getsockname())))
        if len(speaking) == len(accepted):
            with pytest.raises(ConnectionAbortedError):
                listening.accept()
        else:
            opened.enter_context(listening.accept()[0])
        for at, wire in enumerate(wires):
            wire.setblocking(False)
            if at == len(speaking):  # the first that does not speak
                assert wire.recv(1) == b""
            else:
                with pytest.raises(BlockingIOError):
                    wire.recv(1)


@pytest.mark.parametrize(
    ("settings", "url"),
    [
        ({}, "http://desk.localhost:8077"),
        ({"hosts": ("127.0.0.1",)}, "http://127.0.0.1:8077"),
        ({"hosts": ("desk.example.com",), "cert": "x"}, "https://desk.example.com:8077"),
        ({"hosts": ("desk.example.com",), "proxy_secret_file": "x"}, "https://desk.example.com"),
        ({"hosts": ("desk.example.com",), "socket": "x"}, "https://desk.example.com"),
        ({"proxy_secret_file": "x"}, "http://desk.localhost:8077"),
        ({"socket": "x"}, None),
    ],
)
def test_the_address_is_what_a_browser_opens(settings, url):
    assert serve.base_url(PageSettings(**settings), 8077) == url


def test_a_link_file_is_json_that_names_person_and_role(tmp_path, clock):
    Links(tmp_path / "page", clock=clock).make(Link("ann", Role.ADMIN), 10)
    (path,) = tmp_path.rglob("*.json")
    assert json.loads(path.read_bytes()) == {"name": "ann", "role": "admin", "lapses": clock.now + 600}


def test_without_the_extra_the_command_names_it(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    done = run("page", journal=f"sqlite:///{tmp_path / 'desk.db'}")
    assert done.code == 2
    assert "the page needs uvicorn, which is not installed: pip install 'mt5-position-ledger[page]'" in done.text


@pytest.mark.parametrize(("host", "own"), [("desk.localhost", True), ("desk.example.com", True), ("127.0.0.1", False),
                                           ("localhost", False), ("[::1]", False), ("::1", False)])  # fmt: skip
def test_which_names_have_a_cookie_of_their_own(host, own):
    assert has_cookie_of_its_own(host) is own
