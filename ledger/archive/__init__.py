"""The archive: sealed segments of every account's events as Parquet files, readable by anyone, and verified before they count.

An archive is a folder::

    archive.json                                             which form and journal, seals and heads of finished runs
    accounts/Broker-Live_70113-0f2a9c51d3e84b67/             one folder for each account (``form.folder_name``)
        events-000000000001-000000020000.parquet             its events by version, with their chain hashes
        evidence-000000000001-000000020000.parquet           the raw broker answers that these are the first to name
        manifest.json                                        the segments: versions, hashes, SHA-256 of the files, seal
        archive.lock                                         held by the process that writes here
    seals/2026-06-15T120005Z-5f0c1a2b.seal                   signed statements of the heads that were archived

Nothing of it is changed later: a run writes the events behind the last archived version into new files, reads them back, hashes
the chain again from what it read, and only then writes the manifest that names them. What a killed run left behind is named by
no manifest, and the next run removes it. Nothing is removed from the journal.
"""
