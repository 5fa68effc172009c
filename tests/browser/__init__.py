"""The page in a real browser: processes of ``ledger page``, and people who look at it."""
