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
_HEADER: Final = 5  # the kind of a message, and its size without it


class _Peer:
    """A connection of messages. A server may send half of one and wait: so none is waited for."""

    def __init__(self, connection: socket.socket) -> None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.connection = connection
        self._data = b""

    def fileno(self) -> int:
        return self.connection.fileno()

    def arrived(self) -> list[tuple[bytes, bytes]]:
        """Return the messages that are there as a whole, once there is something to read."""
        part = self.connection.recv(65536)
        if not part:
            raise EOFError
        self._data += part
        found = []
        while len(self._data) >= _HEADER and len(self._data) > (size := struct.unpack_from(">I", self._data, 1)[0]):
            found.append((self._data[:1], self._data[_HEADER : size + 1]))
            self._data = self._data[size + 1 :]
        return found

    def send(self, *messages: tuple[bytes, bytes]) -> None:
        self.connection.sendall(b"".join(_message(kind, body) for kind, body in messages))


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
        self._free: queue.Queue[_Peer] = queue.Queue()
        self._greeting = b""
        self._servers = [self._connect(server_port, user, database) for _ in range(connections)]
        for server in self._servers:
            self._free.put(server)
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]
        self._clients: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _connect(self, port: int, user: str, database: str) -> _Peer:
        connection = socket.create_connection(("127.0.0.1", port))
        words = b"".join(part.encode() + b"\0" for part in ("user", user, "database", database)) + b"\0"
        connection.sendall(struct.pack(">II", len(words) + 8, 196608) + words)
        server, greeting = _Peer(connection), b""
        while True:
            for kind, body in server.arrived():
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
                self._clients.append(client)
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with suppress(OSError, EOFError, ValueError):  # the last: select, of what ``stop`` closed meanwhile
            while True:
                size, code = struct.unpack(">II", _exactly(client, 8))
                _exactly(client, size - 8)
                if code != _SSL_REQUEST:
                    break
                client.sendall(b"N")
            key = struct.pack(">II", _FAKE_PROCESS, 42)
            client.sendall(_message(b"R", struct.pack(">I", 0)) + self._greeting + _message(b"K", key) + _message(b"Z", b"I"))
            peer = _Peer(client)
            if self._is_session:
                self._pass_on(peer, self._free.get())
                return
            last: _Peer | None = None
            output: list[tuple[bytes, bytes]] = []
            while True:
                while not output:
                    output = peer.arrived()
                if output[0][0] == b"X":
                    return
                server = self._free.get()
                self.switches += last not in (None, server)
                last = server
                output = self._transact(peer, server, output)

    def _pass_on(self, client: _Peer, server: _Peer) -> None:
        """Pass messages on until the client leaves."""
        try:
            while True:
                for source in select([client, server], [], [])[0]:
                    messages = source.arrived()
                    if source is client and any(kind == b"X" for kind, _ in messages):
                        return
                    (server if source is client else client).send(*messages)
        finally:
            self._give_back(server, 0)

    def _transact(self, client: _Peer, server: _Peer, output: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
        """Pass messages on until the server is idle and the client waits for nothing; return what it sent next."""
        expected = 0
        try:
            while True:
                if any(kind == b"X" for kind, _ in output):
                    raise EOFError
                server.send(*output)
                expected += sum(kind in (b"S", b"Q", b"F") for kind, _ in output)
                output = []
                ready = select([client, server], [], [])[0]
                if server in ready:
                    answers = server.arrived()
                    expected -= sum(kind == b"Z" for kind, _ in answers)
                    client.send(*answers)
                    is_idle = bool(answers) and answers[-1] == (b"Z", b"I") and not expected
                    if is_idle and not select([client], [], [], 0)[0]:
                        return []
                elif client in ready:
                    output = client.arrived()
        finally:
            self._give_back(server, expected)

    def _give_back(self, server: _Peer, expected: int) -> None:
        """Let a connection be used by others, in order; one whose client left in the middle is rolled back first."""
        while expected > 0:
            expected -= sum(kind == b"Z" for kind, _ in server.arrived())
        server.send((b"Q", b"ROLLBACK\0"))
        while not any(kind == b"Z" for kind, _ in server.arrived()):
            pass
        self._free.put(server)

    def stop(self) -> None:
        for one in (self._listening, *self._clients, *(server.connection for server in self._servers)):
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
