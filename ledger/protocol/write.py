"""Messages to bytes: requests, as the client sends them."""

from __future__ import annotations

import json


def write_request(action: str, *, req_id: str, deadline_msc: int | None = None, **fields: object) -> bytes:
    """Write a request.

    Args:
        action: ``GET_POSITIONS`` and so on.
        req_id: What the answer shall echo.
        deadline_msc: How many milliseconds we wait; a server may drop what is older.
        fields: What else the action takes.
    """
    asked: dict[str, object] = {"action": action, **fields, "req_id": req_id}
    if deadline_msc is not None:
        asked["deadline_msc"] = deadline_msc
    return json.dumps(asked, separators=(",", ":")).encode()
