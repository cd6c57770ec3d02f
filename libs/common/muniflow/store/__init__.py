"""Blobs under keys: a local volume, or S3, GCS and Azure, behind one interface (`muniflow.store.types`)."""

from muniflow.store.open import open_store
from muniflow.store.types import Blob, Store

__all__ = ["Blob", "Store", "open_store"]
