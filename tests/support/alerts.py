"""This module is a desk with alerts for tests: a journal, a clock that a test sets, and real receivers on this machine."""

from __future__ import annotations

import asyncio
import json
import ssl
import threading
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from email.parser import BytesParser
from email.policy import default
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any, Final, Self

from aiosmtpd.smtp import SMTP, AuthResult, LoginPassword
from attrs import evolve, frozen
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from ledger import AccountId, Ledger
from ledger.alerts.alerter import Alerter, Round
from ledger.alerts.conditions import LimitState
from ledger.alerts.delivery import Log
from ledger.alerts.survey import Survey
from ledger.config import Configuration, read
from ledger.events import BreakClosed, BreakOpened, Event
from ledger.journal.health import SyncHealth
from ledger.service import Account
from tests.support.journals import ACCOUNT, START_US, Clock, opened

SECOND: Final = 1_000_000
MINUTE: Final = 60 * SECOND


# ------------------------------------------------------------------------------------------------------------ receivers


@frozen
class Got:
    """A request as it arrived."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


class Receiver:
    """An HTTP server that writes down what it gets, and answers as a test sets."""

    def __init__(self) -> None:
        self.got: list[Got] = []
        self.status = 200
        self.location: str | None = None
        self.holding: threading.Event | None = None
        self.arrived = threading.Semaphore(0)
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                holding = receiver.holding
                receiver.got.append(Got(self.command, self.path, dict(self.headers), body))
                receiver.arrived.release()
                if holding is not None:
                    holding.wait(30)
                self.send_response(receiver.status, "token=" + self.path)  # a receiver may repeat what it was sent
                if receiver.location is not None:
                    self.send_header("Location", receiver.location)
                self.send_header("Content-Length", "0")
                self.end_headers()

            do_GET = do_POST  # noqa: N815  # as the base class names them

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    @property
    def notices(self) -> list[tuple[str, int]]:
        """State and stage of what arrived."""
        return [(one.json()["state"], one.json()["stage"]) for one in self.got]

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.holding is not None:
            self.holding.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class MailServer:
    """A real SMTP server that writes down what it accepts: with TLS, for one user."""

    USER: Final = "desk"

    def __init__(self, folder: Path, password: str, *, tls: str = "starttls") -> None:
        self.got: list[EmailMessage] = []
        self.refused: set[str] = set()
        self.password = password
        self.ca_file = write_certificate(folder)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.ca_file, folder / "key.pem")
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        how: dict[str, Any] = {"tls_context": context, "require_starttls": True} if tls == "starttls" else {}

        def session() -> SMTP:
            return SMTP(
                self, hostname="desk", auth_require_tls=tls == "starttls", auth_required=tls == "starttls",
                authenticator=self._authenticated, loop=self._loop, **how,
            )  # fmt: skip

        serving = self._loop.create_server(session, "127.0.0.1", 0, ssl=context if tls == "tls" else None)
        self._server: Any = self._loop.run_until_complete(serving)

    @property
    def port(self) -> int:
        return int(self._server.sockets[0].getsockname()[1])

    async def handle_RCPT(self, _: Any, __: Any, envelope: Any, address: str, ___: list[str]) -> str:  # noqa: N802  # its name
        if address in self.refused:
            return "550 no such person here"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, _: Any, __: Any, envelope: Any) -> str:  # noqa: N802  # as above
        self.got.append(BytesParser(policy=default).parsebytes(envelope.content))
        return "250 OK"

    def _authenticated(self, *given: Any) -> AuthResult:
        data = given[-1]
        is_right = isinstance(data, LoginPassword) and data.password.decode() == self.password
        return AuthResult(success=is_right and data.login.decode() == self.USER, handled=False)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._server.close()
        for task in asyncio.all_tasks(self._loop):
            task.cancel()
        self._loop.run_until_complete(asyncio.sleep(0))
        self._loop.close()


def write_certificate(folder: Path) -> Path:
    """Write a certificate for this machine that nobody signed but itself, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name, now = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")]), datetime.now(UTC)
    names = x509.SubjectAlternativeName([x509.DNSName("localhost"), x509.IPAddress(IPv4Address("127.0.0.1"))])
    certificate = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
        .serial_number(x509.random_serial_number()).not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1)).add_extension(names, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True).sign(key, hashes.SHA256())
    )  # fmt: skip
    (folder / "cert.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    (folder / "key.pem").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return folder / "cert.pem"


# ---------------------------------------------------------------------------------------------------------------- desk


def settings_file(folder: Path, text: str, **secrets: str) -> Configuration:
    """Write settings and secrets, a file each, and read the settings."""
    for name, secret in secrets.items():
        (folder / name).write_text(secret + "\n", encoding="utf-8")
    path = folder / "ledger.toml"
    path.write_text(text, encoding="utf-8")
    path.chmod(0o644)
    return read(path)


WEBHOOK: Final = '[alerts.channels.desk]\ntype = "webhook"\nurl_file = "desk"\n'


def health_of(account: AccountId, at_us: int, **fields: Any) -> SyncHealth:
    """Return the health that a sync which verified an account leaves."""
    known = SyncHealth(
        account=account, status="SUCCESS", reason=None, since_us=at_us, seen_us=at_us, verified_us=at_us, success_us=at_us,
        duration_us=1000, interval_us=15 * SECOND, verified_sec=60.0, balance_halts=False, held=(), gateway="tcp://g",
        host="desk1", pid=1, started_us=START_US, program="1",
    )  # fmt: skip
    return evolve(known, **fields)


def ghost_opened(position: int | None = 7, **fields: Any) -> BreakOpened:
    """Return the first sighting of a ghost."""
    known: dict[str, Any] = {"kind": "ghost", "time_msc": START_US // 1000, "position_id": position, "symbol": "EURUSD",
             "ours": "buy 1 EURUSD @ 1.1"}  # fmt: skip
    return BreakOpened(**(known | fields))


class Lines(Log):
    """A log that a test reads."""

    def __init__(self) -> None:
        self.lines: list[dict[str, Any]] = []

    def __call__(self, level: str, event: str, **fields: object) -> None:
        self.lines.append({"level": level, "event": event, **fields})

    def of(self, event: str) -> list[dict[str, Any]]:
        return [one for one in self.lines if one["event"] == event]


class Desk:
    """Accounts that are synced as a test says, and an alerter over them. Time passes when the test lets it."""

    def __init__(self, ledger: Ledger, configuration: Configuration, *accounts: AccountId) -> None:
        assert isinstance(ledger.now_us, Clock)
        self.ledger, self.clock, self.configuration = ledger, ledger.now_us, configuration
        self.clock.step_us = 0
        self.seconds = 0.0
        self.accounts = accounts or (ACCOUNT,)
        self.silent: dict[AccountId, dict[str, Any]] = {}
        self.limits: list[LimitState] = []
        self.log = Lines()
        for one in self.accounts:
            if not ledger.account(one).is_open:
                ledger.journal.append(one, [opened(one)])
        self.alerter = self.new_alerter()
        self.wait(0)

    def new_alerter(self, ledger: Ledger | None = None) -> Alerter:
        """Return another alerter of the same desk, as another process would be."""
        own = ledger or self.ledger
        settings = self.configuration.alerts
        survey = Survey(
            own, accounts=settings.accounts, upkeep=self.configuration.upkeep,
            limits=lambda one, _: [state for state in self.limits if state.account == one.name],
        )  # fmt: skip
        return Alerter(own, survey, settings, log=self.log, monotonic=lambda: self.seconds)

    def restart(self) -> None:
        """Go on with another alerter, which knows nothing but what is stored."""
        self.alerter.close(30)
        self.alerter = self.new_alerter()

    def wait(self, seconds: float) -> None:
        """Let time pass; at its end a sync verified every account that is not silent."""
        self.clock.now_us += int(seconds * SECOND)
        self.seconds += seconds
        for one in self.accounts:
            health = health_of(one, self.clock.now_us)
            if one not in self.silent:
                self.ledger.journal.save_sync_health(health)
            elif self.silent[one]:
                self.ledger.journal.save_sync_health(evolve(health, verified_us=None, success_us=None, **self.silent[one]))

    def append(self, *events: Event, account: AccountId = ACCOUNT) -> int:
        """Append events and return the version of the last."""
        return self.ledger.journal.append(account, events).head.version

    def close_break(self, version: int, end: str = "explained", account: AccountId = ACCOUNT, position: int = 7) -> int:
        return self.append(
            BreakClosed(kind="ghost", end=end, time_msc=START_US // 1000, caused_by=version, position_id=position),
            account=account,
        )

    def round(self, seconds: float = 0) -> Round:
        """Let time pass and make a round; return when nothing is under way any more."""
        if seconds:
            self.wait(seconds)
        made = self.alerter.round()
        assert self.alerter.wait(30)
        return made

    @property
    def account(self) -> Account:
        return self.ledger.account(self.accounts[0])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.alerter.close(30)
        self.ledger.close()
