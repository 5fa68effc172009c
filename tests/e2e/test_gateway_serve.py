"""The gateway service as an operator starts it: real processes, killed for real, and the three commands against it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Final, Self

import pytest

from ledger.errors import GatewayError
from ledger.gateway.client import ZmqGateway
from ledger.gateway.sandbox.client import Sandbox
from ledger.gateway.serve import package

ROOT: Final = Path(__file__).resolve().parents[2]
PATIENCE_SEC: Final = 60.0


class Program:
    """``python -m ledger.gateway.serve`` over a simulated terminal, in a process of its own."""

    def __init__(self, folder: Path, *options: str, module: str = "ledger.gateway.serve", words: tuple[str, ...] = ()) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", module, *words, "--fake", "--port", "0", "--store", str(folder / "gateway.db"), *options],
            cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()

    def ready(self) -> dict[str, Any]:
        """Return the line that it prints once it answers."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, self.process.communicate()
        found: dict[str, Any] = json.loads(line)
        return found

    def end(self) -> tuple[int, str, str]:
        out, err = self.process.communicate(timeout=PATIENCE_SEC)
        return self.process.returncode, out, err


def positions(endpoint: str) -> set[int]:
    """Return the open positions, once the service has its terminal."""
    give_up = time.monotonic() + PATIENCE_SEC
    with ZmqGateway(endpoint) as gateway:
        while True:
            try:
                return {row.position_id for row in gateway.positions().positions}
            except GatewayError:
                assert time.monotonic() < give_up


def ledger(folder: Path, *words: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "ledger", *words], cwd=folder, capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT), "LEDGER_JOURNAL": "sqlite:///desk.db"},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_three_commands_recover_what_is_open_and_see_a_manual_close(tmp_path):
    with Program(tmp_path, "--json", "--positions", "3") as program:
        ready = program.ready()
        gateway = ("--gateway", ready["endpoint"], "--server-tz", "ny-close")
        open_before = positions(ready["endpoint"])
        ledger(tmp_path, "init")
        assert "SUCCESS" in ledger(tmp_path, "sync", "--startup", *gateway)
        listed = json.loads(ledger(tmp_path, "positions", "--json"))
        assert {row["position_id"] for row in listed} == open_before
        with Sandbox(ready["endpoint"], ready["control"]) as terminal:
            terminal.control("close", position=min(open_before))
        assert "SUCCESS" in ledger(tmp_path, "sync", "--startup", *gateway)
        listed = json.loads(ledger(tmp_path, "positions", "--json"))
        assert {row["position_id"] for row in listed} == open_before - {min(open_before)}


def test_a_service_that_is_killed_goes_on_with_its_store_and_its_books(tmp_path):
    with Program(tmp_path, "--json", "--positions", "2") as program:
        before = program.ready()
        open_before = positions(before["endpoint"])
        program.process.kill()
        program.end()
    with Program(tmp_path, "--json") as program:
        after = program.ready()
        assert (after["store"], after["epoch"]) == (before["store"], before["epoch"] + 1)
        assert positions(after["endpoint"]) == open_before


def test_a_second_service_with_the_same_store_does_not_start(tmp_path):
    with Program(tmp_path, "--json") as program:
        program.ready()
        with Program(tmp_path, "--json") as second:
            code, out, err = second.end()
            assert (code, out) == (3, "")
            assert "another service uses it" in err
            assert "Traceback" not in err


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_in_good_order(tmp_path, number):
    with Program(tmp_path, module="ledger", words=("gateway", "serve")) as program:
        assert program.process.stdout is not None
        assert program.process.stdout.readline().startswith("answering at tcp://127.0.0.1:")
        program.process.send_signal(number)
        code, _, err = program.end()
    assert code == 0, err
    assert err.splitlines()[-1].endswith("Z stopped")


def test_it_ends_when_standard_input_does(tmp_path):
    with Program(tmp_path, "--json") as program:
        program.ready()
        code, _, err = program.end()  # closes it
        assert code == 0, err


def test_it_prints_what_it_is_doing(tmp_path):
    with Program(tmp_path, "--json") as program:
        ready = program.ready()
        positions(ready["endpoint"])
        with Sandbox(ready["endpoint"], ready["control"]) as terminal:
            terminal.control("block", seconds=3_600)
        program.process.terminate()
        code, _, err = program.end()
        assert code == 0
        assert "account Sandbox-Demo/70113: connected" in err


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (["--bind", "192.0.2.1"], "can be reached from other machines: that needs keys"),
        (["--server-key", "no.key"], "keys come in twos"),
        (["--port", "many"], "is not a valid integer range"),
        (["--server-key", "no.key", "--authorised", "none"], "expected a file of keys"),
    ],
)
def test_options_that_do_not_go_together_are_refused(tmp_path, options, why):
    with Program(tmp_path, *options) as program:
        code, _, err = program.end()
        assert code == 2
        assert why in err
        assert "Traceback" not in err


def test_a_port_that_is_taken_is_named(tmp_path):
    with Program(tmp_path, "--json") as program:
        port = program.ready()["endpoint"].rpartition(":")[2]
        other = tmp_path / "other"
        other.mkdir()
        with Program(other, "--push-port", "0", "--control-port", "0", "--port", port) as second:
            code, _, err = second.end()
            assert code == 3
            assert "cannot be bound" in err


def test_the_calls_of_a_package_are_reported_and_an_empty_splat_is_none():
    class Package:
        SOMETHING = 5

        @staticmethod
        def call(*arguments: Any, **named: Any) -> Any:
            return arguments, named

        @staticmethod
        def fail() -> None:
            raise SystemError("an argument")

    reported: list[str | None] = []
    module = package.ReportedModule(Package, reported.append)
    assert module.SOMETHING == 5
    assert module.call(1, two=2) == ((1,), {"two": 2})
    with pytest.raises(SystemError):
        module.fail()
    assert reported == ["call", None, "fail", None]
    assert not hasattr(module, "missing")
