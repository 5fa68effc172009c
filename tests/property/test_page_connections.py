"""Connections of the page: where there are as many as there may be, who waits for its client for the longest makes room."""

from __future__ import annotations

import asyncio
import contextlib
import socket

import pytest
import uvicorn
from hypothesis import example, given, settings
from hypothesis import strategies as st
from uvicorn.server import ServerState

from ledger.page import serve

MOST = 4
GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\n"
BIG = b"x" * 8_000_000
#: What a client did last, by its name: what it sent, what it sends so that it seems to go on, and then to be answered.
SENT = {
    "silent": (b"", b"", GET),
    "head": (GET[:8], GET[8:9], GET[9:]),
    "body": (POST, b"a", b"bc"),
    "kept": (GET, b"", GET),
    "unread": (GET.replace(b"/", b"/big", 1), b"", b""),
    "busy": (GET.replace(b"/", b"/busy", 1), b"", b""),
}


class Served:
    """A page's connections over a plain application, in this event loop."""

    async def __aenter__(self):
        self.released = asyncio.Event()
        self.state = ServerState()
        self.opened: list[asyncio.StreamWriter] = []
        self.made: list[serve._Connection] = []
        config = uvicorn.Config(self._answer, interface="asgi3", lifespan="off", log_config=None, ws="none")
        config.load()

        def connection():
            self.made.append(serve._Connection(config, self.state, {}))
            return self.made[-1]

        listening = serve._bound("127.0.0.1", 0)
        self.port = listening.getsockname()[1]
        self._server = await asyncio.get_running_loop().create_server(connection, sock=listening)
        return self

    async def __aexit__(self, *_):
        self.released.set()
        for one in self.opened:
            one.transport.abort()
        await asyncio.gather(*(one.wait_closed() for one in self.opened), *self.state.tasks, return_exceptions=True)
        await until(lambda: not self.state.connections)
        self._server.close()

    async def _answer(self, scope, receive, send):
        while (await receive()).get("more_body"):
            pass
        if scope["path"] == "/busy":
            await self.released.wait()
        body = BIG if scope["path"] == "/big" else b"ok"
        headers = [(b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def connect(self, state):
        """Connect, and bring the connection into a state."""
        number, wire = len(self.made), socket.socket()
        wire.setblocking(False)
        await asyncio.get_running_loop().sock_connect(wire, ("127.0.0.1", self.port))
        reader, writer = await asyncio.open_connection(sock=wire, limit=1024)
        self.opened.append(writer)
        writer.write(SENT[state][0])
        await until(lambda: len(self.made) > number and self.is_in(self.made[number], state))
        if state == "kept":
            await answered(reader)
        return reader, writer

    @staticmethod
    def is_in(made, state):
        cycle = made.cycle
        return {
            "silent": made.transport is not None,
            "head": made.conn.trailing_data[0] == SENT["head"][0],
            "body": cycle is not None and cycle.more_body,
            "kept": cycle is not None and cycle.response_complete,
            "unread": made._unread is not None,
            "busy": cycle is not None and not cycle.more_body and not cycle.response_complete,
        }[state]


async def until(holds):
    """Let others go on until something holds, which nothing else reports."""
    while not holds():  # noqa: ASYNC110
        await asyncio.sleep(0)


async def answered(reader):
    """Return status and length of an answer; nothing where the other side hung up."""
    with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
        return int(head.split()[1]), len(await reader.readexactly(length))
    return None


@pytest.fixture(scope="module", autouse=True)
def few():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(serve, "CONNECTIONS_MAX", MOST)
        yield


@settings(max_examples=15, deadline=None)
@given(st.lists(st.sampled_from(sorted(SENT)), min_size=MOST, max_size=MOST), st.integers(1, 2))
@example(["body", "busy", "busy", "busy"], 2)
@example(["busy"] * MOST, 1)
def test_who_waits_for_its_client_longest_makes_room_and_nobody_else_is_cut_off(states, more):
    async def story():
        async with Served() as served:
            clients = [await served.connect(one) for one in states]
            for state, (_, writer), made in zip(states, clients, list(served.made), strict=True):
                writer.write(SENT[state][1])
                if SENT[state][1]:
                    await until(lambda made=made: made.conn.trailing_data[0] == GET[:9] or (made.cycle and made.cycle.body))
            waiting, gone = [at for at, one in enumerate(states) if one != "busy"], set()
            for _ in range(more):
                reader, writer = await served.connect("silent")
                writer.write(GET)
                assert (await answered(reader))[0] == (200 if waiting else 503)
                if not waiting:
                    break
                gone.add(waiting.pop(0))
                waiting.append(len(clients))  # it is answered, and the next of those that may make room
                clients.append((reader, writer))
            served.released.set()
            kept = ["kept"] * (len(clients) - len(states))
            for at, (state, (reader, writer)) in enumerate(zip([*states, *kept], clients, strict=True)):
                writer.write(SENT[state][2])
                expected = None if at in gone else (200, len(BIG) if state == "unread" else 2)
                found = await answered(reader)
                assert found == expected, (at, state)

    asyncio.run(story())
