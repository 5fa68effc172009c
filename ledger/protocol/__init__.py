"""The gateway protocol: its messages, and how each side reads and writes them. Bytes and values, no sockets.

A message is one JSON object. The client writes requests and reads answers, a server reads requests and writes answers, both
with the modules here; how the bytes travel is the business of ``ledger.gateway``.
"""

from __future__ import annotations

from typing import Final

#: The largest message that either side accepts, where nothing else is set.
MESSAGE_BYTES_MAX: Final = 16 * 1024 * 1024
