r"""The way to a terminal in the same process: a gateway over the official ``MetaTrader5`` module.

```python
import MetaTrader5

gateway = MetaTrader5Gateway(MetaTrader5, path=r"C:\Terminal\terminal64.exe", login=70113, server="Broker-Live")
reconciler = StateReconciler(account, gateway)
```

The module is passed in, so the ledger does not depend on it; an object with the same calls, as of ``mt5linux``, will do. What
it returns is written as an answer of the gateway protocol and read by the protocol's strict readers, as if it had come over
the wire: the answer is the evidence.

The module never releases Python's lock during a call. **No deadline can be met here**: a terminal that hangs stops all
threads of the process. Where that matters, run ``ledger gateway serve`` beside the terminal.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any, Final, Self

from attrs import evolve

from ledger.gateway.mt5_terminal import TIMEOUT_MS, Mt5Terminal
from ledger.protocol.read import read_account, read_deals, read_snapshot, read_symbols
from ledger.protocol.write import encode
from ledger.snapshot import RemoteAccount, RemoteHistory, RemoteSymbol, Snapshot

_HEAD: Final = ("login", "server", "margin_mode", "connected", "server_time_msc")


class MetaTrader5Gateway:
    """A gateway over the module. Safe to use from several threads, one at a time.

    One process can be attached to one terminal: use a process for each account.

    Args:
        mt5: The module, or an object with its calls.
        path: The terminal's program. Without it the module chooses one.
        login: The account that is expected: another one is refused.
        server: Its trade server: another one is refused.
        password: Passed to ``initialize`` and nowhere else; without it the terminal uses the one that it has stored.
        portable: Start the terminal in portable mode.
        timeout_ms: How long ``initialize`` may take, and how long to wait for another thread's call.
        lock: An ``RLock`` that your own calls of the module hold too. See ``Mt5Terminal``.

    Attributes:
        terminal: What makes the calls.

    Raises:
        BadValue: An argument is not what it has to be.
    """

    def __init__(
        self,
        mt5: Any,
        *,
        path: str | os.PathLike[str] | None = None,
        login: int | None = None,
        server: str | None = None,
        password: str | None = None,
        portable: bool = False,
        timeout_ms: int = TIMEOUT_MS,
        lock: Any = None,
    ) -> None:
        self.terminal = Mt5Terminal(
            mt5,
            path=path,
            login=login,
            server=server,
            password=password,
            portable=portable,
            timeout_ms=timeout_ms,
            lock=lock,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Detach the module from the terminal, if this gateway attached it. The terminal goes on."""
        self.terminal.close()

    @property
    def reconnections(self) -> int:
        """How often the terminal was there again after it was lost. Asks nothing."""
        return self.terminal.reconnections

    def positions(self) -> Snapshot:
        """Return all open positions. See ``Gateway``; ``server_time_msc`` as ``Mt5Terminal.head``."""
        with self.terminal.turn():
            self.terminal.refresh_clock()  # before the positions: they are at least as new
            head, rows = self.terminal.with_head(self.terminal.positions)
        return evolve(read_snapshot(_answer(head, count=len(rows), positions=rows)), is_extended=True)

    def account(self) -> RemoteAccount:
        """Return what the broker states of the account. See ``Gateway``."""
        head, row = self.terminal.with_head(self.terminal.account)
        return read_account(_answer(head, account=row))

    def deals(self, *, from_msc: int | None = None, to_msc: int | None = None, position: int | None = None) -> RemoteHistory:
        """Return deals of a span of server time, or of one position. See ``Gateway``."""
        head, rows = self.terminal.with_head(lambda: self.terminal.deals(from_msc=from_msc, to_msc=to_msc, position=position))
        return read_deals(_answer(head, count=len(rows), deals=rows))

    def symbols(self) -> Sequence[RemoteSymbol]:
        """Return what the broker states of its symbols. See ``Gateway``."""
        head, rows = self.terminal.with_head(self.terminal.symbols)
        return read_symbols(_answer(head, symbols=rows))


def _answer(head: Mapping[str, Any], **content: object) -> bytes:
    """Write what was read as an answer of the protocol."""
    stated = {name: head[name] for name in _HEAD if head[name] is not None}
    return encode({"status": "SUCCESS", **stated, **content})
