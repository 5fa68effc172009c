"""The web application of the page, and how its parts belong together.

    serve (uvicorn)  ->  security.guarded  ->  app.create(source, settings)
                         who asks, and         |- /api/...      routes.ENDPOINTS, a table of endpoints
                         whether they may      |- /api/stream   changes.Changes: what was appended to
                                               |- /static/...   the files of static/
                                               '- all views     static/index.html

A request passes ``security``, which puts a ``Principal`` into ``scope["state"]["principal"]`` and a token for writes into
``scope["state"]["csrf"]``. Here its endpoint is found, its parameters are read, and the endpoint's function runs in a thread
with a ``Call``. All of them share a ``Desk``: the ``Source`` (the journal by a reading and by an appending role), the ``Work``
(folds of long histories, as jobs), the ``Changes`` and the summaries. What cannot be answered is ``answers``.

``serve`` calls ``app.state.close()`` when it is to stop: open streams end at once, and the server waits for no browser.
"""

from __future__ import annotations

import json
import mimetypes
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from importlib.resources import files
from pathlib import PurePosixPath
from typing import Any, Final

from anyio import CapacityLimiter, to_thread
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from ledger.errors import BadValue, LedgerError
from ledger.json_views import Json
from ledger.page.answers import Unanswered, body_of, not_found, refusal, refusal_of, too_much
from ledger.page.desk import Desk, PageOptions
from ledger.page.endpoints import Call, Download, Endpoint, check_windows
from ledger.page.principals import principal_of, require
from ledger.page.routes import ENDPOINTS
from ledger.page.source import Source
from ledger.text import visible
from ledger.values import INT64_MAX, AccountId

#: Every view of the page is this one document, which reads its URL.
VIEWS: Final = (
    "/", "/breaks", "/log", "/health", "/help", "/sign-in", "/a/{server}/{login:int}/breaks/{version:int}",
    "/a/{server}/{login:int}/log", "/a/{server}/{login:int}",
)  # fmt: skip
_STATIC: Final = files("ledger.page").joinpath("static")
#: So many requests read at once; others wait for their turn.
_READERS: Final = 12
#: So long a request may wait for the database, in seconds.
STATEMENT_SEC: Final = 5
_BODY_MAX: Final = 64 * 1024
_PATH_SHOWN: Final = 100  # characters of a path that an error repeats
_TYPES: Final = {
    ".js": "text/javascript; charset=utf-8", ".css": "text/css; charset=utf-8", ".html": "text/html; charset=utf-8",
    ".svg": "image/svg+xml", ".json": "application/json", ".ico": "image/x-icon", ".png": "image/png",
    ".txt": "text/plain; charset=utf-8", "": "text/plain; charset=utf-8",
}  # fmt: skip


def create(source: Source, settings: PageOptions) -> Starlette:
    """Return the application of a page. Its ``state`` has the ``desk``, and ``close``, which ends the streams.

    Args:
        source: Where it reads and writes.
        settings: How it was started.
    """
    desk = Desk(source, settings)
    limiter: list[CapacityLimiter] = []

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        limiter.append(CapacityLimiter(_READERS))
        desk.start()
        try:
            yield
        finally:
            desk.close()

    routes = [_route(one, desk, limiter) for one in ENDPOINTS]
    routes += [
        Route("/api/stream", _stream(desk), methods=["GET"]),
        Route("/static/{path:path}", _static, methods=["GET", "HEAD"]),
        *(Route(path, _view, methods=["GET", "HEAD"]) for path in VIEWS),
    ]
    handlers: Any = {
        HTTPException: _refused, Unanswered: _unanswered, LedgerError: _failed, Exception: _fault,
    }  # fmt: skip
    app = Starlette(routes=routes, lifespan=lifespan, exception_handlers=handlers)
    app.router.redirect_slashes = False
    app.state.desk = desk
    app.state.close = desk.close
    return app


# ----------------------------------------------------------------------------------------------------------- endpoints


def _route(endpoint: Endpoint, desk: Desk, limiter: list[CapacityLimiter]) -> Route:
    async def answer(request: Request) -> Response:
        call = await _call(endpoint, desk, request)
        limit = limiter[0] if limiter else None
        found = await to_thread.run_sync(_run, endpoint, call, limiter=limit)
        if isinstance(found, Download):
            return _file(found)
        return _json(found)

    pattern = endpoint.path.replace("{login}", "{login:int}").replace("{version}", "{version:int}")
    return Route(pattern, answer, methods=[endpoint.method])


def _run(endpoint: Endpoint, call: Call) -> Any:
    """Return what an endpoint answers.

    Raises:
        Unanswered: Something else is answered; 429 where the database takes too long.
    """
    with call.desk.limits.within(STATEMENT_SEC) as limit:
        try:
            return endpoint.run(call)
        except LedgerError as error:
            if limit.is_over:
                raise too_much(
                    f"this takes longer than {STATEMENT_SEC} s: ask for a shorter period, or for fewer rows"
                ) from error
            named = AccountId(call.path["server"], call.path["login"]) if "login" in call.path else None
            raise refusal_of(error, named) from error


