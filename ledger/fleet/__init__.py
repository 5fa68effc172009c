"""Many accounts, synced by several workers on one Postgres journal: each account has a lease, and a gateway that others share.

``slots`` decides when an account is due and how long a gateway is left alone, ``leases`` has every statement about leases,
``worker`` syncs what it has leases of, ``workers`` starts several on one machine, ``accounts`` reads which accounts there are.
"""
