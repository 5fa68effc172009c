"""The channel ``webhook``: a notice as JSON to a URL, signed where there is a secret."""

from __future__ import annotations

import hashlib
import hmac
from typing import Final
from urllib.parse import quote

from ledger.alert_settings import Channel, Webhook
from ledger.alerts.channels.http import request
from ledger.alerts.notices import Notice
from ledger.text import json_text

#: The signature: ``sha256=`` and the HMAC-SHA256 of the body in hex, as GitHub and others write theirs.
SIGNATURE: Final = "X-Ledger-Signature"
#: The same for all notices about one thing.
KEY: Final = "X-Ledger-Key"
#: The same whenever one notice is sent again (draft-ietf-httpapi-idempotency-key-header).
IDEMPOTENCY: Final = "Idempotency-Key"


class WebhookSender:
    """Sends notices as JSON."""

    refresh_sec: float | None = None

    def __init__(self, channel: Channel, settings: Webhook) -> None:
        self._secrets = channel.secrets
        self._settings = settings

    def send(self, notice: Notice) -> None:
        """Send a notice. Raises as ``Sender.send``."""
        body = json_text(notice.json_value(), is_ascii=True).encode()
        headers = {
            "Content-Type": "application/json",
            KEY: quote(notice.key, safe=":/"),
            IDEMPOTENCY: quote(notice.id, safe=":/"),
        }
        secret = self._secrets.get("secret")
        if secret is not None:
            headers[SIGNATURE] = signature(body, secret.read())
        request(self._secrets["url"].read(), timeout_sec=self._settings.timeout_sec, body=body, headers=headers)


def signature(body: bytes, secret: str) -> str:
    """Return the signature of a body."""
    return f"sha256={hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()}"
