"""Where mode bits protect nothing, a secret key is protected by an access list: tried with stand-ins for Windows' programs."""

from __future__ import annotations

import sys

import pytest

from ledger import BadValue
from ledger.access_lists import other_readers, own_sid, protect
from tests.support.windows_programs import ME, WindowsPrograms


@pytest.fixture
def windows(tmp_path, monkeypatch):
    folder = tmp_path / "system32"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.delenv("SystemRoot", raising=False)
    return WindowsPrograms(folder)


def test_the_present_user_is_known_by_the_sid(windows):
    assert own_sid() == ME


def test_a_file_is_protected_from_all_but_the_present_user(windows, tmp_path):
    protect(tmp_path / "k")
    assert windows.asked() == [[str(tmp_path / "k"), "/inheritance:r", "/grant:r", f"*{ME}:F"]]


@pytest.mark.parametrize(
    ("sddl", "others"),
    [
        (f"D:PAI(A;;FA;;;{ME})", []),
        (f"D:PAI(A;;FA;;;{ME})(A;;FA;;;SY)(A;;FA;;;BA)(A;;FA;;;LA)", []),
        (f"D:AI(A;;FA;;;{ME})(A;ID;0x1200a9;;;BU)", ["BU"]),
        (f"D:AI(A;;FA;;;{ME})(A;ID;FR;;;WD)(A;ID;FR;;;AU)", ["AU", "WD"]),
        (f"D:AI(A;;FA;;;{ME})(A;;FR;;;S-1-5-21-1-2-3-1002)", ["S-1-5-21-1-2-3-1002"]),
        (f"D:AI(D;;FA;;;WD)(A;;FA;;;{ME})", []),
    ],
)
def test_who_else_can_read_a_file_is_listed(windows, tmp_path, sddl, others):
    windows.answers(sddl=sddl)
    assert other_readers(tmp_path / "k") == others


def test_a_list_that_cannot_be_read_protects_nothing(windows, tmp_path):
    windows.answers(sddl="D:NO_ACCESS_CONTROL")
    with pytest.raises(BadValue, match="expected the access list"):
        other_readers(tmp_path / "k")


def test_a_program_that_fails_is_named_with_its_words(windows, tmp_path):
    windows.answers(code=5)
    with pytest.raises(BadValue, match=r"icacls .*failed with exit code 5: 'Access is denied.'"):
        protect(tmp_path / "k")


def test_a_program_that_is_not_there_is_named(windows, tmp_path):
    (windows.folder / "icacls").unlink()
    with pytest.raises(BadValue, match="icacls was not found"):
        protect(tmp_path / "k")


def test_what_is_no_sid_is_refused(windows):
    windows.write("whoami", f"#!{sys.executable}\nprint('trader')\n")
    with pytest.raises(BadValue, match="expected the SID"):
        own_sid()


def test_the_program_of_the_system_goes_first(windows, tmp_path, monkeypatch):
    (tmp_path / "root").mkdir()
    monkeypatch.setenv("SystemRoot", str(tmp_path / "root"))
    assert own_sid() == ME  # the system has none of that name here
