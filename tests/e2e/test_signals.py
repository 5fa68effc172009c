"""What happens when a signal comes at the worst moment: while the main thread has the lock of the event that it waits for."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

_AT_THE_WORST_MOMENT = """
import signal
from ledger.cli.signals import hangup_event, stopping_event
events = {"SIGHUP": hangup_event(), "SIGTERM": stopping_event()}
name = NAME
with events[name]._cond:
    signal.raise_signal(getattr(signal, name))
    for _ in range(10):
        pass  # the handler runs here, in this thread
print(events[name].wait(60))
"""
_WHILE_HANGUPS_ARE_IGNORED = """
import signal
from ledger.cli.signals import stopping_event
signal.signal(signal.SIGHUP, signal.SIG_IGN)
stopping_event(is_ended_by_hangup=True)
print(signal.getsignal(signal.SIGHUP).name)
"""


def printed(program: str) -> str:
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=True)
    return done.stdout.strip()


@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP"])
def test_a_signal_is_noticed_that_comes_while_the_main_thread_has_the_lock(name):
    if not hasattr(signal, name):
        return  # Windows has none
    assert printed(_AT_THE_WORST_MOMENT.replace("NAME", repr(name))) == "True"


def test_hangups_stay_ignored_where_they_are():
    if hasattr(signal, "SIGHUP"):
        assert printed(_WHILE_HANGUPS_ARE_IGNORED) == "SIG_IGN"
