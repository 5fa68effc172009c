"""The rows about very many accounts: a partitioned journal on Postgres beside a plain one, doing the same in turn."""

import re
from typing import Any

from tools.bench.journals import make_journal
from tools.bench.paths import Path, Paths, Sizes
from tools.bench.read import replay_rate
from tools.bench.write import books, socket_url

_PARTITIONS = 64
_MORE = 5


def partition_paths(server: Any, sizes: Sizes) -> Paths:
    """What partitions cost one account: a durable fill, a thousand at once, a replay; and how many of them it reads."""
    one, many, _ = books(lambda: partitioned_url(server), sizes)
    one_plain, many_plain, _ = books(lambda: socket_url(server), sizes)
    yield Path(
        name=f"one durable fill, {_PARTITIONS} partitions, to none", unit="ms", ours=one, reference=one_plain, target=1.15,
        by_ratio=True, more=_MORE,
    )  # fmt: skip
    yield Path(
        name=f"record_many of 1,000, {_PARTITIONS} partitions, to none", unit="events/s", ours=many, reference=many_plain,
        target=0.85, better="higher", by_ratio=True, more=_MORE,
    )  # fmt: skip
    url, plain = (make_journal(new(server), sizes.replayed, nets=False) for new in (partitioned_url, socket_url))
    yield Path(
        name=f"full replay of {sizes.replayed:,} events, {_PARTITIONS} partitions, to none", unit="events/s", target=0.85,
        better="higher", by_ratio=True, ours=lambda: replay_rate(url), reference=lambda: replay_rate(plain),
    )  # fmt: skip
    yield Path(
        name=f"partitions of {_PARTITIONS} that inserting one event reads", unit="partitions", target=1, once=True,
        ours=lambda: float(len(partitions_read(url))),
    )  # fmt: skip


def partitioned_url(server: Any) -> str:
    """Make a partitioned journal, and return its URL on the server's Unix socket."""
    from ledger.journal.sql.create import create_journal

    url = socket_url(server)
    create_journal(url, partitions=_PARTITIONS)
    return url


def partitions_read(url: str) -> set[str]:
    """Return the partitions that Postgres reads to insert one event, by the plan that it has for any values."""
    import psycopg

    from ledger import Ledger
    from ledger.journal.sql import wire
    from ledger.journal.sql.words import account_key

    with Ledger.open(url) as ledger:
        (account,) = ledger.accounts()
        values = [account_key(account.name), *next(ledger.journal.rows(account.name)), 0, 0]
    with psycopg.connect(url.replace("+psycopg", "")) as connection:
        types = ", ".join(("int8", *wire._TYPES, "int8", "int8"))  # noqa: SLF001  # a measurement looks inside
        connection.execute("SET plan_cache_mode = force_generic_plan")
        connection.execute(f"PREPARE one ({types}) AS {wire._INSERT}")  # noqa: SLF001
        statement: Any = f"EXPLAIN EXECUTE one ({', '.join(['%s'] * len(values))})"
        rows = psycopg.ClientCursor(connection).execute(statement, values).fetchall()
    return set(re.findall(r" on (events_p\d+)", "\n".join(line for (line,) in rows)))
