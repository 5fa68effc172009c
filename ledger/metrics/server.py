"""Serves metrics over HTTP, at ``/metrics``, in threads of its own until it is closed."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterable
from contextlib import suppress
from socketserver import TCPServer, ThreadingMixIn
from threading import Thread
from typing import TYPE_CHECKING, Any, Final, Self
from urllib.parse import urlsplit
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from prometheus_client import CollectorRegistry, disable_created_metrics, make_wsgi_app

from ledger.errors import BadValue, LedgerError
from ledger.text import visible

if TYPE_CHECKING:
    from prometheus_client.registry import Collector

_PATHS: Final = ("/metrics", "/")
_SILENT_SEC: Final = 10  # a client that sends nothing for so long is left


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True
    allow_reuse_address = os.name == "posix"  # on Windows it would let two programs have one port

    def server_bind(self) -> None:
        TCPServer.server_bind(self)  # the one of HTTP asks a name server for the host's name
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])
        self.setup_environ()


class _Server6(_Server):
    address_family = socket.AF_INET6


class _Handler(WSGIRequestHandler):
    timeout = _SILENT_SEC

    def log_message(self, *_: object) -> None:
        """Print nothing: what goes wrong is in the answer, which whoever scrapes reports."""


class MetricsServer:
    """Answers with what collectors have, until it is closed. What they raise is the answer, with status 503.

    Args:
        address: ``HOST:PORT``; the port 0 takes a free one.
        collectors: What is served.
        log: Called with what a collector raised.

    Raises:
        BadValue: It is no address, or nothing can listen there.
    """

    def __init__(self, address: str, collectors: Iterable[Collector], *, log: Callable[[str], object] = lambda _: None) -> None:
        host, port = _parsed(address)
        disable_created_metrics()  # type: ignore[no-untyped-call]  # a family beside each, for what nobody asks
        registry = CollectorRegistry()
        for one in collectors:
            registry.register(one)
        self._answer = make_wsgi_app(registry)
        self._log = log
        try:
            self._server = (_Server6 if ":" in host else _Server)((host, port), _Handler)
        except OSError as error:
            raise BadValue(f"nothing can listen on {address}: {error.strerror or error}. Name another address") from None
        self._server.set_app(self._app)
        self._thread = Thread(target=self._server.serve_forever, name="ledger-metrics", daemon=True)
        self._thread.start()
        shown = f"[{host}]" if ":" in host else host
        self.url = f"http://{shown}:{self._server.server_port}/metrics"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop answering."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _app(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        if environ.get("PATH_INFO") not in _PATHS:
            return _refused(start_response, "404 Not Found", "metrics are at /metrics")
        try:
            answer: Iterable[bytes] = self._answer(environ, start_response)
        except LedgerError as error:
            self._log(str(error))
            return _refused(start_response, "503 Service Unavailable", str(error))
        return answer


def _refused(start_response: Any, status: str, why: str) -> Iterable[bytes]:
    start_response(status, [("Content-Type", "text/plain; charset=utf-8")])
    return [f"{visible(why)}\n".encode()]


def _parsed(address: str) -> tuple[str, int]:
    host, port = None, None
    with suppress(ValueError):  # no number, or no port
        parts = urlsplit(f"//{address}")
        host, port = (parts.hostname, parts.port) if parts.netloc == address and "@" not in address else (None, None)
    if not host or port is None:
        raise BadValue(f"an address to listen on is HOST:PORT, as 127.0.0.1:9464, found {address!r}")
    return host, port
