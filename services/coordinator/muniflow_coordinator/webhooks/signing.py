"""Secrets and signatures as Standard Webhooks has them (www.standardwebhooks.com). Pure."""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Mapping, Sequence

PREFIX = "whsec_"
LEAST_BYTES, MAX_BYTES = 24, 64
CONTENT_TYPE = "application/cloudevents+json; charset=utf-8"


def read_secret(text: str) -> bytes:
    """Return the key of a secret `whsec_<base64>`.

    Raises:
        ValueError: it is none; the text does not repeat it.
    """
    try:
        key = base64.b64decode(text.removeprefix(PREFIX), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if not text.startswith(PREFIX) or not LEAST_BYTES <= len(key) <= MAX_BYTES:
        raise ValueError(f"write {PREFIX} and {LEAST_BYTES} to {MAX_BYTES} random bytes as base64")
    return key


def signed(message: str, sent_at: float, body: bytes, keys: Sequence[bytes]) -> Mapping[str, str]:
    """Return the headers of a webhook; with several keys, while one replaces another, each signs it."""
    timestamp = str(int(sent_at))
    content = f"{message}.{timestamp}.".encode() + body
    signatures = (base64.b64encode(hmac.digest(key, content, hashlib.sha256)).decode() for key in keys)
    return {
        "Content-Type": CONTENT_TYPE,
        "webhook-id": message,
        "webhook-timestamp": timestamp,
        "webhook-signature": " ".join(f"v1,{signature}" for signature in signatures),
    }
