"""The channel ``apprise``: what the package of this name can reach, as Telegram, Slack or Matrix. An extra, ``[alerts]``."""

from __future__ import annotations

import logging

from ledger.alert_settings import Channel
from ledger.alerts.channels import DeliveryFailed
from ledger.alerts.notices import Notice


class AppriseSender:
    """Sends notices as text. The package is loaded with the first."""

    refresh_sec: float | None = None

    def __init__(self, channel: Channel) -> None:
        self._url = channel.secrets["url"]

    def send(self, notice: Notice) -> None:
        """Send a notice. Raises as ``Sender.send``."""
        try:
            import apprise
        except ImportError:
            raise DeliveryFailed(
                "the package apprise is not installed here: pip install 'mt5-position-ledger[alerts]'"
            ) from None
        logging.getLogger("apprise").disabled = True  # it logs what it is given, tokens too,
        logging.getLogger("urllib3").propagate = False  # and so does what it sends with
        urls = self._url.read().split()
        if len(urls) != 1:
            raise DeliveryFailed("expected one URL of apprise; for several, make a channel of each")
        receiver = apprise.Apprise()
        if not receiver.add(urls[0]):
            raise DeliveryFailed("expected a URL that apprise understands: see https://appriseit.com")
        if not receiver.notify(title=notice.headline, body=notice.text(), body_format=apprise.NotifyFormat.TEXT):
            raise DeliveryFailed("apprise could not deliver it, and does not give a reason")
