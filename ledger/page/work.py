"""Work that is too long for a request: folds of histories, a few at once, each with its progress, and each only once.

A request that needs little is answered at once. For another one a job is begun, or joined: it is waited for shortly, and
then the answer is 202 with the job, which the page asks for until it is done. What came of it is kept for a while under what
was asked for, so that the same request finds it.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from contextlib import suppress
from typing import Any, Final, TypeVar, cast

from ledger.errors import JournalBusy
from ledger.json_views import Json
from ledger.page.answers import Unanswered, error_json, not_found, too_much, waiting

#: So many folds of histories are under way at once, and so many for one person.
FOLDS_MAX: Final = 4
FOLDS_OF_ONE: Final = 2
#: So many events are folded within a request.
AT_ONCE: Final = 20_000
#: So long a request waits for a job before it answers that there is one, in seconds.
_WAIT_SEC: Final = 0.25
_KEPT: Final = 64
_PATIENCE_SEC: Final = 20
_T = TypeVar("_T")
#: Is called with how many events more are done.
Progress = Callable[[int], object]


class Job:
    """Something under way: how much of it is done, and what came of it.

    Attributes:
        id: What it is asked for by.
        of: How many events it goes through, at least.
        done: How many of them it has.
    """

    def __init__(self, key: Hashable, who: str, of: int) -> None:
        self.id = secrets.token_urlsafe(12)
        self.key = key
        self.who = who
        self.of = of
        self.done = 0
        self.result: Any = None
        self.error: Exception | None = None
        self.ended = threading.Event()

    def json_row(self) -> Json:
        """Return it as JSON."""
        state = "running" if not self.ended.is_set() else "done" if self.error is None else "failed"
        done = self.of if state == "done" else min(self.done, self.of)
        return {
            "job": self.id, "done": done, "of": self.of, "state": state,
            "error": None if self.error is None else error_json(self.error),
        }  # fmt: skip


class Work:
    """The jobs of a page. Safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: dict[Hashable, Job] = {}
        self._ended: OrderedDict[Hashable, Job] = OrderedDict()
        self._beside: dict[Hashable, Job] = {}
        self._is_closed = False

    def close(self) -> None:
        """End what is under way where it next states its progress; nothing waits for the rest."""
        self._is_closed = True

    def do(self, key: Hashable, who: str, cost: int, make: Callable[[Progress], _T], *, narrow: str) -> _T:
        """Return what a function makes: at once where it costs little, else by a job.

        Args:
            key: What is asked for, its version included: the same key has the same result.
            who: For whom.
            cost: How many events it goes through.
            make: Makes it; is called with a function that takes how many events more are done.
            narrow: What to ask for less of, if too much is under way.

        Raises:
            Unanswered: A job is under way (202), or too many are (429).
            LedgerError: What the job raised.
        """
        with self._lock:
            job = self._ended.get(key) or self._running.get(key)
            if job is None and cost > AT_ONCE:
                job = self._begin(key, who, cost, make, narrow)
        if job is None:
            return make(lambda _: None)
        if not job.ended.wait(_WAIT_SEC):
            raise waiting(job.id, min(job.done, job.of), job.of)
        if job.error is not None:
            with self._lock, suppress(KeyError):
                del self._ended[key]  # it was reported: whoever asks again has it tried again
            raise job.error
        return cast("_T", job.result)

    def _begin(self, key: Hashable, who: str, cost: int, make: Callable[[Progress], Any], narrow: str) -> Job:
        mine = sum(job.who == who for job in self._running.values())
        if mine >= FOLDS_OF_ONE or len(self._running) >= FOLDS_MAX:
            whose = "of yours " if mine >= FOLDS_OF_ONE else ""
            count = mine if mine >= FOLDS_OF_ONE else len(self._running)
            raise too_much(f"{count} long readings {whose}are under way: wait until one is done, or {narrow}")
        job = Job(key, who, cost)
        self._running[key] = job
        threading.Thread(target=self._run, args=(job, make), name="ledger-page-fold", daemon=True).start()
        return job

    def _run(self, job: Job, make: Callable[[Progress], Any]) -> None:
        def progress(more: int) -> None:
            job.done += more
            if self._is_closed:
                raise JournalBusy("the page ends: ask again once it is back")

        try:
            job.result = make(progress)
        except Exception as error:  # noqa: BLE001  # whoever asks gets it
            job.error = error
        with self._lock:
            del self._running[job.key]
            self._ended[job.key] = job
            while len(self._ended) > _KEPT:
                self._ended.popitem(last=False)
        job.ended.set()

    def beside(self, job: Job, make: Callable[[], object]) -> None:
        """Do something in a thread of its own that is no fold; it is asked for by its id like the others."""

        def run() -> None:
            try:
                make()
            finally:
                job.ended.set()

        with self._lock:
            self._beside[job.key] = job
        threading.Thread(target=run, name="ledger-page-beside", daemon=True).start()

    def wait(self, who: str) -> None:
        """Wait until none of the jobs of somebody is under way."""
        with self._lock:
            jobs = [job for job in self._running.values() if job.who == who]
        for job in jobs:
            job.ended.wait()

    def patiently(self, make: Callable[[], _T]) -> _T:
        """Return what a function makes, for what cannot be asked for twice: its jobs are waited for.

        Raises:
            Unanswered: That takes too long (202), or too much is under way (429).
        """
        give_up = time.monotonic() + _PATIENCE_SEC
        while True:
            try:
                return make()
            except Unanswered as found:
                if found.status != 202 or not self.job(found.content["job"]).ended.wait(give_up - time.monotonic()):
                    raise

    def job(self, name: str) -> Job:
        """Return a job by its id.

        Raises:
            Unanswered: There is none, or it ended long ago (404).
        """
        with self._lock:
            for job in (*self._running.values(), *self._ended.values(), *self._beside.values()):
                if job.id == name:
                    return job
        raise not_found(f"there is no job {name} any more: ask again for what it was for")
