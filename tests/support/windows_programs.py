"""Stand-ins for the programs of Windows that protect files: what they were asked, and what they answer."""

from __future__ import annotations

import json
import stat
import sys
from pathlib import Path
from typing import Final

#: The SID of the present user.
ME: Final = "S-1-5-21-1004336348-1177238915-682003330-1001"

_WHOAMI: Final = '#!{python}\nprint(\'"desk\\\\trader","{sid}"\')\n'
_ICACLS: Final = """#!{python}
import json, pathlib, sys
here = pathlib.Path(__file__).parent
with (here / "asked").open("a") as asked:
    asked.write(json.dumps(sys.argv[1:]) + "\\n")
answer = json.loads((here / "answer").read_text())
if answer.get("size"):
    with (here / "sizes").open("a") as sizes:
        sizes.write(f"{pathlib.Path(answer['size']).stat().st_size}\\n")
if answer.get("code"):
    sys.stderr.write("Access is denied.")
    sys.exit(answer["code"])
if "/save" in sys.argv:
    pathlib.Path(sys.argv[-1]).write_bytes(("server.key_secret\\r\\n" + answer["sddl"] + "\\r\\n").encode("utf-16"))
"""


class WindowsPrograms:
    """The stand-ins: what they were asked, and what they answer."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.write("whoami", _WHOAMI.format(python=sys.executable, sid=ME))
        self.write("icacls", _ICACLS.replace("{python}", sys.executable))
        self.answers(sddl=f"D:PAI(A;;FA;;;{ME})")

    def write(self, name: str, text: str) -> None:
        path = self.folder / name
        path.write_text(text, encoding="utf-8")
        path.chmod(path.stat().st_mode | stat.S_IXUSR)

    def answers(self, **answer: object) -> None:
        (self.folder / "answer").write_text(json.dumps(answer), encoding="utf-8")

    def asked(self) -> list[list[str]]:
        """What ``icacls`` was called with, one call after another."""
        return [json.loads(line) for line in self._lines("asked")]

    def sizes(self) -> list[int]:
        """How long the file was that the answer names as ``size``, at each call."""
        return [int(line) for line in self._lines("sizes")]

    def _lines(self, name: str) -> list[str]:
        path = self.folder / name
        return path.read_text(encoding="utf-8").splitlines() if path.exists() else []
