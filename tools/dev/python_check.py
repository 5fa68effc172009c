"""This module is the first thing the commands in tools/ load: it stops a Python that is too old, in one sentence.

It and the scripts that load it use no syntax newer than Python 3.6, so that an old Python gets as far as the sentence.
"""

import sys

OLDEST = (3, 11)

if sys.version_info < OLDEST:  # run by whatever python3 is there, before anything is installed
    print(
        f"ledger needs Python {OLDEST[0]}.{OLDEST[1]} or newer, and this is Python {sys.version.split()[0]} "
        f"({sys.executable}). Run the same command with a newer one, for example python3.{OLDEST[1]}.",
        file=sys.stderr,
    )
    sys.exit(3)
