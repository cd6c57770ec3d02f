"""What the operator set for webhooks, read once at start."""

from dataclasses import dataclass, field
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, ClassVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from muniflow.errors import Fault, Invalid
from muniflow.model.batch import faults_of
from muniflow.model.callback import read_callback
from muniflow.runtime.settings import variable
from muniflow_coordinator.settings import CoordinatorSettings
from muniflow_coordinator.webhooks.policy import NEVER, Network, NotAllowed, WebhookPolicy
from muniflow_coordinator.webhooks.signing import read_secret

FILE, HOSTS, NETWORKS = variable("webhooks_file"), variable("webhook_hosts"), variable("webhook_networks")


def _checked(text: str) -> str:
    read_secret(text)
    return text


class _OwnerEntry(BaseModel):
    model_config: ClassVar[ConfigDict] = ConfigDict(extra="forbid", hide_input_in_errors=True)

    url: str | None = None
    secrets: list[Annotated[str, AfterValidator(_checked)]] = Field(min_length=1, max_length=5, repr=False)


_FILE: TypeAdapter[dict[str, _OwnerEntry]] = TypeAdapter(dict[str, _OwnerEntry])


@dataclass(frozen=True)
class OwnerWebhooks:
    """Of one owner."""

    url: str | None
    """Told the end of each batch that names no `callback` of its own."""
    keys: tuple[bytes, ...] = field(repr=False)
    """Sign what it is sent; several while one replaces another."""


@dataclass(frozen=True)
class WebhookConfig:
    """Who is told, and where that may be."""

    policy: WebhookPolicy = field(default_factory=lambda: WebhookPolicy(frozenset()))
    owners: dict[str, OwnerWebhooks] = field(default_factory=dict, repr=False)
    max_age_s: float = 86_400.0
    """So long an event is tried, in seconds."""

    @property
    def is_on(self) -> bool:
        """Whether there are webhooks at all."""
        return bool(self.policy.hosts)

    def url_of(self, owner: str, callback: str | None) -> str | None:
        """Return where the end of a batch is told, or `None`."""
        return callback or (self.owners[owner].url if owner in self.owners else None)

    def faults(self, owner: str, callback: str | None) -> tuple[Fault, ...]:
        """Return what is wrong with the `callback` of an owner's batch."""
        if callback is None:
            return ()
        if not self.is_on:
            text = f"there are no webhooks here: the operator names the hosts in {HOSTS} of the coordinator"
        elif owner not in self.owners:
            text = f"the owner {owner!r} has no secret to sign with: the operator puts one into {FILE}"
        else:
            try:
                self.policy.target(callback)
            except NotAllowed as refused:
                text = f"{refused} ({refused.code})"
            else:
                return ()
        return (Fault("callback", text),)


def read_config(settings: CoordinatorSettings) -> WebhookConfig:
    """Return what is set; nothing set: there are no webhooks.

    Raises:
        Invalid: a setting or the file is wrong; no text repeats a secret.
    """
    policy = WebhookPolicy(
        frozenset(_host(entry) for entry in _listed(settings.webhook_hosts)),
        tuple(_network(entry) for entry in _listed(settings.webhook_networks)),
        settings.webhook_loopback,
    )
    owners = {} if settings.webhooks_file is None else _read_file(Path(settings.webhooks_file))
    for owner, own in owners.items():
        if own.url is not None:
            try:
                policy.target(own.url)
            except NotAllowed as refused:
                raise Invalid((Fault(f"{FILE}: {owner}.url", str(refused)),)) from None
    return WebhookConfig(policy, owners, settings.webhook_max_age_hours * 3600)


def _listed(text: str) -> list[str]:
    return [entry.strip() for entry in text.split(",") if entry.strip()]


def _host(entry: str) -> tuple[str, int]:
    try:
        found = read_callback(f"https://{entry}")
    except ValueError:
        found = None
    if found is None or found.path != "/" or entry.endswith("/"):
        raise Invalid((Fault(HOSTS, f"{entry[:80]!r} is no host: write hooks.example.org or hooks.example.org:8443"),))
    return found.host, found.port


def _network(entry: str) -> Network:
    try:
        network = ip_network(entry)
    except ValueError:
        raise Invalid((Fault(NETWORKS, f"{entry[:80]!r} is no network: write 10.20.0.0/16"),)) from None
    if any(network.version == never.version and network.overlaps(never) for never in NEVER):
        text = f"{entry} holds loopback or link-local addresses, which are never sent to; name what is needed"
        raise Invalid((Fault(NETWORKS, text),))
    return network


def _read_file(path: Path) -> dict[str, OwnerWebhooks]:
    try:
        given = _FILE.validate_json(path.read_bytes())
    except OSError as error:
        raise Invalid((Fault(FILE, f"cannot be read: {error.strerror}"),)) from None
    except ValidationError as error:
        raise Invalid(tuple(Fault(f"{FILE}: {fault.place}", fault.problem) for fault in faults_of(error))) from None
    return {owner: OwnerWebhooks(entry.url, tuple(map(read_secret, entry.secrets))) for owner, entry in given.items()}
