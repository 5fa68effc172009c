"""What people install is all there: the package, its types, its migrations."""

from __future__ import annotations

import subprocess
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pytest

from tests.support.packaging import ROOT, build, install_wheel, make_empty_environment


def sources(folder: str) -> set[str]:
    paths = (path.relative_to(ROOT / folder) for path in (ROOT / folder).rglob("*") if path.is_file())
    return {path.as_posix() for path in paths if "__pycache__" not in path.parts}


@pytest.fixture(scope="module")
def unpacked_sdist(tmp_path_factory):
    sdist = build(ROOT, "sdist", tmp_path_factory.mktemp("sdist"))
    place = tmp_path_factory.mktemp("unpacked")
    safely: dict[str, Any] = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}  # not in 3.11.0
    with tarfile.open(sdist) as archive:
        archive.extractall(place, **safely)  # noqa: S202  # an archive of our own
    (unpacked,) = place.iterdir()
    return unpacked


def names(wheel: Path) -> set[str]:
    return set(zipfile.ZipFile(wheel).namelist())


def test_the_wheel_holds_the_package_and_its_types(wheel):
    assert {f"ledger/{name}" for name in sources("ledger")} <= names(wheel)
    assert "ledger/py.typed" in names(wheel)


def test_the_wheel_holds_the_migrations_where_the_package_finds_them(wheel):
    migrations = sources("migrations")
    assert "env.py" in migrations
    assert {f"ledger/_migrations/{name}" for name in migrations} <= names(wheel)


def test_the_wheel_holds_nothing_else(wheel):
    assert {name.split("/")[0] for name in names(wheel)} == {
        "ledger",
        wheel.name.removesuffix("-py3-none-any.whl") + ".dist-info",
    }


def test_the_wheel_brings_the_command_and_the_licence(wheel):
    with zipfile.ZipFile(wheel) as archive:
        metadata = {name.split(".dist-info/")[1]: archive.read(name).decode() for name in names(wheel) if ".dist-info/" in name}
    assert {"ledger = ledger.cli:main", "mt5-ledger = ledger.cli:main"} <= set(metadata["entry_points.txt"].splitlines())
    assert "MIT License" in metadata["licenses/LICENSE"]


def test_the_source_archive_holds_what_tests_and_builds_need(unpacked_sdist):
    expected = {
        *("pyproject.toml", "README.md", "LICENSE", "requirements.lock", "requirements-dev.lock", "requirements-gateway.lock"),
        *(f"{folder}/{name}" for folder in ("ledger", "migrations", "tests", "tools") for name in sources(folder)),
    }
    assert [name for name in sorted(expected) if not (unpacked_sdist / name).is_file()] == []


def test_a_wheel_from_the_source_archive_is_the_same(wheel, unpacked_sdist, tmp_path):
    assert names(build(unpacked_sdist, "wheel", tmp_path)) == names(wheel)


def test_an_installed_wheel_is_complete_without_its_sources(wheel, tmp_path):
    python = make_empty_environment(tmp_path / "environment")
    install_wheel(wheel, python)
    program = (
        "import ledger, pathlib; place = pathlib.Path(ledger.__file__).parent;"
        "print(place.parent.name, (place / '_migrations' / 'env.py').is_file())"
    )
    run = subprocess.run([python, "-I", "-c", program], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert run.stdout.split() == ["site-packages", "True"]
