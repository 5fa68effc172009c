"""A process as it would be on Windows, as far as another system can show it: run a program or commands of the ledger in it.

``python as_on_windows.py FOLDER program FILE`` or ``... commands FILE`` with a JSON list of argument lists. Whatever only POSIX
has is gone for the ledger's own code; the standard library and other packages, which have other code on Windows, keep it. In
the folder files have names that Windows allows, and one that is open is neither removed nor replaced.
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import re
import runpy
import signal
import socket
import sys
import time
import warnings
from pathlib import Path
from types import ModuleType
from typing import Any, Final, cast

import ledger

PACKAGE: Final = str(Path(ledger.__file__).parent)
#: Modules that the documentation lists as available on Unix only.
MODULES: Final = (
    "crypt", "curses", "fcntl", "grp", "nis", "ossaudiodev", "posix", "pty", "pwd", "readline", "resource", "spwd", "syslog",
    "termios", "tty",
)  # fmt: skip
#: Names that Windows has not (os, signal, socket, time: "Availability: Unix").
OS: Final = (
    "chown", "chroot", "confstr", "ctermid", "fchdir", "fchmod", "fchown", "fdatasync", "fork", "forkpty", "fpathconf",
    "fstatvfs", "getegid", "geteuid", "getgid", "getgrouplist", "getgroups", "getloadavg", "getpgid", "getpgrp", "getpriority",
    "getresgid", "getresuid", "getsid", "getuid", "initgroups", "killpg", "lchown", "lockf", "major", "memfd_create", "minor",
    "mkfifo", "mknod", "nice", "openpty", "pathconf", "pipe2", "posix_fadvise", "posix_fallocate", "posix_spawn",
    "posix_spawnp", "pread", "preadv", "pwrite", "pwritev", "readv", "register_at_fork", "sched_getaffinity",
    "sched_setaffinity", "sched_yield", "sendfile", "setegid", "seteuid", "setgid", "setgroups", "setpgid", "setpriority",
    "setregid", "setresgid", "setresuid", "setreuid", "setsid", "setuid", "statvfs", "sync", "sysconf", "tcgetpgrp",
    "tcsetpgrp", "ttyname", "uname", "wait", "wait3", "wait4", "waitid", "writev", "O_ASYNC", "O_CLOEXEC", "O_DIRECT",
    "O_DIRECTORY", "O_DSYNC", "O_NOATIME", "O_NOCTTY", "O_NOFOLLOW", "O_NONBLOCK", "O_SYNC", "WNOHANG", "F_LOCK",
)  # fmt: skip
SIGNALS: Final = (
    "SIGALRM", "SIGBUS", "SIGCHLD", "SIGCLD", "SIGCONT", "SIGHUP", "SIGIO", "SIGKILL", "SIGPIPE", "SIGPOLL", "SIGPROF",
    "SIGPWR", "SIGQUIT", "SIGSTOP", "SIGSYS", "SIGTRAP", "SIGTSTP", "SIGTTIN", "SIGTTOU", "SIGURG", "SIGUSR1", "SIGUSR2",
    "SIGVTALRM", "SIGWINCH", "SIGXCPU", "SIGXFSZ", "alarm", "getitimer", "pause", "pthread_kill", "pthread_sigmask",
    "setitimer", "sigpending", "sigtimedwait", "sigwait", "sigwaitinfo", "siginterrupt",
)  # fmt: skip
SOCKET: Final = ("AF_UNIX", "socketpair", "sethostname", "SO_REUSEPORT", "recv_fds", "send_fds")
TIME: Final = ("tzset", "clock_gettime", "clock_gettime_ns", "pthread_getcpuclockid")

_FORBIDDEN: Final = re.compile(r'[<>:"|?*\\\x00-\x1f]|[ .]$')
_RESERVED: Final = re.compile(r"(con|prn|aux|nul|com[0-9]|lpt[0-9])(\..*)?", re.IGNORECASE)
_MISSING: Final = object()


def be_windows(folder: Path) -> None:
    """Take away what Windows has not, for the rest of this process."""
    sys.modules["msvcrt"] = _windows_locks()
    sys.meta_path.insert(0, _NoModule())
    parent = os.getppid()
    further = {"name": "nt", "getppid": lambda: parent}  # the id stays when the parent ends
    for module, instead in (
        (os, dict.fromkeys(OS, _MISSING) | further),
        (signal, dict.fromkeys(SIGNALS, _MISSING) | {"SIGBREAK": signal.SIGUSR1}),
        (socket, dict.fromkeys(SOCKET, _MISSING)),
        (time, dict.fromkeys(TIME, _MISSING)),
        (sys, {"platform": "win32"}),
    ):
        sys.modules[module.__name__] = _Seen(module, instead)
    sys.modules["msvcrt"] = _runtime()
    for name in MODULES:
        sys.modules.pop(name, None)
    setattr(asyncio.SelectorEventLoop, "add_signal_handler", _not_implemented)  # noqa: B010  # mypy takes it for a mistake
    _forbid_ipc()
    _hide_proc()
    sys.addaudithook(_Names(folder))
    warnings.filterwarnings("error", category=EncodingWarning, module=r"ledger\b")


def _windows_locks() -> ModuleType:
    """Return what Windows has for file locks, over what this system has."""
    import fcntl

    module = ModuleType("msvcrt")
    modes = {2: fcntl.LOCK_EX | fcntl.LOCK_NB, 0: fcntl.LOCK_UN}  # LK_NBLCK, LK_UNLCK

    def locking(descriptor: int, mode: int, length: int) -> None:
        assert length == 1, "one byte is locked"
        fcntl.flock(descriptor, modes[mode])

    vars(module).update(LK_NBLCK=2, LK_UNLCK=0, locking=locking)
    return module


def _not_implemented(*_: object) -> None:
    raise NotImplementedError


def _is_ours(depth: int) -> bool:
    return sys._getframe(depth).f_code.co_filename.startswith(PACKAGE)


class _Seen(ModuleType):
    """A module as the ledger sees it: some names are missing or another value. For everybody else it is the module."""

    def __init__(self, module: ModuleType, instead: dict[str, Any]) -> None:
        super().__init__(module.__name__, module.__doc__)
        object.__getattribute__(self, "__dict__").update(_there=module, _instead=instead)

    def __getattribute__(self, name: str) -> Any:
        kept = object.__getattribute__(self, "__dict__")
        if name in kept["_instead"] and _is_ours(2):
            if kept["_instead"][name] is _MISSING:
                raise AttributeError(f"Windows has no {kept['_there'].__name__}.{name}")
            return kept["_instead"][name]
        return getattr(kept["_there"], name)

    def __setattr__(self, name: str, value: object) -> None:
        setattr(object.__getattribute__(self, "__dict__")["_there"], name, value)


class _NoModule:
    """An importer that does not find what Windows has not, where the ledger asks for it."""

    def find_spec(self, name: str, *_: object) -> None:
        if name in MODULES and any(_is_ours(depth) for depth in range(2, 9)):
            raise ModuleNotFoundError(f"No module named {name!r}, on Windows", name=name)


def _runtime() -> ModuleType:
    """Return Windows' C runtime with its locks: of an open file, gone when that is closed, as ``flock`` has them."""
    module: Any = ModuleType("msvcrt")
    module.LK_UNLCK, module.LK_LOCK, module.LK_NBLCK, module.LK_RLCK, module.LK_NBRLCK = range(5)

    def locking(descriptor: int, mode: int, _: int) -> None:
        if mode == module.LK_UNLCK:
            fcntl.flock(descriptor, fcntl.LOCK_UN)
        else:
            wait = 0 if mode in (module.LK_LOCK, module.LK_RLCK) else fcntl.LOCK_NB
            fcntl.flock(descriptor, fcntl.LOCK_EX | wait)

    module.locking = locking
    return cast("ModuleType", module)


