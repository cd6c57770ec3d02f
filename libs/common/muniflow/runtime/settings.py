"""Settings as frozen models, read from the environment in one place: `read_env(Model, os.environ)`.

Field `amqp_url` is the variable `MUNIFLOW_AMQP_URL`, or a file of that name (`muniflow.runtime.secret_files`), and so
on; nothing reads the environment at import.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, ClassVar, Final, Literal, TypeVar

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    TypeAdapter,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from pydantic_core import PydanticCustomError

from muniflow.errors import Fault, Invalid
from muniflow.model.owners import Grants, read_grants
from muniflow.runtime.addresses import is_loopback
from muniflow.runtime.secret_files import read_secrets, with_secrets

PREFIX = "MUNIFLOW_"
Device = Literal["cpu", "opencl"]
"""Where pixels are computed; see `muniflow.compute.device`."""
CPU: Final = "cpu"


def _read_grants(value: object) -> object:
    if not isinstance(value, str):
        return value
    place = variable("source_grants")
    try:
        given = TypeAdapter(dict[str, list[str]]).validate_json(value)
    except ValidationError:
        raise Invalid((Fault(place, 'write JSON such as {"utrecht": ["utrecht/"]}'),)) from None
    return read_grants(given, place)


def _write_grants(grants: Grants) -> str:
    return json.dumps(grants)


GrantsSetting = Annotated[Grants, BeforeValidator(_read_grants), PlainSerializer(_write_grants, return_type=str)]
"""Grants as a setting: JSON in the environment."""


class Settings(BaseModel):
    """Base of all settings: frozen."""

    model_config: ClassVar[ConfigDict] = ConfigDict(frozen=True, extra="forbid")


class BrokerSettings(Settings):
    """How to reach RabbitMQ."""

    amqp_url: str = "amqp://guest:guest@127.0.0.1:5672/%2F"
    """The nodes of a cluster are separated by commas: `amqp://user:password@a:5672,b:5672/vhost`. Each process takes
    them in an order of its own, and the next one where one is away."""
    amqp_username: str | None = None
    """The user, instead of the one in the URL."""
    amqp_password: str | None = None
    """The password, instead of the one in the URL."""
    amqp_ca_file: str | None = None
    """Certificates of those who may sign the broker's, for `amqps:`; left out: those of the system."""
    secrets_dir: str | None = None
    """Where `muniflow.runtime.secret_files` found them. They are read again for each connection."""
    heartbeat_s: int = Field(30, ge=5, le=300)
    blocked_timeout_s: float = Field(86_400.0, gt=0)
    """A connection that the broker blocks (memory or disk alarm) for longer is closed and opened again. Closing it does
    not end the alarm: what a worker holds is delivered again and counts towards the delivery limit. So the default is
    longer than a night, as long as an alarm may last unseen."""
    connect_timeout_s: float = Field(10.0, gt=0)
    reconnect_max_s: float = Field(15.0, gt=0)
    """Longest pause between two attempts to connect."""
    new_queue_wait_s: float = Field(1.5, ge=0, le=30)
    """The age of a new queue when it takes its first message. A single node that is killed sooner than a second after
    it made a queue forgets it, with all that it has confirmed. On a cluster, 0 is safe."""
    amqp_user_id: bool = True
    """Whether messages name the user of the URL as their sender (`user_id`), by whom owners, and workers of different
    steps, are told apart. Off where the broker knows its users by other names, as with OAuth 2: it refuses such
    messages."""


class OwnerSettings(Settings):
    """What owners may do; the coordinator and the gateways have the same."""

    source_grants: GrantsSetting = {}
    """Prefixes of the source store that owners may read, as JSON: `{"utrecht": ["utrecht/", "shared/"]}`. An owner who
    is not named reads `<owner>/` and what it uploads; `default` reads everything."""


Unsigned = Literal["accept", "refuse"]
"""What becomes of a task that is not signed."""


