"""The gateway's own settings."""

from collections.abc import Mapping
from pathlib import Path

from pydantic import Field, field_validator

from muniflow.model.keys import UPLOADS, key_problem
from muniflow.runtime.settings import GatewayAddress
from muniflow.runtime.state_folder import keys_file
from muniflow_gateway.auth.addresses import read_networks


class GatewaySettings(GatewayAddress):
    """What the gateway needs beside broker, stores and process settings."""

    coordinator_url: str = "http://127.0.0.1:8000"
    """Base of the coordinator's HTTP interface."""
    api_keys_file: str | None = None
    """Hashed API keys, one JSON object a line; read again when it changes. Once it was there, keys are asked for. Left
    out: where `muniflow up` keeps them."""
    uploads_prefix: str = UPLOADS
    """Where uploaded images go in the source store. Hidden, so that a batch over the whole root leaves them out, and
    no batch can name what was sent with another."""
    durable_uploads: bool = True
    """Whether an upload survives a power failure once it is answered (fsync)."""

    public_url: str = ""
    """Where browsers find the gateway, `https://imagery.example.org`. With `https:` the cookie of the page is `Secure`,
    and browsers are told to use nothing else."""

    max_request_bytes: int = Field(2 * 2**30, ge=1)
    """Body of one request; counted while it streams in."""
    max_file_bytes: int = Field(512 * 2**20, ge=1)
    """One image."""
    max_files: int = Field(1000, ge=1)
    """Images of one request; more of them are named from the store."""
    max_field_bytes: int = Field(2**20, ge=1)
    """`actions` or `batch`, and the body of a JSON request."""
    max_header_bytes: int = Field(32 * 1024, ge=1024)
    """Request line and headers."""
    max_uploads: int = Field(128, ge=1, le=1024)
    """Uploads at the same time; further ones get 503."""
    max_uploads_per_key: int = Field(112, ge=1)
    """Of these, uploads under one key; further ones get 503."""
    max_connections: int = Field(2000, ge=1)
    """Open connections; beyond it, the one that waits longest for a request is closed. Never more than the process may
    have file descriptors."""
    max_connections_per_address: int = Field(0, ge=0)
    """Of these, connections of one address (requests, where a trusted proxy passes them on); 0: as many as of all. Only
    for clients who connect directly or through `trusted_proxies`: behind another proxy all have its address."""
    trusted_proxies: str = ""
    """Networks and addresses of proxies, with commas, whose `X-Forwarded-For` says the address of a client."""
    max_requests_per_key: int = Field(128, ge=1)
    """Requests under one key that are served at the same time, downloads and event streams too, but not those that only
    wait for a batch; further ones get 503."""
    head_timeout_s: float = Field(10.0, gt=0)
    """From connecting, or from the first byte, to the end of a request's head."""
    body_timeout_s: float = Field(30.0, gt=0)
    """Longest silence of a client in the middle of its body."""
    body_bytes_per_s: int = Field(1024, ge=0)
    """What a body brings at least, in the mean over each time of that length."""
    send_timeout_s: float = Field(60.0, gt=0)
    """Longest time in which a client reads nothing of its answer."""
    max_backlog_images: int = Field(2_000_000, ge=1)
    """Images not settled, of all batches; past it new batches get 503."""

    requests_per_minute: int = Field(6000, ge=1)
    """Per key. The page makes about 120, and one more for each picture that it shows."""
    mebibytes_per_hour: int = Field(100 * 1024, ge=1)
    """Uploaded per key."""
    megapixels_per_hour: int = Field(0, ge=0)
    """Deprecated: `day_budget` counts over all gateways and AMQP. Uploaded per key, and made of it by forms; 0: any."""

    publish_timeout_s: float = Field(15.0, gt=0)
    """Longest wait for the broker's confirm."""
    answer_s: float = Field(2.0, ge=0)
    """Longest wait for the coordinator's word on a JSON batch, before 202 without it."""
    max_wait_s: float = Field(300.0, gt=0)
    """Largest `wait` of a request; a larger one is cut to it."""
    max_streams: int = Field(256, ge=1)
    """Open event streams, half of them under one key."""
    max_waiting: int = Field(1024, ge=1)
    """Requests that wait for the end of a batch, half of them under one key."""

    @property
    def behind_tls(self) -> bool:
        """Whether browsers come over HTTPS, which ends before the gateway."""
        return self.public_url.startswith("https:")

    @field_validator("public_url")
    @classmethod
    def _is_a_url(cls, text: str) -> str:
        if text and not text.startswith(("http://", "https://")):
            raise ValueError("write where browsers find the gateway, for example https://imagery.example.org")
        return text

    @field_validator("trusted_proxies")
    @classmethod
    def _are_networks(cls, text: str) -> str:
        try:
            read_networks(text)
        except ValueError as error:
            raise ValueError(f"{error}; write networks with commas, for example 10.0.0.0/8") from None
        return text

    def keys_path(self, env: Mapping[str, str]) -> Path:
        """Where the API keys are, in a process with these variables.

        Raises:
            Invalid: those of an earlier muniflow are in another place.
        """
        return Path(self.api_keys_file) if self.api_keys_file else keys_file(env)

    @field_validator("uploads_prefix")
    @classmethod
    def _can_be_named(cls, prefix: str) -> str:
        problem = None if prefix == UPLOADS else key_problem(prefix)
        if problem is not None:
            raise ValueError(f"{problem}; {UPLOADS} is the one hidden prefix that is allowed")
        return prefix
