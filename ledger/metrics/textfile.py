"""Leaves metrics in a file for the textfile collector of Prometheus' node exporter: what a command that ran once found."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from prometheus_client import CollectorRegistry, Metric, generate_latest

from ledger.errors import BadValue
from ledger.metrics import families as f
from ledger.output_files import require_writable, written_whole

_SUFFIX: Final = ".prom"
#: Command -> the families that it leaves. A sync that ran once does not leave whether it is safe to trade: the file would go on
#: to claim that when nobody syncs any more.
FAMILIES: Final[dict[str, tuple[f.Family, ...]]] = {
    "verify": (f.VERIFY_PROBLEMS, f.VERIFY_LAST),
    "seal": (f.SEAL_LAST,),
    "backup": (f.BACKUP_LAST,),
    "sync": tuple(one for one in f.OF_JOURNAL if one not in (f.SAFE_TO_TRADE, f.ACCOUNTS_UNSAFE)),
}
_NAMES: Final = re.compile(r"^# TYPE (\S+) ", re.MULTILINE)


class TextFile:
    """A file that holds the metrics of one command, replaced whole.

    Args:
        path: Where it is.
        command: Whose families it holds, a key of ``FAMILIES``.
        journal: The file of the SQLite journal in use, which it must not be.

    Raises:
        BadValue: The collector would not read it, or it holds something else, as another command's metrics.
    """

    def __init__(self, path: Path, command: str, *, journal: Path | None = None) -> None:
        if path.suffix != _SUFFIX:
            raise BadValue(f"the textfile collector reads files that end in {_SUFFIX}, found {path}: name it so")
        if not path.absolute().parent.is_dir():
            raise BadValue(f"there is no folder {path.absolute().parent} for {path.name}: make it first")
        self.path = path
        self._families = FAMILIES[command]
        require_writable(path, journal=journal, is_ours=lambda _: True)
        others = sorted(set(self._names()) - {f.PREFIX + one.name for one in self._families})
        if others:
            raise BadValue(
                f"{path} holds {others[0]}, which this command does not write and would remove: give each command its own file"
            )

    def _names(self) -> list[str]:
        try:
            text = self.path.read_text("utf-8")
        except FileNotFoundError:
            return []
        except (OSError, UnicodeDecodeError) as error:
            raise BadValue(f"{self.path} cannot be read as metrics ({error}): name another file") from None
        found = _NAMES.findall(text)
        if text and not found:
            raise BadValue(f"{self.path} exists and holds no metrics: name another file")
        return found

    def write(self, metrics: Iterable[Metric]) -> None:
        """Replace what it holds by those of the families that belong into it.

        Raises:
            OSError: It cannot be written.
        """
        known = {f.PREFIX + one.name.removesuffix("_total") for one in self._families}
        with written_whole(self.path) as partial:
            partial.write_bytes(exposition(one for one in metrics if one.name in known))

    def write_figures(self, *figures: float) -> None:
        """Replace what it holds by one figure of each family, in their order. Raises as ``write``."""
        self.write(family.metric([((), figure)]) for family, figure in zip(self._families, figures, strict=True))


class _Given:
    def __init__(self, metrics: Iterable[Metric]) -> None:
        self._metrics = list(metrics)

    def collect(self) -> Iterable[Metric]:
        return self._metrics


def exposition(metrics: Iterable[Metric]) -> bytes:
    """Return families in Prometheus' text format."""
    registry = CollectorRegistry()
    registry.register(_Given(metrics))
    return generate_latest(registry)
