"""The sandbox: a simulated MT5 terminal behind a real gateway server, to develop and to test against.

Its books follow its own simple rules and know nothing of the ledger's fold: what it reports is what the ledger is checked
against.
"""
