"""Which request an answer names, and whether it is good or an error: what is read of an answer before anything else."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any, Final

from ledger.errors import SnapshotRefused
from ledger.protocol.json_stream import shown

Json = Mapping[str, Any]

#: Every spelling of a status that is accepted.
STATUS_GOOD: Final = ("SUCCESS", "OK")
STATUS_BAD: Final = ("ERROR", "REJECTED", "FAILED", "FAILURE")

#: How gateways name the id of the request that they answer: in small letters, without what is between them.
_ECHOES: Final = frozenset({
    "reqid", "requestid", "requestuuid", "requestguid", "req", "rid", "correlationid", "corrid", "correlid", "inreplyto",
    "replyto", "responseto", "answerto", "clientrequestid", "clientreqid", "queryid", "callid", "commandid", "cmdid",
})  # fmt: skip
#: Names that may be the answer's own id, where one of those above names the request.
_IDS: Final = frozenset({"id", "uuid", "guid", "messageid", "msgid", "mid"})
#: Objects in which gateways quote the request, or put what is above the answer.
_QUOTES: Final = frozenset({"request", "header", "headers", "meta", "metadata", "envelope", "context", "query", "command"})
_HEAD: Final = frozenset({
    "status", "error_code", "error_msg", "server_time_msc", "server_time", "count", "login", "server", "margin_mode",
    "connected", "account", "protocol", "store", "epoch", "seq", "push_port",
    "trade_allowed", "gateway_time_msc", "error", "lastError", "description", "desription", "timestamp",
})  # fmt: skip
_NAMES: Final = _ECHOES | _IDS | _QUOTES
#: The two statuses of the engine form, and the fields that it has in good answers and in errors.
_ENGINE_STATUSES: Final = ("ok", "REJECTED")
_ENGINE_FIELDS: Final = ("uuid", "timestamp")


class AnotherAnswer(SnapshotRefused):
    """An answer names another request than the one that was asked, or none where its gateway names them."""


class Asked:
    """A request, and what its answer has to name.

    ``is_echoed`` is whether an answer that was read named it, as a gateway of the extended form always does.
    """

    __slots__ = ("is_echoed", "must_echo", "req_id")

    def __init__(self, req_id: str | None, *, must_echo: bool = False) -> None:
        self.req_id = req_id
        self.must_echo = must_echo
        self.is_echoed = False

    def check(self, fields: Json) -> None:
        """Look at which request an answer names.

        Raises:
            AnotherAnswer: It is another one.
        """
        named = [(name, value) for name, value in _named(fields) if value is not None and value != ""]
        echoes = [(name, value) for name, value in named if _letters(name) in _ECHOES]
        if not echoes and self.req_id is not None and not self._is_own_id(named, fields):
            echoes = named
        for name, value in echoes:
            if not self._is(value):
                raise AnotherAnswer(f"expected the answer to request {self.req_id}, found {shown(value)}", field=name)
        self.is_echoed = bool(echoes)
        if self.must_echo and not echoes and status_of(fields) in STATUS_GOOD:
            raise AnotherAnswer(f"expected the answer to request {self.req_id}, found one that names none", field="req_id")

    def _is_own_id(self, named: list[tuple[str, Any]], fields: Json) -> bool:
        """Return whether all that an answer names is the ``uuid`` that a server of the engine form gives each of its answers.

        As in the base form, it is the answer by its connection; not where the gateway named a request before.
        """
        is_uuid = [name for name, _ in named] == ["uuid"]
        return is_uuid and not self.must_echo and is_engine_form(fields) and not self._is(fields["uuid"])

    def _is(self, value: object) -> bool:
        if self.req_id is None or isinstance(value, (bool, dict, list)):
            return False
        return _letters(str(value)) == _letters(self.req_id)


def _named(fields: Json) -> Iterator[tuple[str, Any]]:
    """Yield what an answer gives as ids: fields of its own, and of the request or the header in it."""
    for key, value in fields.items():
        if type(value) is dict and _letters(key) in _QUOTES:
            yield from ((name, inner) for name, inner in value.items() if _letters(name) in _ECHOES)
        elif _letters(key) in _ECHOES or _letters(key) in _IDS:
            yield key, value


@lru_cache(maxsize=256)
def _letters(text: str) -> str:
    """Return a text in small letters, without what is between letters and digits."""
    return "".join(letter for letter in text.lower() if letter.isalnum())


def is_wanted(key: str) -> bool:
    """Return whether a field of an answer is read: its content, and which request it names."""
    return key in _HEAD or _letters(key) in _NAMES


def is_engine_form(fields: Json) -> bool:
    """Return whether an answer is of the engine form: that of the servers which trading engines bring along.

    They answer ``ok`` or ``REJECTED``, with an id and a time of the answer's own, name no request, and often pass the ``*`` of
    a request on to MetaTrader 5.
    """
    return fields.get("status") in _ENGINE_STATUSES and all(name in fields for name in _ENGINE_FIELDS)


def status_of(fields: Json) -> str | None:
    """Return the status of an answer in capital letters; None where there is none."""
    status = fields.get("status")
    return status.upper() if isinstance(status, str) else None
