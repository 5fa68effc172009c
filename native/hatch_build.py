"""The build step of the wheel: cargo compiles the library, and the wheel is named by the platform that it is for."""

from __future__ import annotations

import os
import platform
import subprocess
import sysconfig
from pathlib import Path
from typing import Any, Final

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

_LIBRARIES: Final = (".so", ".dylib", ".dll")


class NativeBuild(BuildHookInterface[Any]):
    """Compiles ``src/`` and puts the library into the package."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile before the wheel is made."""
        del version
        target = Path(os.environ.get("CARGO_TARGET_DIR", Path(self.root) / "target"))
        command = ["cargo", "build", "--release", "--locked", "--offline", "--target-dir", str(target)]
        try:
            subprocess.run(command, cwd=self.root, check=True)
        except FileNotFoundError as error:
            raise SystemExit("cargo was not found: install Rust 1.70 or newer, and have cargo in the PATH") from error
        (library,) = (file for file in (target / "release").iterdir() if file.suffix in _LIBRARIES)
        build_data["pure_python"] = False
        # A Python of macOS that runs on both architectures names both: cargo compiles for this machine's alone.
        built_for = sysconfig.get_platform().replace("universal2", platform.machine())
        build_data["tag"] = f"py3-none-{built_for.replace('-', '_').replace('.', '_')}"
        build_data["force_include"][str(library)] = f"mt5_position_ledger_native/{library.name}"
