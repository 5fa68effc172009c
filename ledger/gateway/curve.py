"""Keys: CURVE certificates on disk, and a server that accepts only those it was told to.

Files are those of ``zmq.auth``. It writes secret keys for everybody to read, so they are made in a private folder first and
moved into place with the rights of their owner only.
"""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
from pathlib import Path
from typing import Final

import zmq
import zmq.auth
from attrs import field, frozen
from zmq.auth.thread import ThreadAuthenticator

from ledger.errors import BadValue

_ZAP_DOMAIN: Final = b"ledger"
_OWNER_ONLY: Final = 0o600
_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO


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
    if not name or Path(name).name != name or name.startswith("."):
        raise BadValue(f"expected a plain name for a pair of keys, found {name!r}")
    public, secret = folder / f"{name}.key", folder / f"{name}.key_secret"
    there = [str(path) for path in (public, secret) if path.exists()]
    if there:
        raise BadValue(f"{', '.join(there)} exists: keys are never overwritten; take another name, or move it away")
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".making-") as private:  # made with the rights of its owner only
        zmq.auth.create_certificates(private, name)
        made = Path(private)
        (made / secret.name).chmod(_OWNER_ONLY)
        for path in (public, secret):
            os.link(made / path.name, path)  # unlike a rename, it fails where somebody was faster
    return public, secret


def authorise(public_file: Path, folder: Path) -> Path:
    """Let a server whose folder of authorised clients this is accept a client's public key. Returns the file made.

    Raises:
        BadValue: It is no public key, or it is a secret one.
    """
    public, secret = _read(public_file)
    if secret is not None:
        raise BadValue(f"{public_file} holds a secret key: authorise the public one, and never copy the secret one")
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    for path in sorted(folder.glob("*.key")):
        if _read(path)[0] == public:
            return path
    copied = folder / public_file.name
    if copied.exists():
        raise BadValue(f"{copied} exists with another key: rename {public_file.name} first")
    shutil.copyfile(public_file, copied)
    return copied


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


def _read(path: Path) -> tuple[bytes, bytes | None]:
    try:
        public, secret = zmq.auth.load_certificate(path)
    except (OSError, ValueError) as error:
        raise BadValue(f"{path}: expected a file of keys (ledger keys make), found none: {error}") from None
    return public, secret


def _read_secret(path: Path) -> tuple[bytes, bytes]:
    public, secret = _read(path)
    if secret is None:
        raise BadValue(f"{path} holds no secret key: name the file that ends in .key_secret")
    if os.name == "posix" and path.stat().st_mode & _OTHERS:
        raise BadValue(f"others can read the secret key {path}: chmod 600 it, and make new keys if they may have")
    return public, secret


def secure_server(
    socket: zmq.Socket[bytes], context: zmq.Context[zmq.Socket[bytes]], keys: ServerKeys, authorised: Path
) -> ThreadAuthenticator:
    """Let a server's socket accept only clients whose public keys lie in a folder. To be called before it is bound.

    A CURVE server without an authenticator accepts any client; ``ZAP_ENFORCE_DOMAIN`` makes it refuse all instead. The
    authenticator's domain must be the socket's own: ``*`` does not match a named one.

    Returns:
        The authenticator, to be stopped after the socket is closed.
    """
    authenticator = ThreadAuthenticator(context)
    authenticator.start()
    authorised.mkdir(parents=True, exist_ok=True, mode=0o700)
    authenticator.configure_curve(domain=_ZAP_DOMAIN.decode(), location=authorised)
    socket.curve_server = True
    socket.curve_publickey = keys.public
    socket.curve_secretkey = keys.secret
    socket.zap_domain = _ZAP_DOMAIN
    socket.setsockopt(zmq.ZAP_ENFORCE_DOMAIN, 1)
    return authenticator


def has_curve() -> bool:
    """Return whether the ZeroMQ library at hand speaks CURVE."""
    return bool(zmq.has("curve"))
