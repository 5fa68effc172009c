"""The checks between the network and the page: every request passes them before the page sees it.

In this order: the name that the page is called by; the path; who sends it; and for what writes, that it was the page itself
in the browser of that person. What is not known to be harmless needs somebody who is signed in.
"""

from __future__ import annotations

from ledger.page.security.guard import Guard, guarded

__all__ = ["Guard", "guarded"]
