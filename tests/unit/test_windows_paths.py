"""A journal on Windows is named by a path with a drive, with either slash, as a path or as a URL."""

from __future__ import annotations

import sqlite3

import pytest

from ledger.journal.sql.sqlite import _uri
from ledger.journal.sql.urls import journal_url, shown


@pytest.mark.parametrize(
    ("text", "file"),
    [
        ("sqlite:///C:/ledger/desk.db", "C:/ledger/desk.db"),
        ("sqlite:///C:\\ledger\\desk.db", "C:\\ledger\\desk.db"),
        ("C:\\ledger\\desk.db", "C:\\ledger\\desk.db"),
        ("c:/ledger/desk.db", "c:/ledger/desk.db"),
        ("D:\\Brokers & Co\\100%\\desk.db", "D:\\Brokers & Co\\100%\\desk.db"),
    ],
)
def test_a_drive_is_no_scheme(text, file):
    assert journal_url(text).database == file
    assert shown(journal_url(text)) == f"sqlite:///{file}"


@pytest.mark.parametrize("file", ["C:\\ledger\\desk.db", "C:\\100% & more\\d#k?.db"])
def test_sqlite_opens_the_file_that_is_named(tmp_path, monkeypatch, file):
    monkeypatch.chdir(tmp_path)
    sqlite3.connect(_uri(file, "mode=rwc"), uri=True).execute("CREATE TABLE one (a)").connection.close()
    assert [path.name for path in tmp_path.iterdir()] == [file]
