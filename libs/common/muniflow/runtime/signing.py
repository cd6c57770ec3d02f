"""Keys that sign and verify what batches allow (`muniflow.model.allowed`): Ed25519, in files in PEM.

The first key of a file signs; all of them verify. Public keys may stand in certificates, as Helm makes them: of these
nothing but the key counts.
"""

import base64
import binascii
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from muniflow.model.allowed import signed_text
from muniflow.model.grant import Grant
from muniflow.model.messages import Task

_BLOCK: Final = re.compile(rb"-----BEGIN ([A-Z ]+)-----.+?-----END \1-----", re.DOTALL)
VerifyKeys = Mapping[str, Ed25519PublicKey]
"""Public keys by their ids."""


@dataclass(frozen=True)
class SigningKey:
    """A key that signs."""

    private: Ed25519PrivateKey = field(repr=False)
    id: str

    def sign(self, task: Task, sources: tuple[str, ...]) -> Grant:
        """Sign for a batch: `task` is one of its tasks as a worker reads it, `sources` is where it may read."""
        signature = base64.urlsafe_b64encode(self.private.sign(signed_text(task, sources)))
        return Grant(key=self.id, sources=sources, signature=signature.rstrip(b"=").decode())


def verified(task: Task, grant: Grant, key: Ed25519PublicKey) -> bool:
    """Whether this key has signed this grant for the batch of this task."""
    try:
        signature = base64.urlsafe_b64decode(f"{grant.signature}==".encode())
        key.verify(signature, signed_text(task, grant.sources))
    except (InvalidSignature, binascii.Error, ValueError):
        return False
    return True


def id_of(key: Ed25519PublicKey) -> str:
    """The id of a key, on both sides: the start of its SHA-256."""
    return hashlib.sha256(key.public_bytes(Encoding.Raw, PublicFormat.Raw)).hexdigest()[:8]


def new_signing_key() -> SigningKey:
    """Make a key."""
    private = Ed25519PrivateKey.generate()
    return SigningKey(private, id_of(private.public_key()))


def write_signing_key(key: SigningKey) -> str:
    """A key as PEM."""
    return key.private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def write_verify_key(key: Ed25519PublicKey) -> str:
    """A public key as PEM."""
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def read_signing_keys(pem: bytes) -> tuple[SigningKey, ...]:
    """The keys of a file, the one that signs first.

    Raises:
        ValueError: it has none, or one of another kind.
    """
    keys = []
    for block in _blocks(pem):
        private = load_pem_private_key(block, None)
        if not isinstance(private, Ed25519PrivateKey):
            raise _other_kind()
        keys.append(SigningKey(private, id_of(private.public_key())))
    return tuple(keys)


def read_verify_keys(pem: bytes) -> VerifyKeys:
    """The public keys of a file.

    Raises:
        ValueError: it has none, or one of another kind.
    """
    keys = {}
    for block in _blocks(pem):
        if block.startswith(b"-----BEGIN CERTIFICATE"):
            public = x509.load_pem_x509_certificate(block).public_key()
        else:
            public = load_pem_public_key(block)  # type: ignore[assignment]  # it returns more kinds; one is taken
        if not isinstance(public, Ed25519PublicKey):
            raise _other_kind()
        keys[id_of(public)] = public
    return keys


def _blocks(pem: bytes) -> list[bytes]:
    blocks = [found.group() for found in _BLOCK.finditer(pem)]
    if not blocks:
        raise ValueError("it has no key in PEM")
    return blocks


def _other_kind() -> ValueError:
    return ValueError("it has a key of another kind than Ed25519")
