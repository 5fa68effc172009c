"""This module is a pooler before a Postgres, as PgBouncer is one: clients share servers, by transaction or by session.

It speaks as much of the protocol (PostgreSQL documentation, "Message Formats") as a client without a password needs. Like
PgBouncer it makes up the process number that it states to a client.
"""

from __future__ import annotations

import select
import socket
import socketserver
import struct
import threading
from typing import Final, Self

_REFUSED_REQUESTS: Final = (80877103, 80877104)  # for TLS and GSSAPI
_READY: Final = b"Z\x00\x00\x00\x05I"  # for the next query, outside of a transaction
_KEY: Final = struct.Struct("!cIII")


class Pooler(socketserver.ThreadingTCPServer):
    """Listens on a port of its own.

    Args:
        port: Of the server.
        mode: ``transaction`` gives a server back after each transaction, ``session`` when the client leaves.
    """

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, port: int, mode: str) -> None:
        super().__init__(("127.0.0.1", 0), _Client)
        self.server_port = port
        self.mode = mode
        self.idle: list[socket.socket] = []
        self.greeting = b""
        self.lock = threading.Lock()

    def __enter__(self) -> Self:
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()
        for one in self.idle:
            one.close()

    @property
    def port(self) -> int:
        return int(self.server_address[1])

    def take(self, startup: bytes) -> socket.socket:
        """Return a server, the one given back last first."""
        with self.lock:
            if self.idle:
                return self.idle.pop()
        server = socket.create_connection(("127.0.0.1", self.server_port))
        server.sendall(startup)
        said = b""
        while not said.endswith(_READY):
            said += server.recv(65536)
        at = said.index(b"K\x00\x00\x00\x0c")
        self.greeting = said[:at] + _KEY.pack(b"K", 12, 1, 2) + said[at + _KEY.size :]
        return server

    def give_back(self, server: socket.socket) -> None:
        """Let others have a server."""
        with self.lock:
            self.idle.append(server)


class _Client(socketserver.BaseRequestHandler):
    server: Pooler

    def handle(self) -> None:
        startup = self._startup()
        if startup is None:
            return
        is_shared = self.server.mode == "transaction"
        server: socket.socket | None = None
        if not self.server.greeting or not is_shared:
            server = self.server.take(startup)
            if is_shared:
                self.server.give_back(server)
                server = None
        self.request.sendall(self.server.greeting)
        try:
            while True:
                for source in select.select([one for one in (self.request, server) if one is not None], [], [])[0]:
                    message = source.recv(65536)
                    if not message or (source is self.request and message[:1] == b"X"):
                        return
                    if source is self.request:
                        server = server or self.server.take(startup)
                        server.sendall(message)
                        continue
                    self.request.sendall(message)
                    if is_shared and message.endswith(_READY):
                        self.server.give_back(source)
                        server = None
        except OSError:
            return
        finally:
            if server is not None:
                server.close()

    def _startup(self) -> bytes | None:
        while True:
            head = self.request.recv(8, socket.MSG_WAITALL)
            if len(head) < 8:
                return None
            size, code = struct.unpack("!II", head)
            if code in _REFUSED_REQUESTS:
                self.request.sendall(b"N")
                continue
            found: bytes = head + self.request.recv(size - 8, socket.MSG_WAITALL)
            return found
