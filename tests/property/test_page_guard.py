"""Laws of the guard around the page: without a sign-in nobody gets data, whatever the request is."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ledger.page.principals import Role
from ledger.page.security import Guard, guarded
from ledger.page.security.links import Link, Links
from ledger.page.security.refusals import HEADERS
from ledger.page_settings import PageSettings

SECRET = b"Broker-Live/70113"
#: What anybody may have: the files of the program.


async def data(scope: Any, receive: Any, send: Any) -> None:
    """Answer every request with data, and with headers that name the program."""
    headers = [(b"server", b"x"), (b"cache-control", b"public"), (b"content-type", b"application/json")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": SECRET})


def ask(guard: Guard, method: str, path: str, headers: list[tuple[bytes, bytes]], body: bytes = b"", raw: bytes | None = None,
        ) -> tuple[int, dict[bytes, bytes], bytes]:  # fmt: skip
    """Return status, headers and body of the answer to a request."""
    sent: list[Mapping[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Mapping[str, Any]) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": method,
        "path": path,
        "raw_path": path.encode("utf-8", "surrogateescape") if raw is None else raw,
        "query_string": b"",
        "headers": headers,
        "client": ("127.0.0.1", 1),
        "state": {},
    }
    asyncio.run(guard(scope, receive, send))
    start, *rest = sent
    return start["status"], dict(start["headers"]), b"".join(one.get("body", b"") for one in rest)


HOST = (b"host", b"desk.localhost:8077")
WORDS = st.sampled_from(
    ["api", "static", "a", "..", ".", "", "%2e%2e", "%2f", "\\", "session", "stream", "metrics", "accounts", "\x00", "\n", "ä"]
)
PATHS = st.one_of(st.lists(WORDS, max_size=6).map(lambda words: "/" + "/".join(words)), st.text(max_size=20))
NAMES = st.sampled_from(
    [
        b"cookie", b"host", b"origin", b"sec-fetch-site", b"content-type", b"x-ledger-csrf", b"x-forwarded-user",
        b"x-forwarded-groups", b"x-ledger-proxy-secret", b"authorization", b"x-original-url", b"x-rewrite-url",
        b"x-http-method-override", b"content-length", b"transfer-encoding", b"x-forwarded-host", b"forwarded",
    ]
)  # fmt: skip
VALUES = st.sampled_from(
    [
        b"", b"same-origin", b"application/json", b"http://desk.localhost:8077", b"admin", b"__Host-ledger=", b"/api/session",
        b"__Host-ledger=" + b"A" * 43, b"0", b"chunked", b"desk.localhost", b"evil.example", b"GET", b"Basic YW5uOmFubg==",
    ]
)  # fmt: skip
METHODS = st.sampled_from(["GET", "HEAD", "POST", "PUT", "OPTIONS", "DELETE", "get", "TRACE", "GET /"])
#: One guard for all requests: nobody ever signs in.
GUARDS = [
    guarded(data, settings)
    for settings in (
        PageSettings(allow_writes=True, operators={"admin": Role.ADMIN}, groups={"admin": Role.ADMIN}),
        PageSettings(hosts=("desk.example.com",), listen="192.0.2.7"),
    )
]


@given(st.sampled_from(GUARDS), METHODS, PATHS, st.lists(st.tuples(NAMES, VALUES), max_size=6), st.booleans())
@example(GUARDS[0], "GET", "/a/../api/session", [], True)
@example(GUARDS[0], "POST", "/a/x", [], True)
@example(GUARDS[0], "GET", "/", [], True)  # what anybody may have
@example(GUARDS[1], "GET", "/static/app.js", [], True)
@example(GUARDS[0], "GET", "/an/address/of/nothing", [], True)
@example(GUARDS[0], "GET", "/API/session", [], True)
@example(GUARDS[0], "GET", "/a/x\n/../api", [], True)
def test_nobody_without_a_sign_in_gets_data(guard, method, path, more, is_named):
    status, headers, body = ask(guard, method, path, [*([HOST] if is_named else []), *more])
    if SECRET in body:
        assert is_named
        assert method in ("GET", "HEAD")
        assert not path.lower().startswith("/api")
        assert not {"..", "."} & set(path.split("/"))
        assert not any(name in (b"x-forwarded-user", b"x-forwarded-groups") for name, _ in more)
    else:
        assert status in (400, 401, 403, 405, 413, 421)
        assert b'{"error": {"code": "' in body
    assert HEADERS.items() <= headers.items()
    assert b"server" not in headers


@given(METHODS, st.lists(st.tuples(NAMES, VALUES), max_size=5))
def test_a_write_of_somebody_who_is_signed_in_passes_only_with_all_that_the_page_sends(signed_in, method, more):
    guard, cookie, csrf = signed_in
    own = [HOST, (b"cookie", cookie), *more]
    status, _, body = ask(guard, method, "/api/x", own)
    if method not in ("GET", "HEAD"):
        assert SECRET not in body
        assert status in (400, 401, 403, 405, 413, 421)
    complete = [HOST, (b"cookie", cookie), (b"content-type", b"application/json"), (b"sec-fetch-site", b"same-origin")]
    assert ask(guard, "POST", "/api/x", [*complete, (b"x-ledger-csrf", csrf)], b"{}")[2] == SECRET


@pytest.fixture(scope="module")
def signed_in(tmp_path_factory):
    links = Links(tmp_path_factory.mktemp("links") / "page")
    guard = guarded(data, PageSettings(allow_writes=True), links=links)
    token = links.make(Link("ann", Role.ADMIN), 10)
    headers = [HOST, (b"content-type", b"application/json"), (b"sec-fetch-site", b"same-origin")]
    status, found, body = ask(guard, "POST", "/api/sign-in", headers, f'{{"token": "{token}"}}'.encode())
    assert status == 200
    import json

    return guard, found[b"set-cookie"].partition(b";")[0], json.loads(body)["csrf"].encode()
