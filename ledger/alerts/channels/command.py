"""The channel ``command``: a program of the operator's, which gets a notice as JSON on its standard input."""

from __future__ import annotations

import os
import signal
import subprocess
from contextlib import suppress

from ledger.alert_settings import Channel, Command
from ledger.alerts.channels import DeliveryFailed, reason_of
from ledger.alerts.notices import Notice
from ledger.text import json_text


class CommandSender:
    """Starts the program for every notice. No shell reads its arguments, and what it prints is not read."""

    refresh_sec: float | None = None

    def __init__(self, channel: Channel, settings: Command) -> None:
        self._settings = settings
        program, *arguments = settings.command
        is_path = os.path.dirname(program) != ""  # noqa: PTH120  # text: a name without a folder is looked for on the PATH
        self._command = [str(channel.folder / program) if is_path else program, *arguments]

    def send(self, notice: Notice) -> None:
        """Send a notice. Raises as ``Sender.send``."""
        content = json_text(notice.json_value(), is_ascii=True).encode() + b"\n"
        try:
            process = subprocess.Popen(  # noqa: S603  # the operator names it, and no shell reads it
                self._command,
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,  # so that what it starts is ended with it; Windows ignores this
            )
        except (OSError, ValueError) as error:
            raise DeliveryFailed(f"the program cannot be started: {reason_of(error)}") from None
        try:
            process.communicate(content, timeout=self._settings.timeout_sec)
        except subprocess.TimeoutExpired:
            raise DeliveryFailed(f"the program did not end within {self._settings.timeout_sec:g} s, and was ended") from None
        finally:
            _end(process)
        if process.returncode:
            raise DeliveryFailed(f"the program ended with exit code {process.returncode}")


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a program that still runs, and what it started where the system can."""
    if process.poll() is None:
        with suppress(OSError):
            if hasattr(os, "killpg"):
                os.killpg(process.pid, signal.SIGKILL)
            else:
                process.kill()
        process.wait()
    if process.stdin is not None:
        with suppress(OSError):  # of what it did not read
            process.stdin.close()
