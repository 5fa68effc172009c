"""This module waits for gateway services that tools and tests start."""

from __future__ import annotations

import time

from ledger.errors import GatewayError
from ledger.gateway.client import ZmqGateway


def wait_ready(endpoint: str, give_up_sec: float) -> None:
    """Ask a service for positions until it has its terminal.

    Raises:
        GatewayError: It had none for so many seconds.
    """
    give_up = time.monotonic() + give_up_sec
    with ZmqGateway(endpoint) as gateway:
        while True:
            try:
                gateway.positions()
            except GatewayError:
                if time.monotonic() > give_up:
                    raise
            else:
                return
