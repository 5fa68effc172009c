"""Trust: whether a snapshot may be believed. One that may not is refused whole, and nothing of it is used."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from decimal import Decimal
from operator import is_

import attrs

from ledger.clock import DAY_MSC, MINUTE_MSC, SECOND_MSC, ClockRule
from ledger.errors import BadValue, InexactNumber, SnapshotRefused
from ledger.events import PositionState
from ledger.order_messages import RemoteOrders
from ledger.portfolio import Portfolio
from ledger.reconcile.compare import is_alike
from ledger.snapshot import RemoteAccount, RemoteHistory, RemotePosition, Snapshot
from ledger.terms import AccountTerms
from ledger.values import unscaled
from ledger.views import Identity


def validate(snapshot: Snapshot, portfolio: Portfolio, *, now_msc: int, seen_msc: int | None = None) -> Snapshot:
    """Return a snapshot if it earns trust against what we had when it was asked for.

    Numbers that are not what we have already are cleaned of binary dirt.

    Args:
        snapshot: What the gateway reported.
        portfolio: What we had when it was asked.
        now_msc: Our own clock through the account's clock rule: broker server time in milliseconds.
        seen_msc: The server time of an earlier answer of the same gateway, None without any.

    Raises:
        SnapshotRefused: It is of another account or does not state of which, of a terminal that is not connected, older
            than what we applied or than an earlier answer, it contradicts itself, or a number in it does not fit.
    """
    require_identity(snapshot, portfolio.terms)
    refuse_unidentified(snapshot, portfolio.identity, portfolio.terms)
    _refuse_stale(snapshot, portfolio, seen_msc)
    _refuse_future(snapshot, now_msc)
    _refuse_contradiction(snapshot, portfolio.terms)
    ours, terms = portfolio.positions, portfolio.terms
    cleaned = [  # what shows what we have already is known to fit
        row if row.position_id in ours and is_alike(ours[row.position_id], row, terms) else _cleaned(row, number, terms)
        for number, row in enumerate(snapshot.positions, 1)
    ]
    if all(map(is_, cleaned, snapshot.positions)):
        return snapshot
    return attrs.evolve(snapshot, positions=tuple(cleaned))


def is_ahead(snapshot: Snapshot, allowed_msc: int) -> bool:
    """Return whether the server time of a snapshot is one that the server cannot have had.

    MT5's server time is that of the last tick: it may stop or lag, it never leads.

    Args:
        snapshot: What the gateway reported.
        allowed_msc: The present on the server's clock, by the clock rule or by the offset last seen.
    """
    return snapshot.server_time_msc is not None and snapshot.server_time_msc > allowed_msc + MINUTE_MSC


def require_identity(answer: Snapshot | RemoteAccount | RemoteHistory | RemoteOrders, terms: AccountTerms) -> None:
    """Refuse an answer of another account, or of a terminal that is not connected to its broker.

    After a reconnect the terminal synchronises; until it reports that it is connected its list may be partial.
    """
    if answer.connected is False:
        raise SnapshotRefused("the terminal reports that it is not connected to its broker", field="connected")
    opened = terms.opened
    for name, reported, known in (
        ("login", answer.login, opened.login),
        ("server", answer.server, opened.server),
        ("margin_mode", getattr(answer, "mode", None), opened.mode),
    ):
        if reported is not None and reported != known:
            expected, found = (getattr(one, "value", one) for one in (known, reported))
            raise SnapshotRefused(f"expected {expected} as of account {terms.account}, found {found}", field=name)


def is_identified(answer: Snapshot | RemoteAccount | RemoteHistory | RemoteOrders) -> bool:
    """Return whether an answer states login and server."""
    return answer.login is not None and answer.server is not None


def refuse_unidentified(
    answer: Snapshot | RemoteAccount | RemoteHistory | RemoteOrders, identity: Identity, terms: AccountTerms
) -> None:
    """Refuse an answer that does not state login and server, where they are required.

    Another program, or another terminal, may answer on the same port: its empty list is not this account's.
    """
    missing = [name for name in ("login", "server") if getattr(answer, name) is None]
    if not missing or not identity.is_required:
        return
    raise SnapshotRefused(
        f"expected login and server of account {terms.account}, as its answers stated them before; found no "
        f"{' and no '.join(missing)}: another program or terminal may be answering. Look at what answers there; to accept "
        f"answers without them: ledger account identity {terms.account} --allow-base-form",
        field=missing[0],
    )


def _refuse_stale(snapshot: Snapshot, portfolio: Portfolio, seen_msc: int | None) -> None:
    """Refuse a snapshot that is older than the newest fill that we applied, or than an earlier answer of the gateway.

    Only times that the broker stated are compared, and a repeated hour as one moment. A terminal that counts whole seconds
    shows the second that a fill happened in. Its server time may be that of the last tick and lag behind a fill; a row that
    the fill changed shows it. Cash movements do not count: money that is booked on a weekend moves no tick.
    """
    if snapshot.server_time_msc is None:
        return
    clock = portfolio.terms.clock
    reported_msc = max([snapshot.server_time_msc, *(row.updated_msc or 0 for row in snapshot.positions)])
    for what, newest_msc in (
        ("the newest fill that is applied", portfolio.newest_fill_msc),
        ("an earlier answer of this gateway", -1 if seen_msc is None else seen_msc),
    ):
        if is_older(reported_msc, newest_msc, clock):
            raise SnapshotRefused(
                f"the snapshot is of server time {reported_msc}, older than {what} "
                f"({newest_msc}): a stale answer, or a wrong clock rule (ledger account clock)",
                field="server_time_msc",
            )


def is_older(reported_msc: int, newest_msc: int, clock: ClockRule) -> bool:
    """Return whether a server time is before another one; a repeated hour is one moment."""
    reported, newest = clock.order_msc(reported_msc), clock.order_msc(newest_msc)
    if reported != newest or reported_msc % SECOND_MSC == 0 or clock.repeated_hour(reported_msc) is not None:
        return reported < newest
    return reported_msc < newest_msc


def _refuse_future(snapshot: Snapshot, now_msc: int) -> None:
    """Refuse positions that were opened or changed after the moment of the snapshot.

    What is concluded from them would block everything that follows. An impossible server time means nothing
    about that moment; our own clock may be off the server's by as much as a wrong clock rule can be.
    """
    reported_msc = snapshot.server_time_msc
    is_unknown = reported_msc is None or is_ahead(snapshot, now_msc)
    latest_msc = now_msc + DAY_MSC if reported_msc is None or is_unknown else reported_msc + MINUTE_MSC
    for number, row in enumerate(snapshot.positions, 1):
        if (row.updated_msc or row.opened_msc or 0) > latest_msc or (row.opened_msc or 0) > latest_msc:
            raise SnapshotRefused(
                f"position {row.position_id} was opened or changed after the moment of the snapshot", row=number, field="time"
            )


def _refuse_contradiction(snapshot: Snapshot, terms: AccountTerms) -> None:
    rows = snapshot.positions
    if snapshot.count is not None and snapshot.count != len(rows):
        raise SnapshotRefused(f"expected the {snapshot.count} rows that it states, found {len(rows)}", field="count")
    if len({row.is_identified for row in rows}) > 1:
        raise SnapshotRefused("expected an identifier in every row or in none, found both", field="identifier")
    for name, values in (
        ("ticket", [row.ticket for row in rows]),
        ("identifier", [row.position_id for row in rows]),
        ("symbol", [row.symbol for row in rows] if terms.opened.mode.nets else []),
    ):
        if len(set(values)) != len(values):
            twice = _twice(values)
            why = "an account that nets has one position a symbol" if name == "symbol" else "a position is listed once"
            raise SnapshotRefused(f"{why}, found {twice!r} again", row=_last_row(values, twice), field=name)


def _twice(values: Iterable[int | str]) -> int | str:
    return next(value for value, times in Counter(values).items() if times > 1)


def _last_row(values: list[int | str] | list[int] | list[str], value: int | str) -> int:
    return max(number for number, one in enumerate(values, 1) if one == value)


def _cleaned(row: RemotePosition, number: int, terms: AccountTerms) -> RemotePosition:
    try:
        volume, price = terms.sizes(state_of(row))
    except BadValue as error:
        raise SnapshotRefused(str(error), row=number) from error
    except InexactNumber as error:
        raise SnapshotRefused(str(error), row=number, field=error.what or "volume") from error
    price_scale, volume_scale = terms.scales(row.symbol)
    price_open = None if row.price_open is None else unscaled(price, price_scale)
    return attrs.evolve(row, volume=unscaled(volume, volume_scale), price_open=price_open)


def state_of(row: RemotePosition, *, position_id: int | None = None) -> PositionState:
    """Return a remote position as the events state it, under our id for it if we have one."""
    return PositionState(
        position_id=row.position_id if position_id is None else position_id,
        symbol=row.symbol,
        side=row.side,
        volume=row.volume,
        price_open=Decimal(0) if row.price_open is None else row.price_open,
        ticket=row.ticket,
        opened_msc=row.opened_msc,
        magic=row.magic,
        comment=row.comment,
        updated_msc=row.updated_msc,
    )
