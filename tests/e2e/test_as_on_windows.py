"""The ledger on Windows, as far as another system can show it: no POSIX, a code page for a console, Windows' file names."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ledger.gateway.sandbox.client import Sandbox
from tests.support.windows_programs import WindowsPrograms

ROOT = Path(__file__).resolve().parents[2]
RUNNER = ROOT / "tests" / "support" / "as_on_windows.py"
EXPORT = ROOT / "tests" / "support" / "exports" / "a_profit_decides.csv"


class AsOnWindows:
    """A folder, and processes that are as on Windows in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "desk"
        self.folder.mkdir()
        self.url = f"sqlite:///{self.folder}/desk.db"
        programs = folder / "system32"
        programs.mkdir()
        self.programs = WindowsPrograms(programs)
        self.path = f"{programs}{os.pathsep}{os.environ['PATH']}"

    def run(self, kind: str, content: str) -> subprocess.CompletedProcess[str]:
        """Run a program or commands; the output is in the code page of a console that is not Unicode."""
        file = self.folder.parent / f"{kind}.txt"
        file.write_text(content, encoding="utf-8")
        return subprocess.run(
            [sys.executable, "-X", "warn_default_encoding", str(RUNNER), str(self.folder), kind, str(file)],
            cwd=self.folder,
            env={
                **os.environ,
                "PYTHONPATH": str(ROOT),
                "PYTHONIOENCODING": "cp1252:strict",
                "PYTHONUTF8": "0",
                "PATH": self.path,
            },
            capture_output=True,
            encoding="cp1252",
            check=False,
        )

    def program(self, content: str) -> str:
        done = self.run("program", content)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def commands(self, *commands: tuple[str, ...]) -> str:
        done = self.run("commands", json.dumps([["--journal", self.url, *words] for words in commands]))
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


@pytest.fixture
def windows(tmp_path):
    return AsOnWindows(tmp_path)


# ---- the imitation itself


@pytest.mark.parametrize(
    ("source", "complaint"),
    [
        ("import os\nos.getuid()", "AttributeError: Windows has no os.getuid"),
        ("import os\nos.fork()", "AttributeError: Windows has no os.fork"),
        ("import signal\nsignal.SIGKILL", "AttributeError: Windows has no signal.SIGKILL"),
        ("import socket\nsocket.AF_UNIX", "AttributeError: Windows has no socket.AF_UNIX"),
        ("import fcntl", "No module named 'fcntl', on Windows"),
        ("import resource", "No module named 'resource', on Windows"),
        ("open('a.txt', 'w')", "EncodingWarning"),
        ("open('a:b', 'wb')", "Windows allows no file of the name 'a:b'"),
        ("open('con.txt', 'wb')", "Windows allows no file of the name 'con.txt'"),
        ("import os\nfile = open('a', 'wb')\nos.remove('a')", "Windows removes and replaces no file that is open"),
        ("import os\nopen('b', 'wb').close()\nfile = open('a', 'wb')\nos.replace('b', 'a')", "no file that is open"),
        ("import zmq\nzmq.Context().socket(zmq.REP).bind('ipc://x')", "Windows has no ipc://x"),
        ("import asyncio\nasyncio.new_event_loop().add_signal_handler(2, print)", "NotImplementedError"),
        ("print('\\u0416')", "UnicodeEncodeError"),
    ],
)
def test_what_windows_has_not_is_missing_for_our_own_code(windows, source, complaint):
    ours = f"import ledger, pathlib\nwhere = pathlib.Path(ledger.__file__).with_name('tried.py')\nsource = {source!r}\n"
    done = windows.run("program", f"{ours}exec(compile(source, str(where), 'exec'), {{'__name__': 'ledger.tried'}})\n")
    assert done.returncode
    assert complaint in done.stderr


def test_everything_can_be_imported(windows):
    names = sorted(
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for path in (ROOT / "ledger").rglob("*.py")
        if path.name != "__main__.py"
    )
    assert len(names) > 100
    found = windows.program(f"import importlib\nfor name in {names}: importlib.import_module(name)\nprint('imported')\n")
    assert found == "imported\n"


# ---- what people do


def test_an_engine_records_syncs_and_replays(windows):
    found = windows.program(f"""
from ledger import Ledger, StateReconciler
from ledger.gateway.metatrader5 import MetaTrader5Gateway
from ledger.testing import fake_mt5

mt5 = fake_mt5(positions=2, server="Брокер-Live")
with Ledger.create({windows.url!r}) as ledger:
    account = ledger.account("Брокер-Live", 70113)
    with MetaTrader5Gateway(mt5, login=70113) as gateway:
        reconciler = StateReconciler(account, gateway)
        print(reconciler.startup_recovery().status.value)
        mt5.terminal.close(mt5.terminal.open_positions()[0].position_id)
        print(reconciler.sync_positions().status.value)
        asyncio.run(asyncio.wait_for(reconciler.run(stop_after=1), 30)) if False else None
    print(len(account.portfolio.positions), len(account.replay().positions), ledger.verify().ok)
""")
    assert found.split() == ["SUCCESS", "SUCCESS", "1", "1", "True"]


