"""Ed25519 keys in PEM files, and what is done with them. Nothing here touches the network."""

from __future__ import annotations

import os
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from hsdc_schemas.errors import Exit, HsdcError, fail

END = b"-----END PUBLIC KEY-----"
LARGEST = 1 << 20
Trusted = Mapping[str, Ed25519PublicKey]


def new_pair(path: Path) -> str:
    """Write a new private key that only its owner may read, and `path`.pub beside it; the key's id.

    Raises HsdcError (E009) where one of the two is there already, and OSError.
    """
    beside = path.with_name(f"{path.name}.pub")
    for file in (path, beside):
        if os.path.lexists(file):
            raise fail(
                "E009", Exit.SPEC, f"{file} is there already", None, "choose another name: no key is written over"
            )
    key = Ed25519PrivateKey.generate()
    for file, data, mode in (
        (path, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()), 0o600),
        (beside, key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo), 0o644),
    ):
        handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        with os.fdopen(handle, "wb") as opened:
            opened.write(data)
            opened.flush()
            os.fsync(handle)
    return key_id(key.public_key())


def private_key(path: Path) -> Ed25519PrivateKey:
    """The private key in a PEM file. Raises HsdcError (E545)."""
    data = _read(path)
    try:
        key = load_pem_private_key(data, None)
    except TypeError:
        raise _unusable(path, "it is encrypted; hsdc asks for no passphrase") from None
    except (ValueError, UnsupportedAlgorithm):
        raise _unusable(path, "it holds no private key in PEM") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise _unusable(path, "its key is not of the kind ed25519")
    return key


def trusted_keys(path: Path) -> Trusted:
    """The public keys in a PEM file, one or several, by their ids. Raises HsdcError (E545)."""
    found = {}
    for part in _read(path).split(END)[:-1]:
        try:
            key = load_pem_public_key(part[part.rfind(b"-----BEGIN") :] + END + b"\n")
        except (ValueError, UnsupportedAlgorithm):
            raise _unusable(path, "one of its public keys cannot be read") from None
        if not isinstance(key, Ed25519PublicKey):
            raise _unusable(path, "one of its keys is not of the kind ed25519")
        found[key_id(key)] = key
    if not found:
        raise _unusable(path, "it holds no public key in PEM")
    return found


def key_id(key: Ed25519PublicKey) -> str:
    """The SHA-256 of a public key as it is exchanged, 64 hexadecimal digits."""
    return sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).hexdigest()


def is_signed(key: Ed25519PublicKey, signature: bytes, data: bytes) -> bool:
    """Whether a signature over some bytes is of this key."""
    try:
        key.verify(signature, data)
    except InvalidSignature:
        return False
    return True


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(LARGEST)
    except OSError as error:
        raise _unusable(path, f"it cannot be read: {error.strerror}") from None


def _unusable(path: Path, why: str) -> HsdcError:
    hint = "hsdc sign --new-key FILE makes a pair of keys: FILE to sign with, FILE.pub to trust"
    return fail("E545", Exit.ENVIRONMENT, f"the key file '{path}' cannot be used: {why}", None, hint)
