"""Settings from the environment."""

import pytest

from muniflow.errors import Invalid
from muniflow.runtime.settings import (
    BrokerSettings,
    GatewayAddress,
    ProcessSettings,
    StoreSettings,
    read_env,
    to_env,
    variable,
)


def test_a_field_is_a_variable():
    assert variable("amqp_url") == "MUNIFLOW_AMQP_URL"


def test_what_is_not_set_has_its_default():
    assert read_env(BrokerSettings, {}) == BrokerSettings()
    assert read_env(BrokerSettings, {"MUNIFLOW_AMQP_URL": "", "PATH": "/bin"}) == BrokerSettings()


@pytest.mark.parametrize(
    ("model", "env", "field", "value"),
    [
        (BrokerSettings, {"MUNIFLOW_AMQP_URL": "amqp://broker"}, "amqp_url", "amqp://broker"),
        (BrokerSettings, {"MUNIFLOW_HEARTBEAT_S": "12"}, "heartbeat_s", 12),
        (BrokerSettings, {"MUNIFLOW_RECONNECT_MAX_S": "0.5"}, "reconnect_max_s", 0.5),
        (StoreSettings, {"MUNIFLOW_DURABLE_OUTPUTS": "false"}, "durable_outputs", False),
        (ProcessSettings, {"MUNIFLOW_LOG_LEVEL": "DEBUG"}, "log_level", "DEBUG"),
    ],
)
def test_a_variable_is_read(model, env, field, value):
    assert getattr(read_env(model, env), field) == value


@pytest.mark.parametrize(
    ("model", "env"),
    [
        (BrokerSettings, {"MUNIFLOW_HEARTBEAT_S": "soon"}),
        (BrokerSettings, {"MUNIFLOW_HEARTBEAT_S": "1"}),
        (BrokerSettings, {"MUNIFLOW_CONNECT_TIMEOUT_S": "0"}),
        (ProcessSettings, {"MUNIFLOW_LOG_FORMAT": "xml"}),
    ],
)
def test_a_wrong_variable_is_named_with_its_value(model, env):
    ((name, value),) = env.items()
    with pytest.raises(Invalid) as caught:
        read_env(model, env)
    (fault,) = caught.value.faults
    assert fault.place == name
    assert value in fault.problem


@pytest.mark.parametrize("bind", ["127.0.0.1:1", "localhost:1", "[::1]:1", ""])
def test_open_at_an_address_of_this_machine(bind):
    env = {"MUNIFLOW_GATEWAY_BIND": bind, "MUNIFLOW_GATEWAY_OPEN": "true"}
    assert read_env(GatewayAddress, env).gateway_open
    assert not read_env(GatewayAddress, {"MUNIFLOW_GATEWAY_BIND": bind}).gateway_open


@pytest.mark.parametrize("bind", [":1", "0.0.0.0:1", "[::]:1", "192.0.2.1:1", "images.example:1", "nonsense"])
def test_open_to_others_is_refused_with_both_settings(bind):
    with pytest.raises(Invalid) as caught:
        read_env(GatewayAddress, {"MUNIFLOW_GATEWAY_BIND": bind, "MUNIFLOW_GATEWAY_OPEN": "true"})
    (fault,) = caught.value.faults
    assert fault.place == "MUNIFLOW_GATEWAY_OPEN"
    assert f"MUNIFLOW_GATEWAY_BIND={bind}" in fault.problem
    assert not read_env(GatewayAddress, {"MUNIFLOW_GATEWAY_BIND": bind, "MUNIFLOW_GATEWAY_OPEN": "false"}).gateway_open


def test_every_wrong_variable_is_named():
    with pytest.raises(Invalid) as caught:
        read_env(ProcessSettings, {"MUNIFLOW_LOG_FORMAT": "xml", "MUNIFLOW_LOG_LEVEL": "loud"})
    assert [fault.place for fault in caught.value.faults] == ["MUNIFLOW_LOG_FORMAT", "MUNIFLOW_LOG_LEVEL"]


def test_settings_survive_the_way_to_another_process():
    broker = BrokerSettings(amqp_url="amqp://x", heartbeat_s=11)
    store = StoreSettings(durable_outputs=False)
    env = to_env(broker, store)
    assert (read_env(BrokerSettings, env), read_env(StoreSettings, env)) == (broker, store)
