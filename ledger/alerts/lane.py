"""A lane is a thread of its own for one receiver, so that one that hangs delays no other."""

from __future__ import annotations

from collections.abc import Callable
from threading import Condition, Thread


class Lane:
    """Does one thing at a time. What waits is replaced by what is offered later: that knows more.

    Args:
        name: Of the thread.
        failed: Called with what a job raised: the lane goes on.
    """

    def __init__(self, name: str, failed: Callable[[Exception], object]) -> None:
        self._failed = failed
        self._changed = Condition()
        self._waiting: Callable[[], object] | None = None
        self._is_busy = False
        self._is_closed = False
        self._thread = Thread(target=self._run, name=name, daemon=True)  # one that hangs does not delay the end
        self._thread.start()

    def offer(self, job: Callable[[], object]) -> None:
        """Have something done, instead of what waits."""
        with self._changed:
            self._waiting = job
            self._changed.notify_all()

    def is_idle(self) -> bool:
        """Return whether nothing is under way and nothing waits."""
        with self._changed:
            return not self._is_busy and self._waiting is None

    def wait(self, seconds: float | None = None) -> bool:
        """Return when nothing is under way and nothing waits, or after so many seconds; whether it is so."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._is_busy and self._waiting is None, seconds)

    def close(self, seconds: float) -> None:
        """Finish what is under way, so many seconds at the longest; drop what waits."""
        with self._changed:
            self._waiting, self._is_closed = None, True
            self._changed.notify_all()
        self._thread.join(seconds)

    def _run(self) -> None:
        while True:
            with self._changed:
                self._is_busy = False
                self._changed.notify_all()
                self._changed.wait_for(lambda: self._waiting is not None or self._is_closed)
                if self._waiting is None:
                    return
                job, self._waiting, self._is_busy = self._waiting, None, True
            try:
                job()
            except Exception as error:  # noqa: BLE001  # whatever it is, the next job may succeed
                self._failed(error)
