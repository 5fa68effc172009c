"""The fake ``MetaTrader5`` package: constants, struct sequences, argument rules, and the module over a simulated terminal."""

from ledger.testing.mt5.faults import FakeFault, FakeFaults
from ledger.testing.mt5.module import FakeMetaTrader5
from ledger.testing.mt5.settings import FakeSettings

__all__ = ["FakeFault", "FakeFaults", "FakeMetaTrader5", "FakeSettings"]
