"""A server that a program started ends with it, also where the id of a parent never changes."""

from __future__ import annotations

import os

import pytest

from ledger.gateway.sandbox.server import parent_is_gone, pipe_ended
from tests.gateway.terminals import until


def test_a_pipe_has_ended_when_its_other_end_is_closed():
    ours, theirs = os.pipe()
    try:
        has_ended = pipe_ended(ours)
        os.write(theirs, b"not yet")
        assert not has_ended()
        os.close(theirs)
        until(has_ended, "the end of the pipe")
    finally:
        os.close(ours)


def test_what_is_no_pipe_never_ends(tmp_path):
    with (tmp_path / "file").open("wb") as file:
        assert not pipe_ended(file.fileno())()
    assert not pipe_ended(12_345)()  # there is none


def test_a_parent_that_is_there_is_not_gone():
    assert not parent_is_gone()()


@pytest.mark.parametrize("is_posix", [True, False])
def test_where_parents_keep_their_id_the_pipe_is_looked_at(monkeypatch, is_posix):
    ids = iter([7, 8])
    monkeypatch.setattr("ledger.gateway.sandbox.server.os", _System(is_posix=is_posix, ids=ids))
    monkeypatch.setattr("ledger.gateway.sandbox.server.pipe_ended", lambda descriptor: lambda: descriptor)
    assert parent_is_gone()() == (True if is_posix else 0)


class _System:
    def __init__(self, *, is_posix, ids):
        self.name = "posix" if is_posix else "nt"
        self.getppid = lambda: next(ids)
