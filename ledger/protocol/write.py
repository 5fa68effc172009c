"""Messages to bytes: requests, as the client sends them, and answers, as a server does."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from types import MappingProxyType
from typing import Any, Final, assert_never, get_args

from attrs import asdict, fields

from ledger.protocol.messages import (
    BASE_FIELDS,
    Account,
    Answer,
    CheckOrder,
    Deals,
    EncodedRows,
    Events,
    Extension,
    Head,
    OrderReply,
    Orders,
    Pong,
    Positions,
    Query,
    Refusal,
    Row,
    SendOrder,
    Symbols,
)
from ledger.protocol.order_requests import order_fields
from ledger.values import AccountId

_FIELDS: Final = {kind: tuple(one.name for one in fields(kind)) for kind in get_args(Query)}
_NO_ECHO: Final[Row] = MappingProxyType({})


def write_request(query: Query, *, req_id: str, deadline_msc: int | None = None, account: AccountId | None = None) -> bytes:
    """Write a request.

    Args:
        query: What is asked.
        req_id: What the answer shall echo.
        deadline_msc: How many milliseconds we wait; a server may drop what is older.
        account: Whose, for a gateway of several accounts.
    """
    given = _given(query)
    asked: dict[str, object] = {"action": query.action, **given, "req_id": req_id}
    if account is not None:
        asked["account"] = str(account)
    if deadline_msc is not None:
        asked["deadline_msc"] = deadline_msc
    return encode(asked)


def _given(query: Query) -> dict[str, Any]:
    if isinstance(query, (SendOrder, CheckOrder)):
        return order_fields(query.message)
    return {name: value for name in _FIELDS[type(query)] if (value := getattr(query, name)) is not None}


def write_answer(answer: Answer, *, echo: Row = _NO_ECHO) -> bytes:
    """Write an answer.

    Args:
        answer: What is answered.
        echo: ``Request.echo`` of the request that it answers; nothing from a server that speaks the base form.
    """
    match answer:
        case Refusal(code, text, further):
            return encode({**echo, "status": "ERROR", "error_code": code, "error_msg": text, **further})
        case Extension():
            return encode({**echo, "status": "SUCCESS", **answer.fields})
        case Positions():
            return _positions(answer, echo)
        case Deals(head=head, rows=rows):
            count = rows.count if isinstance(rows, EncodedRows) else len(rows)
            return _with_rows({**_head(head, echo), "count": count}, "deals", rows)
        case Account(head=head, account=account):
            return encode({**_head(head, echo), "account": account})
        case Symbols(head=head, rows=rows):
            return _with_rows(_head(head, echo), "symbols", rows)
        case Pong(head=head, service=service):
            stated = {} if service is None else asdict(service, recurse=False)
            return encode({**_head_if_known(head, echo), **stated})
        case Events(head=head, store=store, epoch=epoch, rows=rows):
            return encode({**_head_if_known(head, echo), "store": store, "epoch": epoch, "events": rows})
        case Orders(head=head, rows=rows, is_by_ticket=is_by_ticket):
            weak = {"by": "ticket"} if is_by_ticket else {}
            return encode({**_head(head, echo), "count": len(rows), **weak, "orders": rows})
        case OrderReply(head=head, fields=found):
            return encode({**_head_if_known(head, echo), **found})
        case _:
            assert_never(answer)


def encode_rows(rows: Iterable[Row]) -> EncodedRows:
    """Write rows, to answer with them more than once."""
    listed = list(rows)
    return EncodedRows(raw=encode(listed), count=len(listed))


def base_rows(rows: Iterable[Row]) -> list[Row]:
    """Return the rows of positions as the base form has them."""
    return [{name: row[name] for name in BASE_FIELDS} for row in rows]


def encode(message: object) -> bytes:
    """Write any message of either side."""
    return json.dumps(message, separators=(",", ":")).encode()


def _head(head: Head, echo: Row) -> dict[str, Any]:
    stated = {
        "login": head.login, "server": head.server, "margin_mode": head.margin_mode.value,
        "server_time_msc": head.server_time_msc, "connected": head.connected,
    }  # fmt: skip
    known = {name: value for name, value in stated.items() if value is not None or name == "server_time_msc"}
    return {"status": "SUCCESS", **echo, **known}


def _positions(answer: Positions, echo: Row) -> bytes:
    rows, count = answer.rows, answer.count
    if count is None:
        count = rows.count if isinstance(rows, EncodedRows) else len(rows or ())
    head = {"status": "SUCCESS"} if answer.head is None else {**_head(answer.head, echo), "count": count}
    return _with_rows(head, "positions", rows)


def _head_if_known(head: Head | None, echo: Row) -> dict[str, Any]:
    return {"status": "SUCCESS", **echo} if head is None else _head(head, echo)


def _with_rows(head: Row, key: str, rows: Sequence[Row] | EncodedRows | None) -> bytes:
    if not isinstance(rows, EncodedRows):
        return encode({**head, key: rows})
    return encode(head)[:-1] + b',"' + key.encode() + b'":' + rows.raw + b"}"
