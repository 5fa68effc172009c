"""The channel ``smtp``: a notice as mail; all about one condition are one thread."""

from __future__ import annotations

import hashlib
import logging
import smtplib
import socket
import ssl
from contextlib import suppress
from email.message import EmailMessage
from email.utils import formatdate
from typing import Final

from ledger.alert_settings import Channel, Smtp
from ledger.alerts.notices import Notice, State
from ledger.clock import SECOND_US
from ledger.text import visible

_logger: Final = logging.getLogger("ledger.alerts")


class MailSender:
    """Sends notices as mail."""

    refresh_sec: float | None = None

    def __init__(self, channel: Channel, settings: Smtp) -> None:
        self._channel = channel
        self._settings = settings

    def send(self, notice: Notice) -> None:
        """Send a notice. Raises as ``Sender.send``."""
        settings, password = self._settings, self._channel.secrets.get("password")
        content = message(notice, settings)
        server = self._connected()
        try:
            if password is not None:
                server.login(settings.user or "", password.read())
            refused = server.send_message(content)
            with suppress(OSError):  # it is accepted, however this ends
                server.quit()
        finally:
            server.close()
        if refused:  # the others have it: to send it again would repeat it for them
            _logger.warning("the mail server refused %s of %s recipients", len(refused), len(settings.to))

    def _connected(self) -> smtplib.SMTP:
        settings = self._settings
        ca_file = None if settings.ca_file is None else str(self._channel.folder / settings.ca_file)
        context = ssl.create_default_context(cafile=ca_file)
        name, timeout_sec = _own_name(), settings.timeout_sec
        if settings.tls == "tls":
            return smtplib.SMTP_SSL(settings.host, settings.port_used, name, timeout=timeout_sec, context=context)
        server = smtplib.SMTP(settings.host, settings.port_used, name, timeout=timeout_sec)
        if settings.tls == "starttls":
            try:
                server.starttls(context=context)
            except BaseException:
                server.close()
                raise
        return server


def message(notice: Notice, settings: Smtp) -> EmailMessage:
    """Return a notice as mail. Subjects of one thread are the same: where they are not, mail programs begin another."""
    domain = settings.sender.partition("@")[2]
    root, own = _id(notice.key, domain), _id(notice.id, domain)
    is_first = notice.state in (State.OPEN, State.TEST)
    mail = EmailMessage()
    mail["From"] = settings.sender
    mail["To"] = ", ".join(settings.to)
    mail["Subject"] = f"{'' if is_first else 'Re: '}[ledger] {notice.title}"
    mail["Date"] = formatdate(notice.now_us / SECOND_US)
    mail["Message-ID"] = root if is_first else own
    if not is_first:
        mail["In-Reply-To"] = root
        mail["References"] = root
    mail["Auto-Submitted"] = "auto-generated"
    mail["X-Ledger-State"] = notice.state.value
    mail["X-Ledger-Key"] = visible(notice.key)
    mail.set_content(notice.text())
    return mail


def _id(text: str, domain: str) -> str:
    return f"<ledger.{hashlib.sha256(text.encode()).hexdigest()[:40]}@{domain}>"


def _own_name() -> str:
    """Return how this machine calls itself, without asking anybody: a name server may be what is wrong."""
    name = socket.gethostname()
    return name if name.isascii() and name.isprintable() and name else "localhost"
