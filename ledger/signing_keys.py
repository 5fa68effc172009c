"""Ed25519 keys in files, as PEM that other programs read: of whoever seals a journal, and of operators who sign decisions."""

from __future__ import annotations

from base64 import b64encode
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

from ledger.errors import BadValue
from ledger.keyfiles import OWNER_ONLY, READABLE, check_private, new_pair, write_new

if TYPE_CHECKING:  # slow to load, and only needed to sign and to check
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey


def make_keys(folder: Path, name: str) -> tuple[Path, Path]:
    """Make a pair of keys and return the files, public and secret.

    Raises:
        BadValue: There are keys of that name already, or it is no name for a file.
    """
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

    public, secret = new_pair(folder, name, ".pub.pem", ".pem")
    key = Ed25519PrivateKey.generate()
    write_new(secret, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()), OWNER_ONLY)
    write_new(public, key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo), READABLE)
    return public, secret


def load_key(path: Path, made_by: str) -> Ed25519PrivateKey:
    """Read a secret key; ``made_by`` is the command that makes one.

    Raises:
        BadValue: It is none, or others can read it.
        OSError: The file cannot be read.
    """
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    content = path.read_bytes()
    check_private(path)
    try:
        key = load_pem_private_key(content, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, Ed25519PrivateKey):
        raise BadValue(f"{path}: expected a secret key ({made_by}), found none")
    return key


def load_public_key(path: Path, made_by: str) -> str:
    """Read a public key and return it in hex. Raises as ``load_key``."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    try:
        key = load_pem_public_key(path.read_bytes())
    except (ValueError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, Ed25519PublicKey):
        raise BadValue(f"{path}: expected a public key (the file that ends in .pub.pem; {made_by} makes one), found none")
    return key.public_bytes_raw().hex()


def sign(message: bytes, key: Ed25519PrivateKey) -> tuple[str, str]:
    """Return the public key and the signature of a message, both in hex."""
    return key.public_key().public_bytes_raw().hex(), key.sign(message).hex()


def is_signed(message: bytes, *, key: str, signature: str) -> bool:
    """Return whether a signature of a message is by a public key, both in hex."""
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    try:
        Ed25519PublicKey.from_public_bytes(bytes.fromhex(key)).verify(bytes.fromhex(signature), message)
    except (InvalidSignature, ValueError):
        return False
    return True


def fingerprint(key: str) -> str:
    """Return what people compare instead of a public key in hex: its SHA-256 in base 64."""
    return f"SHA256:{b64encode(sha256(bytes.fromhex(key)).digest()).decode().rstrip('=')}"
