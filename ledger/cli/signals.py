"""Signals that set an event: that the process is to end, or to read its settings anew.

The main thread waits for such an event, and so may have its lock just when the signal comes. A handler runs in that thread: one
that sets the event itself would wait for ever for what it interrupted. So another thread sets it, started without any lock of
``threading``, which might be held as well.
"""

from __future__ import annotations

import _thread
import signal
from threading import Event
from typing import Final

_ENDING: Final = ("SIGINT", "SIGTERM", "SIGBREAK")  # the last is Windows': Ctrl-Break, or the window is closed
_HANGUP: Final = "SIGHUP"  # there is none on Windows


def stopping_event(*, is_ended_by_hangup: bool = False) -> Event:
    """Return an event that is set when the process is to end.

    Args:
        is_ended_by_hangup: SIGHUP ends it too, unless it is ignored as by ``nohup``.
    """
    event = Event()
    for number in _known(*_ENDING):
        _set_by(number, event)
    for number in _known(_HANGUP) if is_ended_by_hangup else ():
        if signal.getsignal(number) is not signal.SIG_IGN:
            _set_by(number, event)
    return event


def hangup_event() -> Event:
    """Return an event that is set when SIGHUP comes; never on Windows."""
    event = Event()
    for number in _known(_HANGUP):
        _set_by(number, event)
    return event


def _known(*names: str) -> list[signal.Signals]:
    return [getattr(signal, name) for name in names if hasattr(signal, name)]


def _set_by(number: signal.Signals, event: Event) -> None:
    signal.signal(number, lambda *_: _thread.start_new_thread(event.set, ()))
