"""Metrics for Prometheus, in three groups: of the journal, of this process, and of commands that run once.

``of_journal`` is read from the journal and its tables whenever somebody asks, so that it survives restarts and agrees with the
other output. ``of_process`` counts what this process does, through calls that are replaced while it is measured: a process
without metrics runs none of it; ``of_alerts`` is what ``ledger alert`` sent. ``textfile`` leaves what a command found for the
collector of files. ``server`` answers.

Names are never labels of a position, a deal, a symbol, an operator or a reason, and no amount of money is exported: many people
can read a metrics store. Nothing here is loaded before metrics are asked for; it needs the extra ``metrics``.
"""
