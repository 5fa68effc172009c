#!/usr/bin/env python3
"""This script throws broken answers at everything that reads a gateway: each must give a value or one of its errors.

    python3 tools/faults/fuzz_gateway.py                     # 100,000 answers, half a minute
    python3 tools/faults/fuzz_gateway.py --answers 1000000 --seed 7

Answers are valid ones that were cut, bent and blown up, and plain noise. The same seed gives the same answers. The exit
code is 1 if anything else was raised, or if something bent was read as a flat account; what did it is printed.
"""

import argparse
import json
import random
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # Python looks in the folder of a script, not in the project

from tools.dev import bootstrap

REQ_ID = "0123456789abcdef0123456789abcdef"

#: What a hostile or a broken gateway may put in the place of any value; written as JSON, or as what is none.
VALUES = (
    "null", "true", "false", "0", "-0", "-1", "1e5", "1E400", "-1e999999", "1e-999999", "1e99999999999999999999", "NaN",
    "Infinity", "-Infinity", "0.1", "0.30000000000000004", "1.8900000000000001", "9223372036854775807",
    "9223372036854775808", "18446744073709551616", "-9223372036854775809", "9007199254740994.0", "100001.0",
    '"100001.0"', '"buy\\u0000\\u0000"', "9" * 70, "9" * 5_000, "0." + "1" * 5_000,
    "50629002942.0", '""', '" "', '"0"', '"-1"', '"1e5"', '"NaN"', '"nan"', '"inf"', '"sNaN"', '"0x10"', '"1_000"',
    '" 7 "', '"\\u0661"', '"\\u00b2"', '"\\u0000"', '"\\ud800"', '"a\\u0000b"', '"BUY"', '"Buy"', '"sell"', '"balance"',
    '"POSITION_TYPE_SELL"', '"hedge"', '"in/out"', '"' + "x" * 5_000 + '"', "[]", "{}", "[[]]", "[{}]", '{"a":{}}', "17",
    "99", "-2147483649", "4294967296", '"9223372036854775807"', '"' + "9" * 400 + '"', "[" * 200 + "]" * 200,
    '{"a":' * 200 + "1" + "}" * 200, "01", "+1", ".5", "5.", "'x'", "",
)  # fmt: skip
NOISE = (
    b"", b" ", b"null", b"[]", b"{}", b"OK", b'"SUCCESS"', b"0", b"-", b"\xff\xfe", b"\xef\xbb\xbf{}", b"\x00", b"{" * 10_000,
    b"[" * 100_000, b'{"a":' * 100_000, b"9" * 100_000, b'{"status":"SUCCESS","positions":' + b"[" * 100_000,
    b'{"status":"SUCCESS"}', b'{"status":"SUCCESS","positions":null}', b'{"status":"SUCCESS","positions":{}}',
    b'{"status":"SUCCESS","positions":[null]}', b'{"status":"SUCCESS","positions":[[]]}', b'{"positions":[]}',
    b'{"status":"SUCCESS","status":"ERROR","positions":[]}', b'{"error":true,"lastError":"5040","positions":[{}]}',
    '{"status":"SUCCESS","positions":[{"ticket":1,"symbol":"\ud800"}]}'.encode("utf-8", "surrogatepass"),
    '{"status":"SUCCESS","positions":[]}'.encode("utf-16"),
)  # fmt: skip


class Answer(NamedTuple):
    """One answer: who reads it, and its bytes."""

    reader: str
    raw: bytes


def valid_answers() -> dict[str, dict[str, Any]]:
    """Return a valid answer for each reader."""
    output = {
        "status": "SUCCESS", "req_id": REQ_ID, "login": 70113, "server": "Broker-Live", "margin_mode": "hedging",
        "connected": True, "server_time_msc": 1704153600123,
    }  # fmt: skip
    base = {"symbol": "EURUSD", "type": "buy", "volume": 0.1, "price_open": 1.1, "profit": -1.89, "time": 1704153600}
    full = {
        "identifier": 100001, "magic": -7, "time_msc": 1704153600123, "time_update_msc": 1704153600123, "swap": -0.3,
        "sl": 0.0, "tp": "1.2", "comment": "manual",
    }  # fmt: skip
    deal = {
        "ticket": 5001, "order": 6001, "time": 1704153600, "time_msc": 1704153600123, "type": "buy", "entry": "in",
        "magic": 7, "position_id": 100001, "reason": 3, "volume": "0.10", "price": 1.1, "commission": -0.35, "swap": 0,
        "profit": 0.0, "fee": 0, "symbol": "EURUSD", "comment": "", "external_id": "",
    }  # fmt: skip
    cash = deal | {"ticket": 5002, "order": 0, "type": 2, "entry": 0, "position_id": 0, "volume": 0, "price": 0, "symbol": ""}
    foreign = {
        "id": 100001, "magic": 0, "symbol": "EURUSD", "type": "POSITION_TYPE_BUY", "time_setup": 1704153600, "open": 1.1,
        "stoploss": 0, "takeprofit": 0, "volume": 0.1,
    }  # fmt: skip
    account = {
        "login": 70113, "server": "Broker-Live", "currency": "USD", "currency_digits": 2, "margin_mode": "hedging",
        "balance": 10000.5, "credit": "0.00", "equity": 9999.25,
    }  # fmt: skip
    symbol = {"symbol": "EURUSD", "digits": 5, "volume_step": 0.01, "contract_size": 100000, "currency_profit": "USD"}
    return {
        "positions": output | {"count": 2, "positions": [{"ticket": 100001} | base | full, {"ticket": 100002} | base]},
        "deals": output | {"count": 2, "deals": [deal, cash]},
        "account": output | {"account": account},
        "symbols": output | {"symbols": [symbol]},
        "pong": output,
        "foreign": {"error": False, "positions": [foreign]},
    }


