"""The gateway service: a server process that answers, and a terminal process that talks to MetaTrader 5 for it.

The official package holds Python's global lock during each of its calls, so whatever shares its process is silent until the
terminal answers. The server process never imports it: it answers, stores and publishes while the terminal process waits.
"""
