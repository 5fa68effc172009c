"""This package measures every path of the ledger with a reference that does the same work: ``run.py``."""
