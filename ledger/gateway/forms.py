"""The forms that gateways speak, by the names that options and settings give them."""

from __future__ import annotations

from typing import Final, Literal, get_args

Form = Literal["json", "mql5-json-api", "ejtrader"]
FORMS: Final[tuple[Form, ...]] = get_args(Form)
