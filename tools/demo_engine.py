"""This script is the demonstration's engine: a process that trades at the sandbox, records, and asks before it opens.

It obeys one command a line on standard input and answers one line each, so that the demonstration can kill it at a known
place: ``start``, ``trade SYMBOL SIDE LOTS``, ``order SYMBOL SIDE LOTS`` (sent and not recorded), ``want SYMBOL SIDE LOTS``
(opened only where none is held).
"""

import json
import sys

import attrs

from ledger import Ledger, Origin, StateReconciler
from ledger.gateway.open import open_gateway
from ledger.gateway.sandbox.client import Sandbox
from ledger.protocol.read import read_deals

_MAGIC = 20260101


def main() -> None:
    """Obey until the input ends."""
    url, server, login, endpoint = sys.argv[1:5]
    account = Ledger.create(url).account(server, int(login))
    reconciler = StateReconciler(account, open_gateway(endpoint))
    broker = Sandbox(endpoint, endpoint)
    for line in sys.stdin:
        command, *words = line.split()
        if command == "start":
            result = reconciler.startup_recovery()
            print(f"startup_recovery: {result.status.value}, {len(result.fills)} deals booked, "
                  f"{len(result.recovered)} recovered, {len(result.closed)} closed", flush=True)  # fmt: skip
            continue
        symbol, side, lots = words
        if command == "want":
            held = [one for one in account.portfolio.positions.values() if one.symbol == symbol]
            safety = reconciler.safe_to_trade(symbol)
            if held or not safety:
                why = f"it holds {held[0].side.value} {held[0].volume.normalize()} already" if held else safety.why
                print(f"wants {side} {lots} {symbol}: sends nothing, {why}", flush=True)
                continue
        answer = broker.send_order(symbol, side, lots, magic=_MAGIC)
        if command == "order":
            print(f"order {answer['order']}: {side} {lots} {symbol} was executed, nothing recorded yet", flush=True)
            continue
        reported = read_deals(json.dumps({"status": "SUCCESS", "deals": answer["deals"]}).encode())
        for deal in reported.deals:
            account.record(attrs.evolve(deal, origin=Origin.ENGINE))
        print(f"order {answer['order']}: {side} {lots} {symbol}, {len(reported.deals)} deal recorded", flush=True)


if __name__ == "__main__":
    main()