def answers(count: int, seed: int) -> Iterator[Answer]:
    """Yield broken answers, the same for the same seed."""
    dice = random.Random(seed)  # noqa: S311  # repeatable, not secret
    valid = valid_answers()
    names = list(valid)
    for number in range(count):
        name = dice.choice(names)
        if number < len(NOISE) * len(names):
            yield Answer(names[number % len(names)], NOISE[number // len(names)])
            continue
        raw = bend(valid[name], dice) if dice.random() < 0.7 else json.dumps(valid[name]).encode()
        yield Answer(name, damage(raw, dice))


def damage(raw: bytes, dice: random.Random) -> bytes:
    """Return bytes that may be cut, changed, repeated or replaced by noise."""
    for _ in range(dice.choice((0, 0, 0, 1, 2))):
        raw = dice.choice(_DAMAGES)(raw, dice)
    return raw


def bend(answer: dict[str, Any], dice: random.Random) -> bytes:
    """Return a message of which some values are others, some keys are gone or occur twice."""
    bent = json.loads(json.dumps(answer))
    put: dict[str, str] = {}
    for _ in range(dice.choice((1, 1, 2, 3))):
        place = dice.choice(list(_objects(bent)))
        if not place:
            continue
        key = dice.choice(list(place))
        fate = dice.random()
        if fate < 0.12:
            del place[key]
        elif fate < 0.2:
            place[dice.choice(("status", "ticket", "open_price", "identifier", "error", "time", "req_id"))] = place[key]
        else:
            mark = f"<<{len(put)}>>"
            put[mark] = dice.choice(VALUES)
            place[key] = mark
    text = json.dumps(bent)
    for mark, value in put.items():
        text = text.replace(f'"{mark}"', value)
    if dice.random() < 0.1:
        text = text.replace('"type"', f'"type": {dice.choice(VALUES)}, "type"', 1)
    return text.encode()


def _objects(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        yield value
        for inner in value.values():
            yield from _objects(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _objects(inner)


def _cut(raw: bytes, dice: random.Random) -> bytes:
    return raw[: dice.randrange(len(raw) + 1)]


def _flip(raw: bytes, dice: random.Random) -> bytes:
    changed = bytearray(raw)
    for _ in range(dice.choice((1, 2, 8))):
        if changed:
            changed[dice.randrange(len(changed))] ^= 1 << dice.randrange(8)
    return bytes(changed)


def _insert(raw: bytes, dice: random.Random) -> bytes:
    at = dice.randrange(len(raw) + 1)
    return raw[:at] + dice.choice((dice.randbytes(dice.randrange(1, 9)), dice.choice(VALUES).encode())) + raw[at:]


def _repeat(raw: bytes, dice: random.Random) -> bytes:
    at, length = dice.randrange(len(raw) + 1), dice.randrange(1, 200)
    return raw[:at] + raw[at : at + length] * dice.choice((2, 50)) + raw[at + length :]


def _noise(raw: bytes, dice: random.Random) -> bytes:
    return dice.randbytes(dice.randrange(len(raw) + 1))


_DAMAGES: tuple[Callable[[bytes, random.Random], bytes], ...] = (_cut, _flip, _flip, _insert, _repeat, _noise)


def readers() -> dict[str, Callable[[bytes], Any]]:
    """Return what reads answers, by name."""
    from ledger.gateway.mql5_json_api import read_positions
    from ledger.protocol.echo import Asked
    from ledger.protocol.read import read_account, read_deals, read_pong, read_snapshot, read_symbols

    return {
        "positions": lambda raw: read_snapshot(raw, Asked(REQ_ID)),
        "deals": read_deals,
        "account": read_account,
        "symbols": read_symbols,
        "pong": read_pong,
        "foreign": read_positions,
    }


def outcome(answer: Answer) -> str:
    """Read an answer as its reader does and return the name of what came of it; raises what must never be raised."""
    from ledger.errors import GatewayError

    try:
        found = readers()[answer.reader](answer.raw)
    except GatewayError as error:
        str(error).encode()  # it is printed and journaled
        return type(error).__name__
    rows = getattr(found, "positions", None)
    if rows is not None:
        sent = [row for row in json.loads(answer.raw)["positions"] if answer.reader != "foreign" or row != {}]
        if len(rows) != len(sent):
            raise AssertionError(f"{len(sent)} positions were sent, {len(rows)} were read")
    return type(found).__name__


def main() -> int:
    """Read as many broken answers as asked for; return 1 if one of them did harm."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--answers", type=int, default=100_000, metavar="N", help="how many answers")
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="which answers")
    arguments = parser.parse_args()
    bootstrap.enter(bootstrap.RUNTIME_LOCK)
    counts: Counter[str] = Counter()
    for number, answer in enumerate(answers(arguments.answers, arguments.seed)):
        try:
            counts[outcome(answer)] += 1
        except Exception as error:  # noqa: BLE001  # that is what is looked for
            counts["HARM"] += 1
            if counts["HARM"] <= 10:
                print(
                    f"answer {number} for {answer.reader}: {type(error).__name__}: {str(error)[:200]}\n  {answer.raw[:300]!r}"
                )
    print(f"seed {arguments.seed}, {sum(counts.values()):,} answers: ", end="")
    print(", ".join(f"{count:,} {name}" for name, count in counts.most_common()))
    return 1 if counts["HARM"] else 0


if __name__ == "__main__":
    sys.exit(main())
