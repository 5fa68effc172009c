"""The guard around the page: who sends a request, whether it may, and what every answer has."""

from __future__ import annotations

import json
import logging
import re
import traceback
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from attrs import define

from ledger.page.principals import Principal
from ledger.page.security.access_log import AccessLog
from ledger.page.security.hosts import allowed_hosts, check_host, has_cookie_of_its_own
from ledger.page.security.limits import Attempts, check_head, check_no_body, read_body, replayed, until_over
from ledger.page.security.proxy import Proxy, stated_name
from ledger.page.security.refusals import Refused, answer, body_of, with_headers
from ledger.page.security.sessions import Session, Sessions, cookie_of, set_cookie
from ledger.page.security.writes import check_origin, check_reader, check_token

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from ledger.page.security.links import Links
    from ledger.page_settings import PageSettings

_SIGN_IN: Final = "/api/sign-in"
_SIGN_OUT: Final = "/api/sign-out"
#: Files of the program, which are the same for everybody: the page's shell, at any address of a view or of none, and what it
#: loads. All that is in the journal is under /api, however that is written, and needs a sign-in.
_PUBLIC: Final = re.compile(r"/(?!api).*", re.DOTALL | re.IGNORECASE)
#: What different programs may read as another path.
_ODD: Final = re.compile(r"[\x00-\x1f\x7f\\]|//|/\.{1,2}(/|$)")
_FAILURES: Final = 10
_FAILURE_SEC: Final = 6.0
#: So many requests of one browser at once; six are what it opens by itself.
_AT_ONCE: Final = 24

_log: Final = logging.getLogger("ledger.page")


@define(eq=False)
class _Visit:
    """A request while it is checked: what is known of it so far."""

    method: str
    path: str
    peer: str
    headers: list[tuple[bytes, bytes]]
    host: str = ""
    is_proxied: bool = False
    session: Session | None = None

    @property
    def principal(self) -> Principal | None:
        return None if self.session is None else self.session.principal

    @property
    def is_public(self) -> bool:
        return self.method != "POST" and _PUBLIC.fullmatch(self.path) is not None and not _ODD.search(self.path)


