"""What the terminal process makes of a look at a terminal that fails, or that another account was logged in to meanwhile."""

from __future__ import annotations

from typing import Any

import pytest

from ledger.errors import GatewayRefused, SnapshotRefused
from ledger.gateway.serve.terminal_process import TerminalCalls


class Terminal:
    """A terminal with one position at most, whose next answers a test sets."""

    def __init__(self) -> None:
        self.positions: list[dict[str, Any]] = []
        self.login = self.login_of_account = 7
        self.refuses_deals = False

    def head(self) -> dict[str, Any]:
        return {"login": self.login, "server": "Desk", "server_time_msc": 1_764_180_000_000}

    def poll(self) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        return [], list(self.positions)

    def deals(self, *, from_msc: int) -> list[dict[str, Any]]:
        assert from_msc
        if self.refuses_deals:
            raise GatewayRefused("history_deals_get", code="-1", detail="Fail")
        return []

    def account(self) -> dict[str, Any]:
        return {"login": self.login_of_account, "server": "Desk", "balance": 1.0}


@pytest.fixture
def looked():
    """A process that has looked at its terminal once, and the terminal."""
    terminal: Any = Terminal()
    calls = TerminalCalls(terminal)
    assert calls._poll(terminal)["changes"] == []
    return calls, terminal


def test_a_look_that_fails_loses_no_change(looked):
    process, terminal = looked
    terminal.positions, terminal.refuses_deals = [{"ticket": 1}], True
    with pytest.raises(GatewayRefused):
        process._poll(terminal)
    terminal.refuses_deals = False
    assert process._poll(terminal)["changes"] == [("position", {"change": "added", "position": {"ticket": 1}})]
    assert process._poll(terminal)["changes"] == []


def test_a_look_during_which_another_account_logs_in_is_refused(looked):
    process, terminal = looked
    terminal.positions, terminal.login_of_account = [{"ticket": 1}], 8
    with pytest.raises(SnapshotRefused, match="another account") as refused:
        process._poll(terminal)
    assert refused.value.field == "login"
