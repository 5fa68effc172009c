"""Client ids, and the token of each that goes to the broker. Pure: time and random number are passed in.

A client id of ours sorts by time: 48 bits of UTC milliseconds and 80 random bits, in 26 characters of Crockford's base 32.
"""

from __future__ import annotations

from base64 import b32encode
from hashlib import sha256
from typing import Final

from ledger.events.orders import to_client_id
from ledger.values import AccountId

_ALPHABET: Final = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_LENGTH: Final = 26
_RANDOM_BITS: Final = 80


def make_client_id(utc_msc: int, random: bytes) -> str:
    """Return a client id.

    Args:
        utc_msc: The present, UTC milliseconds.
        random: Ten random bytes.
    """
    number = (utc_msc << _RANDOM_BITS) | int.from_bytes(random[:10], "big")
    return "".join(_ALPHABET[number >> 5 * place & 31] for place in reversed(range(_LENGTH)))


def token_of(account: AccountId, client_id: str) -> str:
    """Return what of a client id goes to the broker: 20 characters that nobody can turn back.

    The same id on another account has another token.
    """
    text = f"{account.server}/{account.login}\0{to_client_id(client_id)}"
    return "L" + b32encode(sha256(text.encode()).digest()).decode()[:19]
