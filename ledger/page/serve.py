"""Serves the page with uvicorn: where it listens, what it refuses to listen on, how slow a client may be, and how it stops."""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import os
import shutil
import signal
import socket
import stat
import sys
import weakref
from collections.abc import Callable, Container, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from ledger.errors import BadValue
from ledger.page.security.hosts import LOOPBACK
from ledger.page.security.limits import HEAD_MAX
from ledger.page.security.refusals import HEADERS, Refused
from ledger.page_settings import HOST, PageSettings
from ledger.text import visible

if TYPE_CHECKING:
    from ledger.page.security import Guard

CONNECTIONS_MAX: Final = 200
#: So many more are open for a moment: those that are refused, and those that have not begun to speak TLS.
_MORE_MAX: Final = 100
#: So long a request's head may take to arrive, a browser may be silent between two requests, or not read what it asked for.
HEAD_SEC: Final = 10.0
_SILENT_SEC: Final = 30
UNREAD_SEC: Final = 30.0
_STOP_SEC: Final = 0.5  # what is under way then is left
_FREE_PORT_TRIES: Final = 20
_BOTH: Final = ("127.0.0.1", "::1")
_NO_IPV6: Final = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT, errno.EPROTONOSUPPORT)


# ---- where


def check(settings: PageSettings) -> None:
    """Refuse to start where the page would not be safe.

    Raises:
        BadValue: It would not, or settings contradict one another.
    """
    if settings.socket is not None and (settings.listen is not None or settings.cert is not None):
        raise BadValue("expected a Unix socket, or an address to listen on with TLS, found both: choose one")
    if settings.socket is not None and not hasattr(socket, "AF_UNIX"):
        raise BadValue("this system has no Unix sockets: use --proxy-secret-file with a port instead of --socket")
    if (settings.cert is None) != (settings.key is None):
        raise BadValue("expected --cert and --key together, found one of them: TLS needs the certificate and its secret key")
    if settings.cert is not None and settings.key is not None:
        _check_certificate(settings.cert, settings.key)
    if is_local(settings):
        _check_local_name(settings)
    else:
        _check_remote(settings)


def _check_certificate(cert: Path, key: Path) -> None:
    import ssl

    try:
        ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(cert, key, password=lambda: "")
    except OSError as error:
        raise BadValue(
            f"expected a certificate and its secret key without a password, in PEM, in {cert} and {key}: "
            f"{error.strerror or error}"
        ) from None


def is_local(settings: PageSettings) -> bool:
    """Return whether only programs of this machine reach the page."""
    return settings.socket is not None or settings.listen is None or _address(settings.listen).is_loopback


def _check_local_name(settings: PageSettings) -> None:
    name = settings.hosts[0] if settings.hosts else HOST
    is_plain = settings.socket is None and settings.cert is None and settings.proxy_secret_file is None
    if is_plain and name not in LOOPBACK and not name.endswith(".localhost"):
        raise BadValue(
            f"a browser sends the sign-in of {name} only by TLS: give --cert and --key, or call the page by a name of this "
            f"machine, as {HOST}"
        )


def _check_remote(settings: PageSettings) -> None:
    if settings.cert is None and settings.proxy_secret_file is None:
        raise BadValue(
            f"others could read along on {settings.listen}: --listen with an address that others reach needs TLS (--cert and "
            "--key), or a trusted proxy in front of it (--proxy-secret-file)"
        )
    if not settings.hosts:
        raise BadValue(f"which name do browsers call the page by on {settings.listen}? Name it with --host NAME")


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    try:
        return ipaddress.ip_address("127.0.0.1" if text == "localhost" else text)
    except ValueError:
        raise BadValue(f"expected an address to listen on, as 192.0.2.7 or ::, found {visible(text)!r}") from None


def listening(settings: PageSettings) -> list[socket.socket]:
    """Return the sockets of a page, bound: for this machine both of its addresses, as a browser tries both.

    Also where one of them is named: the name that links have is that of both.

    Raises:
        BadValue: Another program listens there, or nothing can.
    """
    if settings.socket is not None:
        return [_unix(settings.socket, settings.socket_group)]
    named = None if settings.listen is None else _address(settings.listen)
    if named is not None and not named.is_loopback:
        return [_bound(str(named), settings.port)]
    others = [] if named is None or str(named) in _BOTH else [str(named)]
    for _ in range(1 if settings.port else _FREE_PORT_TRIES):
        found = [_bound("127.0.0.1", settings.port)]
        port = found[0].getsockname()[1]
        try:  # whoever has the other address would be sent to by the browser, and could ask for the sign-in
            found += _bound_if_there("::1", port)
            found += (_bound(one, port) for one in others)
        except BadValue:
            for one in found:
                one.close()
            if settings.port:
                raise
        else:
            return found
    raise BadValue("no port is free on both addresses of this machine: name one with --port")


