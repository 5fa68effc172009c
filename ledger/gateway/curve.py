"""Keys: CURVE certificates on disk, and a server that accepts only listed ones.

Files are those of ``zmq.auth``. It writes secret keys for everybody to read, so they are made in a private folder first and
written into place under the rights of their owner only.
"""

from __future__ import annotations

import socket as socket_module
import struct
import tempfile
import time
from pathlib import Path
from typing import Final

import zmq
import zmq.auth
from attrs import field, frozen
from zmq.auth.thread import ThreadAuthenticator
from zmq.utils import z85

from ledger.errors import BadValue
from ledger.keyfiles import OWNER_ONLY, READABLE, check_private, new_pair, write_new

_ZAP_DOMAIN: Final = b"ledger"


@frozen(kw_only=True)
class ClientKeys:
    """What a client needs: its own pair, and the public key of the one server that it speaks to. Z85 text, 40 bytes each."""

    public: bytes
    secret: bytes = field(repr=False)
    server_public: bytes


@frozen(kw_only=True)
class ServerKeys:
    """What a server needs: its own pair."""

    public: bytes
    secret: bytes = field(repr=False)


def make_keys(folder: Path, name: str) -> tuple[Path, Path]:
    """Make a pair of keys and return the files: public, secret. Nobody but their owner can read the secret one, ever.

    Raises:
        BadValue: There are keys of that name already, or it is no name for a file.
    """
    public, secret = new_pair(folder, name, ".key", ".key_secret")
    with tempfile.TemporaryDirectory(prefix="ledger-keys-") as private:  # only its owner can look into it
        zmq.auth.create_certificates(private, name)
        write_new(secret, (Path(private) / secret.name).read_bytes(), OWNER_ONLY)
        write_new(public, (Path(private) / public.name).read_bytes(), READABLE)
    return public, secret


def authorise(public_file: Path, folder: Path) -> Path:
    """Let a server whose folder of authorised clients this is accept a client's public key, from now on.

    Returns:
        The file in that folder: a new one, or the one that authorised this key already.

    Raises:
        BadValue: It is no public key, or it is a secret one.
    """
    public, secret = _read(public_file)
    if secret is not None:
        raise BadValue(f"{public_file} holds a secret key: authorise the public one, and never copy the secret one")
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    there = next((path for path, key in authorised_keys(folder).items() if key == public), None)
    if there is not None:
        return there
    copied = folder / f"{public_file.stem}.key"
    if copied.exists():
        raise BadValue(f"{copied} exists and is of another key: rename {public_file.name} first")
    write_new(copied, public_file.read_bytes(), READABLE)
    return copied


def authorised_keys(folder: Path) -> dict[Path, bytes]:
    """Return file -> public key of the clients that a folder authorises; what cannot be read authorises nobody."""
    found = {}
    for path in sorted(folder.glob("*.key")):
        try:
            found[path] = _read(path)[0]
        except BadValue:
            continue
    return found


def load_client_keys(client_secret_file: Path, server_public_file: Path) -> ClientKeys:
    """Read the keys of a client.

    Raises:
        BadValue: A file is missing, is none of keys, or others can read the secret one.
    """
    public, secret = _read_secret(client_secret_file)
    return ClientKeys(public=public, secret=secret, server_public=_read(server_public_file)[0])


def load_server_keys(server_secret_file: Path) -> ServerKeys:
    """Read the keys of a server. Raises as ``load_client_keys``."""
    public, secret = _read_secret(server_secret_file)
    return ServerKeys(public=public, secret=secret)


def public_key(path: Path) -> str:
    """Return the public key of a file, as text. Raises as ``load_client_keys``."""
    return _read(path)[0].decode()


def _read(path: Path) -> tuple[bytes, bytes | None]:
    try:
        public, secret = zmq.auth.load_certificate(path)
    except (OSError, ValueError) as error:
        raise BadValue(f"{path}: expected a file of keys (ledger keys make), found none: {error}") from None
    if not all(_is_key(key) for key in (public, secret) if key is not None):
        raise BadValue(f"{path}: expected keys of 40 characters (ledger keys make), found others; is the file cut off?")
    return public, secret


def _is_key(text: bytes) -> bool:
    """Return whether a text is 32 bytes in Z85, as ZeroMQ writes keys."""
    try:
        return len(text) == 40 and len(z85.decode(text)) == 32
    except (KeyError, struct.error):
        return False


def _read_secret(path: Path) -> tuple[bytes, bytes]:
    public, secret = _read(path)
    if secret is None:
        raise BadValue(f"{path} holds no secret key: name the file that ends in .key_secret")
    check_private(path)
    if zmq.curve_public(secret) != public:
        raise BadValue(f"{path}: expected a pair of keys, found two that do not belong together")
    return public, secret


@frozen
class _Authorised:
    """The clients that a folder authorises at this moment: who is added or taken out is so without a restart."""

    folder: Path

    def callback(self, domain: str, key: bytes) -> bool:  # noqa: ARG002  # as zmq.auth calls it
        return key in authorised_keys(self.folder).values()


def secure_server(
    socket: zmq.Socket[bytes], context: zmq.Context[zmq.Socket[bytes]], keys: ServerKeys, authorised: Path
) -> ThreadAuthenticator:
    """Let a server's socket accept only clients whose public keys are in a folder. To be called before it is bound.

    A CURVE server without an authenticator accepts any client; ``ZAP_ENFORCE_DOMAIN`` makes it refuse all instead. The
    authenticator's domain must be the socket's own: ``*`` does not match a named one.

    Returns:
        The authenticator, to be stopped after the socket is closed.
    """
    authorised.mkdir(parents=True, exist_ok=True, mode=0o700)
    socket.curve_server = True
    socket.curve_publickey = keys.public
    socket.curve_secretkey = keys.secret
    socket.zap_domain = _ZAP_DOMAIN
    socket.setsockopt(zmq.ZAP_ENFORCE_DOMAIN, 1)
    authenticator = ThreadAuthenticator(context)
    authenticator.configure_curve_callback(domain=_ZAP_DOMAIN.decode(), credentials_provider=_Authorised(authorised))
    authenticator.start()
    return authenticator


def mechanism_of(endpoint: str, timeout_sec: float) -> str | None:
    """Return the security mechanism that a TCP endpoint announces, ``NULL`` or ``CURVE``; None if that is not clear.

    The first 64 bytes of a ZeroMQ connection name it, in the clear (ZMTP 3.1, "Greeting"). We send the signature and the
    version and no more: who reads that our mechanism is another hangs up before it has sent its own.
    """
    host, _, port = endpoint.removeprefix("tcp://").rpartition(":")
    give_up = time.monotonic() + timeout_sec
    greeting = b""
    try:
        with socket_module.create_connection((host.strip("[]"), int(port)), timeout_sec) as connection:
            connection.sendall(b"\xff" + bytes(8) + b"\x7f\x03\x01")
            while len(greeting) < 32:
                connection.settimeout(max(0.001, give_up - time.monotonic()))
                more = connection.recv(64)
                if not more:
                    break
                greeting += more
    except (OSError, ValueError):
        return None
    spoken = greeting[12:32].rstrip(b"\0")
    return spoken.decode() if greeting[:1] == b"\xff" and spoken in (b"NULL", b"CURVE") else None


def has_curve() -> bool:
    """Return whether the installed ZeroMQ library supports CURVE."""
    return bool(zmq.has("curve"))


def zmq_version() -> str:
    """Return the version of the installed ZeroMQ library."""
    return str(zmq.zmq_version())