def test_a_server_a_client_and_a_reconciler_in_an_event_loop_work(windows):
    found = windows.program(f"""
import asyncio, threading
from ledger import Ledger, StateReconciler, open_gateway
from ledger.gateway.sandbox.server import SandboxServer
from ledger.gateway.sandbox.terminal import Terminal, open_random_positions

terminal, ready, endpoints = Terminal(), threading.Event(), []
open_random_positions(terminal, 2)
server = SandboxServer(terminal)
thread = threading.Thread(target=server.serve, args=(lambda *bound: (endpoints.extend(bound), ready.set()),), daemon=True)
thread.start()
ready.wait()

async def engine(account):
    reconciler = StateReconciler(account, open_gateway(endpoints[0]), sync_interval_sec=0.01)
    running = asyncio.create_task(reconciler.run())
    while reconciler.get_status().synced_us is None:
        await asyncio.sleep(0.01)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    print(len(account.portfolio.positions))

with Ledger.create({windows.url!r}) as ledger:
    asyncio.run(engine(ledger.account("Sandbox-Demo", 70113)))
server.stop()
thread.join()
""")
    assert found.split() == ["2"]


def test_the_gateway_service_answers_locks_and_ends(windows):
    found = windows.program("""
import threading, time
from pathlib import Path
from ledger import GatewayError, open_gateway
from ledger.errors import GatewayUnavailable
from ledger.gateway.serve.service import GatewayService, ServiceSettings
from ledger.gateway.serve.store import Store
from ledger.gateway.serve.terminal_process import TerminalSettings
from ledger.testing.service import OPENER

def positions(gateway):
    while True:
        try:
            return len(gateway.positions().positions)
        except GatewayError:
            time.sleep(0.01)

if __name__ == "__main__":  # the terminal process imports this file too
    terminal = TerminalSettings(opener=OPENER, settings={"positions": 2, "state": "books", "data_path": str(Path.cwd())})
    service = GatewayService(ServiceSettings(terminal=terminal, store=Path("gateway.db")))
    ready = threading.Event()
    thread = threading.Thread(target=service.serve, args=(ready.set,))
    thread.start()
    ready.wait()
    with open_gateway(service.endpoint) as gateway:
        print(positions(gateway), service.is_read_only)
    try:
        Store.open(Path("gateway.db"))
    except GatewayUnavailable as error:
        print("another service" in str(error))
    service.stop()
    thread.join()
    Store.open(Path("gateway.db")).close()
    print("closed")
""")
    assert found.split() == ["2", "False", "True", "closed"]


@pytest.mark.parametrize("number", ["SIGINT", "SIGUSR1"])  # the imitation has the latter as SIGBREAK
def test_a_daemon_syncs_until_it_is_interrupted(windows, number):
    with Sandbox.start("--positions", "2") as sandbox:
        found = windows.program(f"""
import signal, threading, time
from ledger import Ledger
from ledger.cli import main

Ledger.create({windows.url!r}).close()

def interrupt():
    with Ledger.open({windows.url!r}) as ledger:
        while not ledger.accounts() or not ledger.accounts()[0].version:
            time.sleep(0.01)
    signal.raise_signal(signal.{number})

threading.Thread(target=interrupt, daemon=True).start()
try:
    main(["sync", "--watch", "--journal", {windows.url!r}, "--gateway", {sandbox.endpoint!r}])
except SystemExit as ended:
    print("ended with", ended.code)
""")
    assert found.endswith("ended with 0\n")


def test_the_commands_work(windows):
    name = "Брокер-Live/70113"
    out = windows.commands(
        ("init",),
        ("account", "open", name, "--currency", "USD", "--mode", "hedging", "--server-tz", "ny-close"),
        ("import", str(EXPORT), "--account", name, "--mode", "hedging"),
        ("accounts",),
        ("positions",),
        ("trades",),
        ("trades", "--json"),
        ("balance",),
        ("log",),
        ("replay",),
        ("status",),
        ("verify",),
        ("export", "--out", str(windows.folder / "events.jsonl")),
        ("export", "--out", str(windows.folder / "events.jsonl")),
        ("backup", str(windows.folder / "copy.db")),
        ("keys", "seal", "--dir", str(windows.folder / "keys")),
        ("keys", "make", "server", "--dir", str(windows.folder / "keys")),
    )
    assert "\\u0411\\u0440\\u043e" in out  # a console's code page has no such letters, and nothing fails
    assert [words[1:3] for words in windows.programs.asked()] == [["/inheritance:r", "/grant:r"]] * 2  # the two secret keys
    restored = AsOnWindows.__new__(AsOnWindows)
    restored.__dict__ |= windows.__dict__ | {"url": f"sqlite:///{windows.folder}/restored.db"}
    restored.commands(("restore", str(windows.folder / "copy.db")), ("verify",))


def test_a_sync_over_the_wire_works(windows):
    with Sandbox.start("--positions", "2") as sandbox:
        out = windows.commands(
            ("init",),
            ("sync", "--startup", "--gateway", sandbox.endpoint),
            ("drift", "--gateway", sandbox.endpoint),
            ("doctor", "--gateway", sandbox.endpoint),
        )
    assert "SUCCESS" in out