class Guard:
    """An ASGI application that lets through to another one only what may.

    Args:
        app: The page.
        settings: Its settings.
        links: The one-time links that sign in; None where nobody can sign in by one.
        complain: Prints a line for whoever runs the page.
    """

    def __init__(self, app: ASGIApp, settings: PageSettings, *, links: Links | None, complain: Callable[[str], object]) -> None:
        self._app = app
        self._settings = settings
        self._links = links
        self._hosts = allowed_hosts(settings)
        self._proxy = Proxy(settings)
        self._sessions = Sessions(longest_sec=settings.session_hours * 3600, idle_sec=settings.idle_min * 60)
        self._attempts = Attempts(_FAILURES, _FAILURE_SEC)
        self._access = AccessLog(settings.access_log, complain)
        #: Others can read what passes without TLS: there, every request has to come through the proxy.
        self._is_behind = settings.listen is not None and settings.cert is None and settings.proxy_secret_file is not None

    def stop(self) -> None:
        """End all sign-ins, and with them what is under way: the page stops."""
        self._sessions.end_all()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
            return
        client = scope.get("client")
        visit = _Visit(scope["method"], scope["path"], client[0] if client else "socket", list(scope["headers"]))
        try:
            body = await self._admit(visit, scope, receive)
            if visit.path in (_SIGN_IN, _SIGN_OUT):
                await (self._sign_in if visit.path == _SIGN_IN else self._sign_out)(visit, body, send)
                return
        except Refused as refused:
            self._write("refused", visit, refused.status, code=refused.code)
            with suppress(ConnectionError):
                # what is left of the request is not read
                await answer(send, refused.status, refused.body(), [*refused.headers(), (b"connection", b"close")])
        except ConnectionError:
            return
        else:
            await self._forward(visit, scope, replayed(body, receive), send)

    async def _admit(self, visit: _Visit, scope: Scope, receive: Receive) -> bytes:
        """Check a request, and return its body.

        Raises:
            Refused: It may not be answered.
        """
        visit.host = check_host(visit.headers, self._hosts)
        check_head(scope)
        if not visit.path.startswith("/"):  # written in full it names a host of its own
            raise Refused(400, "PathOdd", "expected a path that begins with /")
        visit.is_proxied = self._proxy.is_from(visit.headers)
        if self._is_behind and not visit.is_proxied:
            raise Refused(403, "ProxyUnknown", "this page is reached through its proxy only, which sends a secret")
        visit.session = self._who(visit)
        if visit.method in ("GET", "HEAD"):
            check_no_body(visit.headers)
            if not visit.is_public:
                check_reader(visit.headers)
                _signed_in(visit)
        elif visit.method == "POST":
            self._check_write(visit)
        else:
            raise Refused(405, "MethodUnknown", "expected GET, HEAD or POST")
        return await read_body(receive, visit.headers)

    def _who(self, visit: _Visit) -> Session | None:
        stated = self._proxy.principal(visit.headers)
        return self._sessions.find(cookie_of(visit.headers)) if stated is None else self._sessions.of_proxy(stated)

    def _check_write(self, visit: _Visit) -> None:
        check_origin(visit.headers, self._origins(visit))
        if visit.path == _SIGN_IN:
            return
        check_token(visit.headers, _signed_in(visit).csrf)
        if visit.path != _SIGN_OUT and not self._settings.allow_writes:
            raise Refused(403, "ReadOnly", "this page only reads: start it with ledger page --allow-writes")

    def _origins(self, visit: _Visit) -> tuple[str, ...]:
        """Return what the page is to the browser; what a proxy in front of it speaks is the proxy's business."""
        host = next(value for name, value in visit.headers if name == b"host").decode("ascii").lower()
        if visit.is_proxied:
            return f"https://{host}", f"http://{host}"
        return (f"{'http' if self._settings.cert is None else 'https'}://{host}",)

    # ---- signing in and out

    async def _sign_in(self, visit: _Visit, body: bytes, send: Send) -> None:
        principal = self._principal_of(_token_of(body))
        if principal is None:  # whoever has the right one does not wait for another user of the machine, who guesses
            self._attempts.check(visit.peer)
            self._attempts.failed(visit.peer)
            raise Refused(401, "LinkUsed", "this link was used, has lapsed or never was: ledger page link makes a new one")
        self._sessions.end(cookie_of(visit.headers))  # one browser, one person
        cookie, visit.session = self._sessions.begin(principal)
        self._write("sign-in", visit, 200)
        found = {"name": principal.name, "role": principal.role.value, "csrf": visit.session.csrf}
        if not has_cookie_of_its_own(visit.host):
            found["warning"] = (
                f"the browser sends the cookie of {visit.host} to every program that listens on a port of it: "
                "on a machine of several people use the link with a name of its own"
            )
        await answer(send, 200, body_of(found), [set_cookie(cookie)])

    def _principal_of(self, token: str) -> Principal | None:
        """Return whom a token signs in; the settings have the last word about the role."""
        link = None if self._links is None else self._links.use(token)
        if link is None:
            return None
        name, most = self._settings.operator(link.name)
        if most is None and self._settings.operators:
            return None
        return Principal(name, link.role if most is None else min(link.role, most), "link")

    async def _sign_out(self, visit: _Visit, _: bytes, send: Send) -> None:
        self._write("sign-out", visit, 200)
        self._sessions.end(cookie_of(visit.headers))
        is_over = visit.principal is not None and visit.principal.via == "link"
        found: dict[str, Any] = {"signed_out": is_over}
        if not is_over:
            found["reason"] = "a proxy signs this person in: sign out there"
        await answer(send, 200, body_of(found), [set_cookie("")])

    # ---- answering

    async def _forward(self, visit: _Visit, scope: Scope, receive: Receive, send: Send) -> None:
        """Have the page answer a request that may be."""
        session, is_begun = visit.session, False

        async def sending(message: Message) -> None:
            nonlocal is_begun
            if session is not None and session.over.is_set():
                raise ConnectionResetError("the sign-in is over")
            if message["type"] == "http.response.start":
                is_begun = True
                message = {**message, "headers": with_headers(list(message.get("headers", [])))}
                if not visit.is_public:
                    self._write("write" if visit.method == "POST" else "read", visit, message["status"])
            await send(message)

        async def receiving() -> Message:
            if session is None:
                return await receive()
            return await until_over(receive, session.over, self._sessions.left_sec(session))

        found = {} if session is None else {"principal": session.principal, "csrf": session.csrf}
        if session is not None:
            self._sessions.opened(session)
        try:
            await self._app({**scope, "state": {**scope.get("state", {}), **found}}, receiving, sending)
        except ConnectionError:
            return
        except Exception:  # noqa: BLE001  # whatever the page raises, the answer has our headers and shows nothing of it
            _log.error("a fault of the page: %s", traceback.format_exc())  # one line, where others are
            if not is_begun:
                fault = Refused(500, "Fault", "this is a fault of the page: please report it with what it printed")
                await answer(send, fault.status, fault.body(), [])
        finally:
            if session is not None:
                self._sessions.closed(session)

    def _write(self, what: str, visit: _Visit, status: int, **more: Any) -> None:
        who = visit.principal
        if who is None and visit.is_proxied:
            more["stated"] = stated_name(visit.headers)
        self._access.write(
            what,
            path=visit.path,
            method=visit.method,
            status=status,
            who=who.name if who else None,
            via=who.via if who else None,
            peer=visit.peer,
            **more,
        )


def guarded(
    app: ASGIApp,
    settings: PageSettings,
    *,
    links: Links | None = None,
    complain: Callable[[str], object] = _log.info,
) -> Guard:
    """Return the page with the guard around it.

    Raises:
        BadValue: The secret of the proxy cannot be used.
    """
    return Guard(app, settings, links=links, complain=complain)


def _signed_in(visit: _Visit) -> Session:
    if visit.session is None:
        raise Refused(401, "SignInNeeded", "nobody is signed in: open the link that ledger page printed, or ledger page link")
    if visit.session.streams >= _AT_ONCE:
        raise Refused(429, "TooMuch", f"expected at most {_AT_ONCE} requests of one person at once: wait", retry_sec=1)
    return visit.session


def _token_of(body: bytes) -> str:
    with suppress(ValueError, RecursionError):
        found = json.loads(body)
        if isinstance(found, dict) and isinstance(found.get("token"), str):
            return str(found["token"])
    raise Refused(400, "BadValue", 'expected {"token": "..."}')
