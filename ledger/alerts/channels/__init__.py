"""Channels: the ways by which a notice leaves this machine. Each sends one notice, or raises why it could not, without secrets.

What libraries and receivers write about a failure may repeat a URL, a password or a token. So it is never passed on: a failure
is described by its kind, its code and the system's own text for it.
"""

from __future__ import annotations

import http.client
import os
import smtplib
import socket
import ssl
import urllib.error
from typing import Final, Protocol

from ledger.alert_settings import Alertmanager, Apprise, Channel, Command, Smtp, Webhook
from ledger.alerts.notices import Notice
from ledger.errors import BadValue


class DeliveryFailed(Exception):
    """A channel did not accept a notice. Its text says why, and holds no secret."""


class Sender(Protocol):
    """Sends notices through one channel."""

    #: How often the receiver has to be sent what goes on, in seconds; None where it remembers by itself.
    refresh_sec: float | None

    def send(self, notice: Notice, /) -> None:
        """Send a notice; the channel accepted it when this returns.

        Raises:
            DeliveryFailed: It did not.
            BadValue: A secret cannot be read.
        """
        ...


def open_channel(channel: Channel) -> Sender:
    """Return what sends through a channel. Nothing is connected yet, and no secret is read."""
    match channel.settings:
        case Webhook():
            from ledger.alerts.channels.webhook import WebhookSender

            return WebhookSender(channel, channel.settings)
        case Alertmanager():
            from ledger.alerts.channels.alertmanager import AlertmanagerSender

            return AlertmanagerSender(channel, channel.settings)
        case Smtp():
            from ledger.alerts.channels.mail import MailSender

            return MailSender(channel, channel.settings)
        case Command():
            from ledger.alerts.channels.command import CommandSender

            return CommandSender(channel, channel.settings)
        case Apprise():
            from ledger.alerts.channels.apprise import AppriseSender

            return AppriseSender(channel)


def send(sender: Sender, notice: Notice) -> None:
    """Send a notice, whatever the sender or a library of its raises.

    Raises:
        DeliveryFailed: The channel did not accept it.
    """
    try:
        sender.send(notice)
    except DeliveryFailed:
        raise
    except BadValue as error:
        raise DeliveryFailed(str(error)) from None
    except Exception as error:  # noqa: BLE001  # one channel's fault is no other's, and its text may hold a secret
        raise DeliveryFailed(reason_of(error)) from None


#: Failures without a code of their own.
_TEXTS: Final = (
    (TimeoutError, "no answer in time"),
    (socket.gaierror, "the name of the host is not known"),
    (smtplib.SMTPNotSupportedError, "the mail server does not offer what the settings ask for: TLS, or to sign in"),
    (smtplib.SMTPServerDisconnected, "the connection was closed without an answer"),
    (http.client.RemoteDisconnected, "the connection was closed without an answer"),
)


def reason_of(error: BaseException) -> str:
    """Describe a failure without its text."""
    match error:
        case urllib.error.HTTPError():
            return f"expected HTTP 2xx, the receiver answered {error.code}"
        case urllib.error.URLError() if isinstance(error.reason, BaseException):
            return reason_of(error.reason)
        case ssl.SSLError():
            return f"TLS: {getattr(error, 'reason', None) or 'failed'}"
        case smtplib.SMTPResponseException():
            return f"the mail server answered {error.smtp_code}"
        case smtplib.SMTPRecipientsRefused():
            codes = sorted({str(code) for code, _ in error.recipients.values()})
            return f"the mail server refused all recipients ({', '.join(codes)})"
    for kind, text in _TEXTS:
        if isinstance(error, kind):
            return text
    if isinstance(error, OSError) and error.errno is not None:
        return os.strerror(error.errno)
    return f"it failed with {type(error).__name__}"