def _forbid_ipc() -> None:
    import zmq

    for name in ("bind", "connect"):
        original = getattr(zmq.Socket, name)

        def checked(self: Any, address: str, *, original: Any = original) -> Any:
            if str(address).startswith("ipc:"):
                raise AssertionError(f"Windows has no {address}")
            return original(self, address)

        setattr(zmq.Socket, name, checked)


def _hide_proc() -> None:
    """Let nobody see the folders in which Linux shows processes and their open files."""
    stat = os.stat

    def seen(path: Any, *args: Any, **given: Any) -> os.stat_result:
        if isinstance(path, (str, os.PathLike)) and str(path).startswith(("/proc", "/dev/fd")):
            raise FileNotFoundError(2, "Windows has no such folder", str(path))
        return stat(path, *args, **given)

    os.stat = seen


class _Names:
    """Refuses what Windows refuses of files in a folder: names with reserved characters, and replacing an open file."""

    def __init__(self, folder: Path) -> None:
        self.folder = os.path.realpath(folder)

    def __call__(self, event: str, details: tuple[Any, ...]) -> None:
        if event in ("open", "os.mkdir"):
            self._check_name(details[0])
        elif event == "os.rename":
            self._check_name(details[1])
            self._check_closed(details[0], details[1])
        elif event in ("os.remove", "os.rmdir"):
            self._check_closed(details[0])

    def _inner(self, path: Any) -> str | None:
        if not isinstance(path, (str, bytes, os.PathLike)):
            return None
        full = os.path.abspath(os.fsdecode(path))  # noqa: PTH100  # an audit hook, which pathlib would call again
        return full if full.startswith(self.folder + os.sep) else None

    def _check_name(self, path: Any) -> None:
        full = self._inner(path)
        for part in Path(full).relative_to(self.folder).parts if full else ():
            if _FORBIDDEN.search(part) or _RESERVED.fullmatch(part):
                raise OSError(22, f"Windows allows no file of the name {part!r}")

    def _check_closed(self, *paths: Any) -> None:
        wanted = {full for path in paths if (full := self._inner(path))}
        if not wanted:
            return
        for number in os.listdir("/proc/self/fd"):  # noqa: PTH208  # as above
            try:
                held = os.readlink(f"/proc/self/fd/{number}")  # noqa: PTH115
            except OSError:
                continue
            if held in wanted:
                raise PermissionError(13, f"Windows removes and replaces no file that is open: {held}")


def main() -> None:
    """Run what the command line names."""
    folder, kind, file = Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3])
    be_windows(folder)
    if kind == "program":
        runpy.run_path(str(file), run_name="__main__")
        return
    from ledger.cli import main as command

    for words in json.loads(file.read_text(encoding="utf-8")):
        code: object = None
        try:
            command(words)
        except SystemExit as ended:
            code = ended.code
        sys.stdout.flush()
        sys.stderr.flush()
        if code not in (0, None):
            sys.exit(f"ledger {' '.join(words)} ended with {code}")


if __name__ == "__main__":
    main()
