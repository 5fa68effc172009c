"""The programs of Prometheus that tests use are found or fetched, and where neither is possible a person reads what to do."""

from __future__ import annotations

import os
import stat
import typing

import pytest

from tools.testkit import prometheus
from tools.testkit.prometheus import BINARIES_VARIABLE, Name, PrometheusMissingError, binary


@pytest.mark.parametrize("name", typing.get_args(Name))
def test_each_program_runs(name):
    run = prometheus.run(name, "--version")
    assert run.returncode == 0
    assert run.stdout.startswith(f"{name}, version ")


def test_a_folder_that_somebody_chose_comes_first(tmp_path, monkeypatch):
    chosen = tmp_path / "promtool"
    chosen.write_text("#!/bin/sh\n", encoding="utf-8")
    chosen.chmod(chosen.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv(BINARIES_VARIABLE, str(tmp_path))
    assert binary("promtool") == chosen
    with pytest.raises(PrometheusMissingError, match=f"{BINARIES_VARIABLE} names a folder without it"):
        binary("amtool")


def test_without_apt_the_error_states_what_to_install(tmp_path, monkeypatch):
    monkeypatch.delenv(BINARIES_VARIABLE, raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(prometheus, "UNPACKED", tmp_path / "nothing")
    with pytest.raises(PrometheusMissingError, match=r"apt is not on this system\. Install .* apt install prometheus-alertm"):
        binary("alertmanager")


def test_what_apt_complains_about_is_in_the_error(tmp_path, monkeypatch):
    for name in ("apt-get", "dpkg-deb"):
        program = tmp_path / name
        program.write_text("#!/bin/sh\necho 'no route to the archive' >&2\nexit 100\n", encoding="utf-8")
        program.chmod(0o755)
    monkeypatch.delenv(BINARIES_VARIABLE, raising=False)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}/nowhere")
    monkeypatch.setattr(prometheus, "UNPACKED", tmp_path / "nothing")
    with pytest.raises(PrometheusMissingError, match="apt could not fetch it: no route to the archive"):
        binary("promtool")
