"""Orders of an account: the states that they may be in (``states``), and the fold that leads there (``view``). Pure."""
