"""The OpenAPI description of the page, made of the table of endpoints that the router serves."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from ledger.json_views import Json
from ledger.page.endpoints import Endpoint, path_parameters
from ledger.page.schemas import SCHEMAS, ref
from ledger.values import INT64_MAX

_PATH: Final[dict[str, tuple[str, Json]]] = {
    "server": ("The trade server.", {"type": "string", "minLength": 1, "maxLength": 200}),
    "login": ("The login there.", {"type": "integer", "minimum": 1, "maximum": INT64_MAX}),
    "version": ("The version of an event.", {"type": "integer", "minimum": 1, "maximum": INT64_MAX}),
    "job": ("The id of a job.", {"type": "string", "minLength": 1, "maxLength": 100}),
}
_ERRORS: Final = {
    "400": "It is not understood: the text has what was expected.",
    "401": "Nobody is signed in.",
    "403": "Whoever is signed in may not do this.",
    "404": "There is no such account, event or page.",
    "409": "A rule of the ledger, or somebody who was faster, is in the way.",
    "413": "The body is too large.",
    "422": "What is stored of the account cannot be read: account and version are named.",
    "429": "Too much is asked for at once: the text has what to narrow.",
    "503": "The journal is busy or away: try again.",
}


def description(endpoints: Iterable[Endpoint], version: str) -> Json:
    """Return the description of some endpoints."""
    paths: Json = {}
    for one in endpoints:
        paths.setdefault(one.path, {})[one.method.lower()] = _operation(one)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "ledger page",
            "version": version,
            "description": "What the operator's page reads and writes. Exact numbers are text; times are UTC.",
        },
        "paths": paths,
        "components": {"schemas": dict(SCHEMAS)},
    }


def _operation(one: Endpoint) -> Json:
    found: Json = {
        "operationId": one.run.__name__,
        "summary": one.summary,
        "description": f"{(one.run.__doc__ or '').strip()} Role: {one.role.value}.",
        "parameters": [*_path(one), *_query(one)],
        "responses": {
            "200": {"description": "What was asked for.", "content": _content(one.answer)},
            "202": {"description": "It is being made: ask for the job, then again.", "content": _content("Waiting")},
            **{status: {"description": text, "content": _content("Error")} for status, text in _ERRORS.items()},
        },
    }
    if one.body is not None:
        found["requestBody"] = {"required": True, "content": _content(one.body)}
    return found


def _path(one: Endpoint) -> list[Json]:
    return [
        {"name": name, "in": "path", "required": True, "description": _PATH[name][0], "schema": _PATH[name][1]}
        for name in path_parameters(one.path)
    ]


def _query(one: Endpoint) -> list[Json]:
    return [
        {"name": each.name, "in": "query", "required": False, "description": each.about, "schema": each.schema}
        for each in one.parameters
    ]


def _content(name: str) -> Json:
    if "/" in name:
        return {name: {"schema": {"type": "string", "format": "binary"}}}
    return {"application/json": {"schema": ref(name)}}
