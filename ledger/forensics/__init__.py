"""Questions about whole fleets, answered from an archive by the fold of the product, on any number of processes or machines.

    from ledger.forensics import fold_archive
    fold_archive("archive/accounts/Broker-Live_70113-0f2a9c51d3e84b67", until="2026-06-15T12:00:00Z")

``fold_archive`` can be pickled, as what it returns can be: whatever runs functions elsewhere can run it (``executors``).
"""

from ledger.forensics.summary import Summary, fleet_digest, fold_archive, fold_journal

__all__ = ["Summary", "fleet_digest", "fold_archive", "fold_journal"]