class _Listening(socket.socket):
    """A socket that hangs up on more connections than there may be: nobody uses up the files that the page may open.

    Whoever connected first and does not speak TLS yet makes room for the next.
    """

    #: What speaks, by its file; the server has them.
    speaking: Callable[[], Container[int]] = frozenset

    def accept(self) -> tuple[socket.socket, Any]:
        """Return the next connection.

        Raises:
            ConnectionAbortedError: There are too many, all of them speak, and it was closed.
        """
        found, address = super().accept()
        accepted: list[weakref.ref[socket.socket]] = getattr(self, "_accepted", [])
        if len(accepted) >= CONNECTIONS_MAX + _MORE_MAX:
            accepted = [one for one in accepted if (known := one()) is not None and known.fileno() >= 0]
        if len(accepted) >= CONNECTIONS_MAX + _MORE_MAX and not self._makes_room(accepted):
            found.close()
            raise ConnectionAbortedError("there are too many connections")
        self._accepted = [*accepted, weakref.ref(found)]
        return found, address

    def _makes_room(self, accepted: list[weakref.ref[socket.socket]]) -> bool:
        speaking = self.speaking()
        for at, one in enumerate(accepted):
            known = one()
            if known is not None and known.fileno() not in speaking:
                with suppress(OSError):
                    known.shutdown(socket.SHUT_RDWR)  # its transport, which has it, closes it
                del accepted[at]
                return True
        return False


def _bound_if_there(address: str, port: int) -> Iterator[socket.socket]:
    try:
        yield _bound(address, port)
    except BadValue as error:
        if not isinstance(error.__cause__, OSError) or error.__cause__.errno not in _NO_IPV6:
            raise


