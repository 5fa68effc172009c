"""The sandbox: a simulated MT5 terminal behind a real gateway server, to develop and to test against.

Its books are kept by its own simple rules and know nothing of the ledger's fold: what it says is what the ledger is held
against.
"""