async def _call(endpoint: Endpoint, desk: Desk, request: Request) -> Call:
    """Return what a request asks for.

    Raises:
        LedgerError: It is not understood, or not permitted.
        Unanswered: Its body is none.
    """
    principal = require(request, endpoint.role)
    known = {one.name: one for one in endpoint.parameters}
    given: dict[str, list[str]] = {}
    for name, value in request.query_params.multi_items():
        if name not in known:
            names = ", ".join(known) or "none"
            raise BadValue(f"there is no parameter {visible(name[:40])!r} here; there are: {names}")
        given.setdefault(name, []).append(value)
    query = {name: one.of(given.get(name, [])) for name, one in known.items()}
    check_windows(query)
    return Call(
        desk=desk,
        principal=principal,
        path=_path(request.path_params),
        query=query,
        body={} if endpoint.body is None else await _body(request),
        csrf=getattr(request.state, "csrf", None),
    )


def _path(found: dict[str, Any]) -> dict[str, Any]:
    for name in ("login", "version"):
        if found.get(name, 0) > INT64_MAX:
            raise not_found(f"expected {name} as a number that there is, found {str(found[name])[:40]}")
    if "server" in found:
        AccountId(found["server"], found.get("login", 1))
    return found


async def _body(request: Request) -> dict[str, Any]:
    raw = b""
    async for block in request.stream():
        raw += block
        if len(raw) > _BODY_MAX:
            raise refusal(413, "TooLarge", f"expected a body of at most {_BODY_MAX} bytes")
    try:
        found = json.loads(raw)
    except (ValueError, RecursionError):
        raise BadValue("expected a JSON object as the body") from None
    if not isinstance(found, dict):
        raise BadValue("expected a JSON object as the body")
    return found


def _json(content: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(body_of(content), status, headers, "application/json")


def _file(found: Download) -> Response:
    headers = {"Content-Disposition": f'attachment; filename="{found.name}"'}
    return Response(found.content, 200, headers, found.media)


# -------------------------------------------------------------------------------------------------------------- stream


def _stream(desk: Desk) -> Callable[[Request], Awaitable[Response]]:
    async def stream(request: Request) -> Response:
        principal_of(request)
        events = await desk.changes.stream(request.headers.get("last-event-id"))
        return StreamingResponse(events, 200, {"X-Accel-Buffering": "no", "Cache-Control": "no-store"}, "text/event-stream")

    return stream


# --------------------------------------------------------------------------------------------------------------- files


async def _view(_: Request) -> Response:
    return _static_file("index.html")


async def _static(request: Request) -> Response:
    return _static_file(request.path_params["path"])


def _static_file(path: str, status: int = 200) -> Response:
    parts = PurePosixPath(path).parts
    if not parts or "\\" in path or "\0" in path or any(part in ("..", ".", "/") or part.startswith(".") for part in parts):
        raise not_found("there is no such file")
    found = _STATIC
    for part in parts:
        found = found.joinpath(part)
    if not found.is_file():
        raise not_found("there is no such file")
    suffix = PurePosixPath(path).suffix.lower()
    media = _TYPES.get(suffix) or mimetypes.guess_type(path)[0] or "application/octet-stream"
    return Response(found.read_bytes(), status, {"Content-Type": media})


# -------------------------------------------------------------------------------------------------------------- errors


async def _unanswered(_: Request, error: Unanswered) -> Response:
    return _json(error.content, error.status, error.headers)


async def _failed(_: Request, error: LedgerError) -> Response:
    found = refusal_of(error)
    return _json(found.content, found.status, found.headers)


def _is_navigation(request: Request) -> bool:
    """Return whether somebody opened an address in a browser, and no script or program asked for data or a file."""
    is_view = not request.url.path.startswith(("/api/", "/static/"))
    return is_view and request.method in ("GET", "HEAD") and "text/html" in request.headers.get("accept", "")


async def _refused(request: Request, error: HTTPException) -> Response:
    if error.status_code == 404 and _is_navigation(request):
        return _static_file("index.html", 404)
    code = {404: "NotFound", 405: "MethodNotAllowed"}.get(error.status_code, "Refused")
    asked = f"{request.method} {visible(request.url.path[:_PATH_SHOWN])}"
    texts = {
        404: f"{asked} is not there: /api/openapi.json lists what is",
        405: f"{asked} is not there: this address has another method",
    }
    found = refusal(error.status_code, code, texts.get(error.status_code, str(error.detail)))
    return _json(found.content, found.status, dict(error.headers or {}))


async def _fault(_: Request, __: Exception) -> Response:
    content: Json = {"error": {"code": "Fault", "text": "a fault of the page: its log has what happened", "retryable": False}}
    return _json(content, 500)
