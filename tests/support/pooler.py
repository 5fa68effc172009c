"""This module is a pooler for tests, in transaction or session mode: what PgBouncer does that a client can notice, and no more.

In transaction mode a client's transaction runs on some connection to the server, and the next one on another: settings of a
session, its prepared statements and its listening are not the client's (pgbouncer.org/features.html). Nothing is reset in
between.
"""

from __future__ import annotations

import queue
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from select import select
from typing import Final

_SSL_REQUEST: Final = 80877103
_FAKE_PROCESS: Final = 1_234_567


class Pooler:
    """Listens on a port of 127.0.0.1 and lets its clients share some connections to one database.

    Args:
        server_port: Of the database server on 127.0.0.1.
        mode: ``transaction`` gives a connection back after each transaction, ``session`` when the client leaves.

    Attributes:
        switches: How often a transaction ran on another server connection than the client's transaction before.
    """

    def __init__(self, server_port: int, user: str, database: str, *, connections: int = 3, mode: str = "transaction") -> None:
        self.switches = 0
        self._is_session = mode == "session"
        self._free: queue.Queue[socket.socket] = queue.Queue()
        self._greeting = b""
        self._servers = [self._connect(server_port, user, database) for _ in range(connections)]
        for server in self._servers:
            self._free.put(server)
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]
        self._clients: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _connect(self, port: int, user: str, database: str) -> socket.socket:
        server = socket.create_connection(("127.0.0.1", port))
        server.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        words = b"".join(part.encode() + b"\0" for part in ("user", user, "database", database)) + b"\0"
        server.sendall(struct.pack(">II", len(words) + 8, 196608) + words)
        greeting = b""
        while True:
            kind, body = _read(server)
            if kind == b"E":
                raise AssertionError(body)
            if kind == b"S":
                greeting += _message(kind, body)
            if kind == b"Z":
                self._greeting = greeting
                return server

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listening.accept()
                client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._clients.append(client)
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with suppress(OSError, EOFError):
            while True:
                size, code = struct.unpack(">II", _exactly(client, 8))
                _exactly(client, size - 8)
                if code != _SSL_REQUEST:
                    break
                client.sendall(b"N")
            key = struct.pack(">II", _FAKE_PROCESS, 42)
            client.sendall(_message(b"R", struct.pack(">I", 0)) + self._greeting + _message(b"K", key) + _message(b"Z", b"I"))
            if self._is_session:
                self._pass_on(client, self._free.get())
                return
            last: socket.socket | None = None
            while True:
                first = _read(client)
                if first[0] == b"X":
                    return
                server = self._free.get()
                self.switches += last not in (None, server)
                last = server
                self._transact(client, server, first)

    def _pass_on(self, client: socket.socket, server: socket.socket) -> None:
        """Pass messages on until the client leaves."""
        try:
            while True:
                for source in select([client, server], [], [])[0]:
                    kind, body = _read(source)
                    if kind == b"X":
                        return
                    (server if source is client else client).sendall(_message(kind, body))
        finally:
            self._give_back(server, 0)

    def _transact(self, client: socket.socket, server: socket.socket, first: tuple[bytes, bytes]) -> None:
        """Pass messages on until the server is idle and the client waits for nothing."""
        expected = 0
        pending: list[tuple[bytes, bytes]] = [first]
        try:
            while True:
                for kind, body in pending:
                    if kind == b"X":
                        raise EOFError
                    server.sendall(_message(kind, body))
                    expected += kind in (b"S", b"Q", b"F")
                pending = []
                ready = select([client, server], [], [])[0]
                if server in ready:
                    kind, body = _read(server)
                    expected -= kind == b"Z"
                    client.sendall(_message(kind, body))
                    if kind == b"Z" and not expected and body == b"I" and not select([client], [], [], 0)[0]:
                        return
                elif client in ready:
                    pending = [_read(client)]
        finally:
            self._give_back(server, expected)

    def _give_back(self, server: socket.socket, expected: int) -> None:
        """Let a connection be used by others, in order; one whose client left in the middle is rolled back first."""
        while expected > 0:
            expected -= _read(server)[0] == b"Z"
        server.sendall(_message(b"Q", b"ROLLBACK\0"))
        while _read(server)[0] != b"Z":
            pass
        self._free.put(server)

    def stop(self) -> None:
        for one in (self._listening, *self._clients, *self._servers):
            with suppress(OSError):
                one.close()


def _exactly(source: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        part = source.recv(size - len(data))
        if not part:
            raise EOFError
        data += part
    return data


def _read(source: socket.socket) -> tuple[bytes, bytes]:
    kind = _exactly(source, 1)
    (size,) = struct.unpack(">I", _exactly(source, 4))
    return kind, _exactly(source, size - 4)


def _message(kind: bytes, body: bytes) -> bytes:
    return kind + struct.pack(">I", len(body) + 4) + body


@contextmanager
def pooled(url: str, *, connections: int = 3, mode: str = "transaction") -> Iterator[tuple[str, Pooler]]:
    """Put a pooler before a database, and give out the URL through it, and the pooler."""
    head, _, database = url.rpartition("/")
    port = int(head.rpartition(":")[2])
    pooler = Pooler(port, "postgres", database, connections=connections, mode=mode)
    try:
        yield url.replace(f":{port}/", f":{pooler.port}/"), pooler
    finally:
        pooler.stop()
