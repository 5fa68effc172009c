"""This script builds the native loop from its source, and compares it with the fold in Python over hostile histories.

    python3 tools/dev/native.py build                 # with cargo, into .tools/native; prints the folder for PYTHONPATH
    python3 tools/dev/native.py compare               # 10,000 histories, every portfolio and every trade
    python3 tools/dev/native.py compare --histories 200 --seed 7

Every history is folded in Python, and by the native loop in slices cut anywhere, with late postings between them one by one,
with and without somebody who asks for the trades, and from a restored state. All have to come to the same.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))  # Python looks in the folder of a script, not in the project

SOURCE: Final = ROOT / "native"
#: Where it is built; a sanitizer builds elsewhere.
TARGET: Final = ROOT / ".tools" / "native"
PACKAGE: Final = "mt5_position_ledger_native"
#: The variable that switches it off if it is "0".
SWITCH: Final = "LEDGER_NATIVE"


def main(arguments: "list[str]") -> int:
    """Build or compare; return 1 if a history came to something else."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("build", "compare"))
    parser.add_argument("--histories", type=int, default=10_000, help="how many (default: 10,000)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the first (default: 0)")
    asked = parser.parse_args(arguments)
    folder = build()
    if asked.what == "build":
        print(folder)
        return 0
    sys.path.insert(0, str(folder))
    from tools.testkit.hostile_postings import compare

    trades = failures = 0
    for seed in range(asked.seed, asked.seed + asked.histories):
        outcome = compare(seed)
        trades, failures = trades + len(outcome.trades), failures + (outcome.failure is not None)
    print(f"{asked.histories:,} histories are equal, with {trades:,} trades; {failures:,} fail, in both alike")
    return 0


def cargo() -> "str | None":
    """Return the command that compiles it, None where there is none."""
    home = Path(os.environ.get("CARGO_HOME", Path.home() / ".cargo")) / "bin"
    return shutil.which("cargo") or shutil.which("cargo", path=str(home))


def build() -> Path:
    """Build the library if its source has changed; return the folder that its package can be imported from."""
    command = cargo()
    if command is None:
        raise SystemExit("cargo was not found: install Rust, or do without the native loop")
    target = TARGET / "target"
    subprocess.run(
        [command, "build", "--release", "--locked", "--offline", "--quiet", "--target-dir", str(target)], cwd=SOURCE, check=True
    )
    package = TARGET / "package" / PACKAGE
    package.mkdir(parents=True, exist_ok=True)
    for file in (*(SOURCE / PACKAGE).glob("*.py"), *built(target)):
        with tempfile.NamedTemporaryFile(dir=package, delete=False) as partial:  # others may be loading it
            partial.write(file.read_bytes())
        Path(partial.name).replace(package / file.name)
    return package.parent


def built(target: Path) -> "list[Path]":
    """Return the shared library that cargo made."""
    return [file for file in (target / "release").iterdir() if file.suffix in (".so", ".dylib", ".dll")]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
