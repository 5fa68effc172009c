"""A secret key is readable by nobody but its owner: by its mode, or where modes protect nothing, by its access list."""

from __future__ import annotations

import stat

import pytest

from ledger import BadValue, keyfiles
from ledger.keyfiles import OWNER_ONLY, READABLE, check_private, write_new
from tests.support.windows_programs import ME, WindowsPrograms


@pytest.fixture
def windows(tmp_path, monkeypatch):
    folder = tmp_path / "system32"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.delenv("SystemRoot", raising=False)
    monkeypatch.setattr(keyfiles, "_HAS_MODES", False)
    return WindowsPrograms(folder)


def test_a_secret_file_is_its_owners_alone_and_a_public_one_is_not(tmp_path):
    write_new(tmp_path / "secret", b"s", OWNER_ONLY)
    write_new(tmp_path / "public", b"p", READABLE)
    assert stat.S_IMODE((tmp_path / "secret").stat().st_mode) == OWNER_ONLY
    check_private(tmp_path / "secret")
    with pytest.raises(BadValue, match=r"others can read the secret key .*chmod 600"):
        check_private(tmp_path / "public")


def test_a_file_is_never_overwritten(tmp_path):
    write_new(tmp_path / "k", b"1", OWNER_ONLY)
    with pytest.raises(BadValue, match="keys are never overwritten"):
        write_new(tmp_path / "k", b"2", OWNER_ONLY)
    assert (tmp_path / "k").read_bytes() == b"1"


def test_without_modes_a_secret_file_is_protected_before_anything_is_in_it(windows, tmp_path):
    windows.answers(size=str(tmp_path / "secret"))
    write_new(tmp_path / "secret", b"s\n", OWNER_ONLY)
    assert windows.asked() == [[str(tmp_path / "secret"), "/inheritance:r", "/grant:r", f"*{ME}:F"]]
    assert windows.sizes() == [0]
    assert (tmp_path / "secret").read_bytes() == b"s\n"


def test_without_modes_a_public_file_is_left_as_it_is(windows, tmp_path):
    write_new(tmp_path / "public", b"p", READABLE)
    assert windows.asked() == []


def test_a_secret_that_cannot_be_protected_is_not_written(windows, tmp_path):
    windows.answers(code=5)
    with pytest.raises(BadValue, match="Access is denied"):
        write_new(tmp_path / "secret", b"s", OWNER_ONLY)
    assert not (tmp_path / "secret").exists()


def test_without_modes_others_are_found_in_the_access_list(windows, tmp_path):
    write_new(tmp_path / "secret", b"s", OWNER_ONLY)
    check_private(tmp_path / "secret")
    windows.answers(sddl=f"D:AI(A;;FA;;;{ME})(A;ID;FR;;;BU)")
    with pytest.raises(BadValue, match=r"others \(BU\) can read the secret key .*icacls"):
        check_private(tmp_path / "secret")
