"""The return codes of trade requests, with the comment that comes with each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from ledger.testing.mt5.constants import Constants as Code

COMMENTS: Final[Mapping[int, str]] = {
    0: "Done",
    Code.TRADE_RETCODE_REQUOTE: "Requote",
    Code.TRADE_RETCODE_REJECT: "Request rejected",
    Code.TRADE_RETCODE_CANCEL: "Request canceled by trader",
    Code.TRADE_RETCODE_PLACED: "Order placed",
    Code.TRADE_RETCODE_DONE: "Request executed",
    Code.TRADE_RETCODE_DONE_PARTIAL: "Request executed partially",
    Code.TRADE_RETCODE_ERROR: "Request processing error",
    Code.TRADE_RETCODE_TIMEOUT: "Request timed out",
    Code.TRADE_RETCODE_INVALID: "Invalid request",
    Code.TRADE_RETCODE_INVALID_VOLUME: "Invalid volume",
    Code.TRADE_RETCODE_INVALID_PRICE: "Invalid price",
    Code.TRADE_RETCODE_INVALID_STOPS: "Invalid stops",
    Code.TRADE_RETCODE_TRADE_DISABLED: "Trade disabled",
    Code.TRADE_RETCODE_MARKET_CLOSED: "Market closed",
    Code.TRADE_RETCODE_NO_MONEY: "No money",
    Code.TRADE_RETCODE_PRICE_CHANGED: "Price changed",
    Code.TRADE_RETCODE_PRICE_OFF: "Off quotes",
    Code.TRADE_RETCODE_INVALID_EXPIRATION: "Invalid expiration",
    Code.TRADE_RETCODE_ORDER_CHANGED: "Order changed",
    Code.TRADE_RETCODE_TOO_MANY_REQUESTS: "Too many trade requests",
    Code.TRADE_RETCODE_NO_CHANGES: "No changes",
    Code.TRADE_RETCODE_SERVER_DISABLES_AT: "AutoTrading disabled by server",
    Code.TRADE_RETCODE_CLIENT_DISABLES_AT: "AutoTrading disabled by client",
    Code.TRADE_RETCODE_LOCKED: "Request locked for processing",
    Code.TRADE_RETCODE_FROZEN: "Order or position frozen",
    Code.TRADE_RETCODE_INVALID_FILL: "Unsupported filling mode",
    Code.TRADE_RETCODE_CONNECTION: "No connection",
    Code.TRADE_RETCODE_ONLY_REAL: "Only real accounts allowed",
    Code.TRADE_RETCODE_LIMIT_ORDERS: "Orders limit reached",
    Code.TRADE_RETCODE_LIMIT_VOLUME: "Volume limit reached",
    Code.TRADE_RETCODE_INVALID_ORDER: "Invalid order",
    Code.TRADE_RETCODE_POSITION_CLOSED: "Position doesn't exist",
    Code.TRADE_RETCODE_INVALID_CLOSE_VOLUME: "Invalid close volume",
    Code.TRADE_RETCODE_CLOSE_ORDER_EXIST: "Order to close this position already exists",
    Code.TRADE_RETCODE_LIMIT_POSITIONS: "Positions limit reached",
    Code.TRADE_RETCODE_REJECT_CANCEL: "Request rejected, order canceled",
    Code.TRADE_RETCODE_LONG_ONLY: "Only long positions are allowed",
    Code.TRADE_RETCODE_SHORT_ONLY: "Only short positions are allowed",
    Code.TRADE_RETCODE_CLOSE_ONLY: "Only position closing is allowed",
    Code.TRADE_RETCODE_FIFO_CLOSE: "Only FIFO closing is allowed",
}