class GrantSettings(Settings):
    """How tasks are signed, and held against what was signed (docs/adr/0049-signed-grants.md)."""

    signing_key_file: str | None = None
    """The coordinator's: Ed25519 keys in PEM; the first one signs. Left out: tasks are not signed."""
    verify_keys_file: str | None = None
    """The workers': public keys in PEM. Left out: nothing is verified."""
    unsigned_tasks: Unsigned = "accept"
    """`accept`: as from a coordinator or over a worker of the build before. `refuse` once all are of this build, and
    the batches that were accepted before have ended; the same for coordinator and workers."""


class StoreSettings(Settings):
    """The three roots; a batch can name nothing outside the first and the last."""

    source_url: str = "file://./"
    """Where images and manifests are read."""
    work_url: str = "file://.muniflow/work"
    """Where raw intermediates live until their image settles."""
    output_url: str = "file://.muniflow/output"
    """Where outputs and reports are written."""
    durable_outputs: bool = True
    """Whether an output survives a power failure before its image is settled (fsync)."""


class DeviceSettings(Settings):
    """What every process that computes pixels has."""

    device: Device = CPU
    """`opencl` computes on the OpenCL device of this machine, within 1 gray level of `cpu`; without one it does not
    start."""


class MachineSettings(Settings):
    """What coordinator and workers know of the machine they run on."""

    shared_cores: float | None = Field(None, gt=0, allow_inf_nan=False)
    """Cores of the one machine on which all stages run; left out, each replica has its own. For forecasts: workers
    then report the CPU time of tasks, because on shared cores their wall clock also counts the others' work."""


class ProcessSettings(Settings):
    """What every long-running process has."""

    http_bind: str = "127.0.0.1:0"
    """Address of `/metrics`, `/livez` and `/readyz`; port 0 takes a free one."""
    log_format: str = Field("console", pattern="^(console|json)$")
    log_level: str = Field("INFO", pattern="^(DEBUG|INFO|WARNING|ERROR)$")


class GatewayAddress(Settings):
    """Where the gateway listens, and whether it asks for API keys there."""

    gateway_bind: str = "127.0.0.1:8080"
    """Address of the API and the page."""
    gateway_open: bool = False
    """Whether requests of this machine are served without an API key, as long as there is no key file. Only at a
    loopback address, and for a machine of one's own: all its users and programs are let in."""

    @field_validator("gateway_open")
    @classmethod
    def _only_this_machine(cls, value: bool, info: ValidationInfo) -> bool:
        bind = info.data.get("gateway_bind", "")
        if value and not is_loopback(bind.rpartition(":")[0]):
            raise PydanticCustomError(
                "open_to_others",
                "open is only a loopback address, and {name}={bind} is reached from elsewhere: "
                "set one of the two otherwise, for example {name}=127.0.0.1:8080",
                {"name": variable("gateway_bind"), "bind": bind},
            )
        return value


_CREDENTIALS = ("amqp_url", "amqp_username", "amqp_password")
SettingsModel = TypeVar("SettingsModel", bound=Settings)


def variable(field: str) -> str:
    """The environment variable of a field."""
    return PREFIX + field.upper()


def read_env(model: type[SettingsModel], env: Mapping[str, str]) -> SettingsModel:
    """Read settings; a variable that is empty counts as not set, and a file goes before a variable.

    Raises:
        Invalid: naming each variable that is wrong.
    """
    env = with_secrets(env)
    values = {field: env[variable(field)] for field in model.model_fields if env.get(variable(field))}
    try:
        return model.model_validate(values)
    except ValidationError as error:
        faults = [
            Fault(variable(str(item["loc"][0])), f"{item['msg']} (it is {item['input']!r})") for item in error.errors()
        ]
        raise Invalid(tuple(faults)) from None


def read_again(settings: BrokerSettings) -> BrokerSettings:
    """The settings with what the files of `secrets_dir` hold now: a password may have changed.

    Raises:
        Invalid: they cannot be read.
    """
    if settings.secrets_dir is None:
        return settings
    found = read_secrets(Path(settings.secrets_dir))
    changed = {field: found[variable(field)] for field in _CREDENTIALS if found.get(variable(field))}
    return settings.model_copy(update=changed)


def to_env(*settings: Settings) -> dict[str, str]:
    """The variables that give these settings to another process."""
    return {
        variable(field): str(value)
        for model in settings
        for field, value in model.model_dump(mode="json", exclude_none=True).items()
    }
