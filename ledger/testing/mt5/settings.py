"""What the fake ``MetaTrader5`` is set to: the terminal, the account and how the broker behaves."""

from __future__ import annotations

from typing import Any, Final

from attrs import Attribute, field, frozen

from ledger.errors import BadValue
from ledger.values import shown

_COUNT_MAX: Final = 1_000_000


def _count(_: object, attribute: Attribute[Any], value: object) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= _COUNT_MAX:
        raise BadValue(f"{attribute.name} is a whole number from 0 to {_COUNT_MAX}, found {shown(value)}")


@frozen(kw_only=True)
class FakeSettings:
    """How the fake behaves; the defaults are a healthy terminal at a usual broker.

    Attributes:
        path: Folder of the terminal. None: the one that ``initialize`` names.
        data_path: Its data folder. None: the same folder.
        password: The password that ``initialize`` and ``login`` need. None: any, also none.
        company: Name of the broker.
        build: Build of the terminal.
        is_trading_allowed: The button "Algo Trading" of the terminal.
        is_account_trading_allowed: Whether the server lets the account trade.
        is_api_disabled: Whether the terminal refuses orders of the Python package.
        is_real: Whether the account is a real one, not a demo.
        leverage: Of the account.
        limit_orders: How many positions and pending orders it may have; one more order, an exit too, is refused with 10040.
        execution: How orders are executed (``SYMBOL_TRADE_EXECUTION_...``). None: by the account's margin mode.
        filling_mode: Mask of the filling modes of market orders: 1 FOK, 2 IOC.
        stops_level: How many points stops and pending orders must be away from the price.
        volume_max: The largest volume of one order, in lots.
        volume_limit: The largest volume of a symbol in one direction, in lots; 0: no limit.
        liquidity: How many lots a market order finds at once; 0: as many as it asks for. Beyond it FOK is refused, IOC
            filled in part, and Return waits with the rest.
        parts: How many deals fill a market order.
        is_margin_checked: Whether an order without free margin is refused with 10019.
        stop_out_level: Margin level in percent at which the server closes positions; 0: never.
        drops_stops: Whether the broker loses the stops of market orders: the position has none.
        comment_length: How much of a comment is kept: 31 all, 16 a part, 0 nothing.
        comment_after_partial_close: What the position's comment becomes then; None: it stays.
        tick_every_ms: How often prices move where the clock is a real one; 0: on command only.
        history_delay_calls: For so many further calls a finished order is neither active nor in the history.
        deals_delay_calls: For so many further calls the history lacks the deals of an order that was answered.
        loading_calls: For so many calls after a login the history is half loaded.
        call_ms: How long each call blocks the process.
    """

    path: str | None = None
    data_path: str | None = None
    password: str | None = None
    company: str = "Sandbox Ltd."
    build: int = field(default=5836, validator=_count)
    is_trading_allowed: bool = True
    is_account_trading_allowed: bool = True
    is_api_disabled: bool = False
    is_real: bool = False
    leverage: int = field(default=100, validator=_count)
    limit_orders: int = field(default=200, validator=_count)
    execution: int | None = None
    filling_mode: int = field(default=3, validator=_count)
    stops_level: int = field(default=0, validator=_count)
    volume_max: float = 50.0
    volume_limit: float = 0.0
    liquidity: float = 0.0
    parts: int = field(default=1, validator=_count)
    is_margin_checked: bool = False
    stop_out_level: float = 0.0
    drops_stops: bool = False
    comment_length: int = field(default=31, validator=_count)
    comment_after_partial_close: str | None = None
    tick_every_ms: int = field(default=1000, validator=_count)
    history_delay_calls: int = field(default=0, validator=_count)
    deals_delay_calls: int = field(default=0, validator=_count)
    loading_calls: int = field(default=0, validator=_count)
    call_ms: int = field(default=0, validator=_count)
