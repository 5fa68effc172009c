"""What the command line names before or behind the command: the journal, and the file of settings. Loads nothing else."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

if TYPE_CHECKING:  # most commands need no settings
    from ledger.config import Configuration

JOURNAL_HELP: Final = "sqlite:///FILE or postgresql+psycopg://HOST/DB; else $LEDGER_JOURNAL."
CONFIG_HELP: Final = "Settings; else ledger.toml in the folder of a SQLite journal."


class Chosen:
    """The journal and the file of settings that options name; None where they name none."""

    def __init__(self, journal: str | None = None, config: Path | None = None) -> None:
        self.journal = journal
        self.config = config
        self._found: Configuration | None = None

    def configuration(self) -> Configuration:
        """Return the settings that belong to the journal. Raises as ``ledger.config.find``."""
        if self._found is None:
            self._found = self.fresh_configuration()
        return self._found

    def fresh_configuration(self) -> Configuration:
        """Return the settings as they are now, and have them used from now on. Raises as ``ledger.config.find``."""
        from ledger.config import find

        self._found = find(config=self.config, journal=self.journal or os.environ.get("LEDGER_JOURNAL") or None)
        return self._found


def chosen() -> Chosen:
    """Return what the command line of the command under way names."""
    context = click.get_current_context(silent=True)
    return Chosen() if context is None else context.find_root().ensure_object(Chosen)


def choose(context: click.Context, parameter: click.Parameter, value: Any) -> Any:
    """Note what an option behind the command names."""
    if value is not None:
        setattr(context.find_root().ensure_object(Chosen), str(parameter.name), value)
    return value