def _bound(address: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        # with its protocol, or else asyncio leaves TCP_NODELAY off, and each answer waits 40 ms for a delayed ACK
        found = _Listening(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    except OSError as error:
        raise BadValue(f"nothing can listen on {address}: {error.strerror or error}") from error
    if sys.platform == "win32":  # without it, another program could have the same port
        found.setsockopt(socket.SOL_SOCKET, socket.SO_EXCLUSIVEADDRUSE, 1)
    else:
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if family == socket.AF_INET6:
        with suppress(OSError):
            found.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(address != "::"))
    try:
        found.bind((address, port))
        found.listen()  # or else two programs could be bound, and only one of them be refused later
    except OSError as error:
        found.close()
        if error.errno == errno.EADDRINUSE:
            raise BadValue(
                f"another program listens on port {port} of {address}, perhaps another ledger page: ledger page link makes a "
                "link for that one, --port N starts this one elsewhere"
            ) from error
        raise BadValue(f"nothing can listen on port {port} of {address}: {error.strerror or error}") from error
    return found


def _unix(path: Path, group: str | None) -> socket.socket:
    _remove_stale(path)
    found = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        before = os.umask(0o177)  # nobody may connect before the group may
        try:
            found.bind(str(path))
        finally:
            os.umask(before)
        if group is not None:
            shutil.chown(path, group=group)
            path.chmod(0o660)
        found.listen()
    except (LookupError, OSError) as error:
        found.close()
        if isinstance(error, LookupError):
            path.unlink(missing_ok=True)
            raise BadValue(f"there is no group {visible(group or '')!r}: socket_group names that of the proxy") from None
        raise BadValue(f"nothing can listen on the socket {path}: {error.strerror or error}") from None
    return found


def _remove_stale(path: Path) -> None:
    try:
        if not stat.S_ISSOCK(path.lstat().st_mode):
            raise BadValue(f"{path} is no socket: name a new file with --socket")
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink()
            return
    raise BadValue(f"another program listens on the socket {path}, perhaps another ledger page: --socket FILE names another")


def base_url(settings: PageSettings, port: int) -> str | None:
    """Return what a browser opens; None behind a socket whose proxy has no name here."""
    host = settings.hosts[0] if settings.hosts else HOST
    if settings.socket is not None or (settings.proxy_secret_file is not None and settings.hosts):
        return f"https://{host}" if settings.hosts else None
    return f"{'http' if settings.cert is None else 'https'}://{host}:{port}"


# ---- serving


class _Connection(H11Protocol):
    """One connection, with a limit to how slow, how many and how large.

    Where there are too many, the one that has waited for its client for the longest time makes room: nobody keeps others out
    by connections that ask for nothing.
    """

    file = -1
    _since: float = 0.0  # it began to wait for its client, if it does
    _head: asyncio.TimerHandle | None = None
    _unread: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        if len(self.connections) >= CONNECTIONS_MAX:
            self._make_room()
        super().connection_made(transport)
        self.file = transport.get_extra_info("socket").fileno()
        if len(self.connections) > CONNECTIONS_MAX:
            self._refuse(Refused(503, "TooMuch", f"expected at most {CONNECTIONS_MAX} connections: wait", retry_sec=1))
            return
        self._since = self.loop.time()
        self._expect_head()

    def _make_room(self) -> None:
        others = [one for one in self.connections if isinstance(one, _Connection) and one.waits_for_its_client()]
        if others:
            idlest = min(others, key=lambda one: one._since)  # noqa: SLF001  # of the same class
            self.connections.discard(idlest)
            idlest.transport.abort()

    def waits_for_its_client(self) -> bool:
        """Return whether nothing is under way here: a request has not begun, has not arrived, or its answer is not read."""
        return not self._is_busy() or self.cycle.more_body or self._unread is not None

    def connection_lost(self, exc: Exception | None) -> None:
        self._expect_no_head()
        self._expect_no_reading()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        was_busy = self._is_busy()
        super().data_received(data)
        if self._is_busy():
            self._since = self._since if was_busy else self.loop.time()
            self._expect_no_head()
        elif self._head is None:
            self._expect_head()

    def on_response_complete(self) -> None:
        self._since = self.loop.time()
        self._expect_no_head()
        super().on_response_complete()
        if self.conn.trailing_data[0]:  # of a next request, of which the rest may never come
            self._expect_head()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._expect_no_reading()
        self._since = self.loop.time()
        self._unread = self.loop.call_later(UNREAD_SEC, self.transport.abort)

    def resume_writing(self) -> None:
        self._expect_no_reading()
        super().resume_writing()

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002
        """Answer what is no request of HTTP."""
        self._refuse(Refused(400, "NotHttp", f"expected a request of HTTP with a head of at most {HEAD_MAX} bytes"))

    def _is_busy(self) -> bool:
        cycle: Any = self.cycle  # None before the first request
        return cycle is not None and not cycle.response_complete

    def _is_slow(self) -> None:
        self._head = None
        if not self._is_busy() and not self.transport.is_closing():
            self._refuse(Refused(408, "TooSlow", f"expected the head of a request within {HEAD_SEC:g} s"))

    def _expect_head(self) -> None:
        self._expect_no_head()
        self._head = self.loop.call_later(HEAD_SEC, self._is_slow)

    def _expect_no_head(self) -> None:
        if self._head is not None:
            self._head.cancel()
            self._head = None

    def _expect_no_reading(self) -> None:
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None

    def _refuse(self, refused: Refused) -> None:
        """Answer without a request that could be read, and hang up."""
        body = refused.body()
        head = [
            b"HTTP/1.1 %d Refused" % refused.status,
            b"content-type: application/json",
            b"content-length: %d" % len(body),
            b"connection: close",
            *(b"%s: %s" % pair for pair in [*refused.headers(), *HEADERS.items()]),
        ]
        self.transport.write(b"\r\n".join([*head, b"", body]))
        self.transport.close()


class _Server(uvicorn.Server):
    """uvicorn's server; it calls ``started`` once it answers, ends what is open when it stops, and raises no signal again."""

    def __init__(self, config: uvicorn.Config, started: Callable[[], object], stopping: Callable[[], object]) -> None:
        super().__init__(config)
        self._on_start = started
        self._on_stop = stopping

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        loop = asyncio.get_running_loop()
        if self.config.ssl is not None:  # a minute otherwise, and uvicorn has no setting for it
            loop.create_server = partial(loop.create_server, ssl_handshake_timeout=HEAD_SEC)  # type: ignore[method-assign]
        for one in sockets or ():
            if isinstance(one, _Listening):
                one.speaking = lambda: {each.file for each in self.server_state.connections if isinstance(each, _Connection)}
        await super().startup(sockets)
        self._on_start()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._on_stop()
        await super().shutdown(sockets)

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        signals = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGBREAK") if hasattr(signal, name)]
        before = {one: signal.signal(one, self.handle_exit) for one in signals}
        try:
            yield
        finally:
            for one, handler in before.items():
                signal.signal(one, handler)


def serve(
    guard: Guard,
    settings: PageSettings,
    sockets: list[socket.socket],
    *,
    started: Callable[[], object] = lambda: None,
    stopping: Callable[[], object] = lambda: None,
) -> None:
    """Serve the page until a signal comes.

    Args:
        guard: The page with the guard around it.
        settings: Its settings.
        sockets: Where it listens, from ``listening``.
        started: Called once requests are answered.
        stopping: Called when it is to stop, before what is open is ended.
    """
    config = uvicorn.Config(
        guard,
        http=_Connection,
        ws="none",
        loop="asyncio",
        lifespan="on",
        log_config=None,
        log_level="critical",  # what the page does wrong is logged by the guard, what clients do wrong is in the access log
        access_log=False,
        proxy_headers=False,
        server_header=False,
        h11_max_incomplete_event_size=HEAD_MAX,
        timeout_keep_alive=_SILENT_SEC,
        ssl_certfile=settings.cert,
        ssl_keyfile=settings.key,
    )
    config.timeout_graceful_shutdown = _STOP_SEC  # type: ignore[assignment]  # seconds for asyncio, which takes parts of them

    def stop() -> None:
        stopping()
        guard.stop()

    _Server(config, started, stop).run(sockets)
