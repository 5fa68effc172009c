"""The struct sequences of the package ``MetaTrader5``: tuples with named fields, in its order (version 5.0.6231)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from operator import itemgetter
from pickle import PicklingError
from typing import TYPE_CHECKING, Any, ClassVar, Final, Self


class StructSequence(tuple[Any, ...]):
    """A tuple whose items have names, as C extensions make them: read-only, not picklable."""

    __slots__ = ()
    __match_args__: ClassVar[tuple[str, ...]] = ()
    n_fields: ClassVar[int] = 0
    n_sequence_fields: ClassVar[int] = 0
    n_unnamed_fields: ClassVar[int] = 0

    def __new__(cls, values: Iterable[Any]) -> Self:
        """Make a row of one iterable of all values, in the order of the fields."""
        row = tuple(values)
        if len(row) != cls.n_fields:
            raise TypeError(f"{cls.__name__}() takes a {cls.n_fields}-sequence ({len(row)}-sequence given)")
        return super().__new__(cls, row)

    def _asdict(self) -> dict[str, Any]:
        """Return field name -> value."""
        return dict(zip(self.__match_args__, self, strict=True))

    def __repr__(self) -> str:
        shown = ", ".join(f"{name}={value!r}" for name, value in zip(self.__match_args__, self, strict=True))
        return f"{type(self).__name__}({shown})"

    def __reduce__(self) -> str | tuple[Any, ...]:
        raise PicklingError(f"Can't pickle <class '{type(self).__name__}'>: copy it with _asdict() first")

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, _memo: dict[int, Any]) -> Self:
        return self

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any: ...


def _struct(name: str, doc: str, fields: str) -> type[StructSequence]:
    names = tuple(fields.split())
    members: dict[str, Any] = {field: property(itemgetter(number)) for number, field in enumerate(names)}
    size = len(names)
    return type(
        name,
        (StructSequence,),
        {
            "__slots__": (), "__doc__": doc, "__module__": "MetaTrader5", "__match_args__": names, "n_fields": size,
            "n_sequence_fields": size, **members,
        },
    )  # fmt: skip


_TEXT_FIELDS: Final = (
    "symbol comment external_id company name language path data_path commondata_path server currency basis category "
    "currency_base currency_profit currency_margin bank description exchange formula isin page"
)
_FLOAT_FIELDS: Final = (
    "volume_initial volume_current price price_open price_current price_stoplimit sl tp swap profit commission fee stoplimit "
    "bid ask last volume_real community_balance retransmission balance credit equity margin margin_free margin_level "
    "margin_so_call margin_so_so margin_initial margin_maintenance assets liabilities commission_blocked bidhigh bidlow "
    "askhigh asklow lasthigh lastlow volumehigh_real volumelow_real option_strike point trade_tick_value "
    "trade_tick_value_profit trade_tick_value_loss trade_tick_size trade_contract_size trade_accrued_interest "
    "trade_face_value trade_liquidity_rate volume_min volume_max volume_step volume_limit swap_long swap_short "
    "session_volume session_turnover session_interest session_buy_orders_volume session_sell_orders_volume session_open "
    "session_close session_aw session_price_settlement session_price_limit_min session_price_limit_max margin_hedged "
    "price_change price_volatility price_theoretical price_greeks_delta price_greeks_theta price_greeks_gamma "
    "price_greeks_vega price_greeks_rho price_greeks_omega price_sensitivity"
)
_EMPTY: Final = dict.fromkeys(_TEXT_FIELDS.split(), "") | dict.fromkeys(_FLOAT_FIELDS.split(), 0.0)


def make_row(kind: type[StructSequence], values: Mapping[str, Any]) -> StructSequence:
    """Return a row of these values; a field without one is 0, 0.0 or an empty text, by its type."""
    return kind(values[name] if name in values else _EMPTY.get(name, 0) for name in kind.__match_args__)


TradePosition: Final = _struct(
    "TradePosition",
    "Trade position structure",
    "ticket time time_msc time_update time_update_msc type magic identifier reason volume price_open sl tp price_current swap "
    "profit symbol comment external_id",
)
TradeOrder: Final = _struct(
    "TradeOrder",
    "Trade order structure",
    "ticket time_setup time_setup_msc time_done time_done_msc time_expiration type type_time type_filling state magic "
    "position_id position_by_id reason volume_initial volume_current price_open sl tp price_current price_stoplimit symbol "
    "comment external_id",
)
TradeDeal: Final = _struct(
    "TradeDeal",
    "Trade deal structure",
    "ticket order time time_msc type entry magic position_id reason volume price commission swap profit fee symbol comment "
    "external_id",
)
TradeRequest: Final = _struct(
    "TradeRequest",
    "Trade request structure",
    "action magic order symbol volume price stoplimit sl tp deviation type type_filling type_time expiration comment position "
    "position_by",
)
OrderSendResult: Final = _struct(
    "OrderSendResult",
    "order_send result structure",
    "retcode deal order volume price bid ask comment request_id retcode_external request",
)
OrderCheckResult: Final = _struct(
    "OrderCheckResult",
    "order_check result structure",
    "retcode balance equity profit margin margin_free margin_level comment request",
)
Tick: Final = _struct(
    "Tick", "This is a structure for storing latest symbol prices", "time bid ask last volume time_msc flags volume_real"
)
TerminalInfo: Final = _struct(
    "TerminalInfo",
    "This is a structure for storing terminal information",
    "community_account community_connection connected dlls_allowed trade_allowed tradeapi_disabled email_enabled ftp_enabled "
    "notifications_enabled mqid build maxbars codepage ping_last community_balance retransmission company name language path "
    "data_path commondata_path",
)
AccountInfo: Final = _struct(
    "AccountInfo",
    "This is a structure for storing account information",
    "login trade_mode leverage limit_orders margin_so_mode trade_allowed trade_expert margin_mode currency_digits fifo_close "
    "balance credit profit equity margin margin_free margin_level margin_so_call margin_so_so margin_initial "
    "margin_maintenance assets liabilities commission_blocked name server currency company",
)
SymbolInfo: Final = _struct(
    "SymbolInfo",
    "This is a structure for storing symbol information",
    "custom chart_mode select visible session_deals session_buy_orders session_sell_orders volume volumehigh volumelow time "
    "digits spread spread_float ticks_bookdepth trade_calc_mode trade_mode start_time expiration_time trade_stops_level "
    "trade_freeze_level trade_exemode swap_mode swap_rollover3days margin_hedged_use_leg expiration_mode filling_mode "
    "order_mode order_gtc_mode option_mode option_right bid bidhigh bidlow ask askhigh asklow last lasthigh lastlow "
    "volume_real volumehigh_real volumelow_real option_strike point trade_tick_value trade_tick_value_profit "
    "trade_tick_value_loss trade_tick_size trade_contract_size trade_accrued_interest trade_face_value trade_liquidity_rate "
    "volume_min volume_max volume_step volume_limit swap_long swap_short margin_initial margin_maintenance session_volume "
    "session_turnover session_interest session_buy_orders_volume session_sell_orders_volume session_open session_close "
    "session_aw session_price_settlement session_price_limit_min session_price_limit_max margin_hedged price_change "
    "price_volatility price_theoretical price_greeks_delta price_greeks_theta price_greeks_gamma price_greeks_vega "
    "price_greeks_rho price_greeks_omega price_sensitivity basis category currency_base currency_profit currency_margin bank "
    "description exchange formula isin name page path",
)

STRUCTS: Final = (
    TradePosition, TradeOrder, TradeDeal, TradeRequest, OrderSendResult, OrderCheckResult, Tick, TerminalInfo, AccountInfo,
    SymbolInfo,
)  # fmt: skip
