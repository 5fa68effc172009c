"""A Chromium for the tests of the page is found or fetched, and where neither is possible a person reads what to do."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tools.testkit import browser, debian
from tools.testkit.browser import CHROMIUM_VARIABLE, ChromiumMissingError, Watch, chromium

STARTS = "#!/bin/sh\necho Chromium 1.0\n"
FAILS = "#!/bin/sh\necho 'libnss3.so: cannot open shared object file' >&2\nexit 127\n"


def program(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    path.chmod(0o755)
    return path


@pytest.fixture
def bare(tmp_path, monkeypatch):
    """A system without any: its folder of programs, which has a shell that runs what is put there."""
    for name in (CHROMIUM_VARIABLE, "CI"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(browser, "UNPACKED", tmp_path / "unpacked")
    monkeypatch.setattr(browser, "_USUAL", ())
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    return folder


def test_what_somebody_chose_comes_first(bare, tmp_path, monkeypatch):
    program(bare / "chromium", STARTS)
    chosen = program(tmp_path / "mine", STARTS)
    monkeypatch.setenv(CHROMIUM_VARIABLE, str(chosen))
    assert chromium() == chosen
    program(chosen, FAILS)
    with pytest.raises(ChromiumMissingError, match=f"{CHROMIUM_VARIABLE}={chosen} names none that starts"):
        chromium()


def test_the_quick_one_comes_before_the_whole_browser_and_one_that_does_not_start_is_none(bare):
    program(bare / "google-chrome", STARTS)
    assert chromium().name == "google-chrome"
    program(bare / "chromium", FAILS)
    assert chromium().name == "google-chrome"
    program(bare / "chromium-headless-shell", STARTS)
    assert chromium().name == "chromium-headless-shell"


def test_where_there_is_none_the_error_states_what_to_install(bare):
    with pytest.raises(ChromiumMissingError, match=r"apt is not on this system\. Install .* apt install chromium\), or name"):
        chromium()


def unpacking(monkeypatch, text):
    """Let apt fetch a program with this text."""
    monkeypatch.setattr(debian, "has_apt", lambda: True)
    monkeypatch.setattr(debian, "unpack", lambda _, target, __: program(target / browser._UNPACKED_SHELL, text))


def test_it_is_fetched_where_there_is_none_and_in_ci_in_any_case(bare, monkeypatch):
    unpacking(monkeypatch, STARTS)
    assert chromium() == browser.UNPACKED / browser._UNPACKED_SHELL
    (browser.UNPACKED / browser._UNPACKED_SHELL).unlink()
    program(bare / "chromium", STARTS)
    assert chromium().name == "chromium"
    monkeypatch.setenv("CI", "true")
    assert chromium() == browser.UNPACKED / browser._UNPACKED_SHELL


def test_libraries_are_installed_in_ci_alone_and_as_root_alone(bare, monkeypatch):
    unpacking(monkeypatch, FAILS)
    called = []
    monkeypatch.setattr(debian, "apt", lambda words, _: called.append(words))
    monkeypatch.setattr(os, "geteuid", lambda: 0, raising=False)
    with pytest.raises(ChromiumMissingError, match="lacks libraries"):
        chromium()
    monkeypatch.setenv("CI", "true")
    monkeypatch.setattr(os, "geteuid", lambda: 1000, raising=False)
    with pytest.raises(ChromiumMissingError, match="lacks libraries of it and it may not be installed here"):
        chromium()
    assert called == []
    monkeypatch.setattr(os, "geteuid", lambda: 0, raising=False)

    def install(words, folder):
        called.append(words)
        program(bare / "chromium-headless-shell", STARTS)

    monkeypatch.setattr(debian, "apt", install)
    assert chromium() == bare / "chromium-headless-shell"
    assert [words[2] for words in called] == ["update", "install"]


def test_what_apt_complains_about_is_in_the_error(bare, monkeypatch):
    monkeypatch.setattr(debian, "has_apt", lambda: True)

    def refuse(*_):
        raise subprocess.CalledProcessError(100, "apt-get", stderr="no route to the archive")

    monkeypatch.setattr(debian, "unpack", refuse)
    with pytest.raises(ChromiumMissingError, match="apt could not fetch it: no route to the archive"):
        chromium()


def test_only_what_was_asked_for_of_a_package_is_unpacked(tmp_path, monkeypatch):
    def call(command, folder):
        if command[0] == "dpkg-deb":
            program(Path(command[-1]) / "usr" / "lib" / "one" / "deep" / "file", "1")
            program(Path(command[-1]) / "etc" / "other", "2")
        else:
            program(folder / "one.deb", "")

    monkeypatch.setattr(debian, "_call", call)
    debian.unpack(["one"], tmp_path / "target", ("usr/lib/**/*",))
    found = [one.relative_to(tmp_path / "target") for one in (tmp_path / "target").rglob("*") if one.is_file()]
    assert found == [Path("usr/lib/one/deep/file")]


def test_expected_problems_are_those_that_match_alone():
    watch = Watch("http://desk.localhost:1")
    watch.problems += ["console error: 503 (http://desk.localhost:1/api/overview)", "console error: x is undefined"]
    watch.expect("503.*api/overview")
    assert watch.found() == ["console error: x is undefined"]
