"""The gateway service as a program of its own: ``python -m ledger.gateway.serve``, with the options of the command."""

from __future__ import annotations

import sys

import click

from ledger.errors import LedgerError
from ledger.gateway.serve.command import serve

_WRONG_USE = 2
_UNAVAILABLE = 3


def main() -> int:
    """Run the service; return the exit code."""
    try:
        serve.main(prog_name="python -m ledger.gateway.serve", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        return _WRONG_USE
    except LedgerError as error:
        click.echo(str(error), err=True)
        return _UNAVAILABLE if error.retryable else _WRONG_USE
    except click.Abort:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
