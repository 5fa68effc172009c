"""What is known of the gateway: whether its snapshots are usable, and whether its answers state the account."""

from __future__ import annotations

import attrs
from attrs.converters import optional

from ledger.events.fields import to_form, to_login, to_reason, to_server, to_text_or_none, to_time_msc, to_version


@attrs.frozen(kw_only=True)
class SyncDegraded:
    """The gateway stopped giving usable snapshots."""

    reason: str = attrs.field(converter=to_reason)
    time_msc: int = attrs.field(converter=to_time_msc)
    evidence: str | None = attrs.field(converter=to_text_or_none, default=None)


@attrs.frozen(kw_only=True)
class SyncRestored:
    """The gateway gives usable snapshots again. ``caused_by`` is the version of the SyncDegraded that it ends."""

    time_msc: int = attrs.field(converter=to_time_msc)
    caused_by: int | None = attrs.field(converter=optional(to_version), default=None)
    evidence: str | None = attrs.field(converter=to_text_or_none, default=None)


@attrs.frozen(kw_only=True)
class GatewayIdentified:
    """The account was seen through a positions answer that states login and server, for the first time.

    From here on an answer that states no identity is refused, unless a person allows it. ``form`` is the protocol form of
    that answer: ``extended`` if it echoed our request id, else ``base``.
    """

    login: int = attrs.field(converter=to_login)
    server: str = attrs.field(converter=to_server)
    form: str = attrs.field(converter=to_form)
    time_msc: int = attrs.field(converter=to_time_msc)
    evidence: str | None = attrs.field(converter=to_text_or_none, default=None)
