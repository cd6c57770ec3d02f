"""Settings from files, as a mounted Secret has them."""

import json
import os
from datetime import timedelta

import pika
import pytest
from tests.support.guarded_s3 import guarded_s3

from muniflow.errors import Invalid
from muniflow.runtime.secret_files import read_secrets, with_secrets
from muniflow.runtime.settings import BrokerSettings, StoreSettings, read_again, read_env, to_env
from muniflow.store import backend_secrets, open_store
from muniflow.transport.connection import each_node, nodes_of, user_of


@pytest.fixture
def folder(tmp_path):
    """As the kubelet mounts it: links to files of a hidden folder, which is replaced as a whole."""
    hidden = tmp_path / "..2026_11_29"
    hidden.mkdir()
    (tmp_path / "..data").symlink_to(hidden)
    for name, text in {
        "MUNIFLOW_AMQP_USERNAME": "ann\n",
        "MUNIFLOW_AMQP_PASSWORD": "p@ss/word:%2F\r\n",
        "AWS_SECRET_ACCESS_KEY": " with blanks ",
        "notes.txt": "no variable",
    }.items():
        (hidden / name).write_text(text)
        (tmp_path / name).symlink_to(f"..data/{name}")
    (tmp_path / "FOLDER").mkdir()
    return tmp_path


def test_a_file_is_a_variable_without_the_end_of_its_line(folder):
    assert read_secrets(folder) == {
        "MUNIFLOW_AMQP_USERNAME": "ann", "MUNIFLOW_AMQP_PASSWORD": "p@ss/word:%2F",
        "AWS_SECRET_ACCESS_KEY": " with blanks ",
    }  # fmt: skip


def test_settings_are_read_from_files_before_variables(folder):
    env = {"MUNIFLOW_SECRETS_DIR": str(folder), "MUNIFLOW_AMQP_USERNAME": "bob", "MUNIFLOW_WORK_URL": "w"}
    assert read_env(BrokerSettings, env).amqp_username == "ann"
    assert read_env(StoreSettings, env).work_url == "w"
    assert with_secrets({"A": "b"}) == {"A": "b"}


def test_who_one_is_at_the_broker_needs_no_quoting(folder):
    env = {"MUNIFLOW_SECRETS_DIR": str(folder), "MUNIFLOW_AMQP_URL": "amqp://broker:5673/city"}
    settings = read_env(BrokerSettings, env)
    parameters = nodes_of(settings, "test")[0]
    assert parameters.credentials == pika.PlainCredentials("ann", "p@ss/word:%2F")
    assert (parameters.host, parameters.port, parameters.virtual_host) == ("broker", 5673, "city")
    assert user_of(settings) == "ann"
    assert read_env(BrokerSettings, to_env(settings)) == settings, "for another process"


def test_a_url_with_several_nodes_may_be_in_a_file(folder):
    (folder / "MUNIFLOW_AMQP_URL").write_text("amqp://one,two/city")
    settings = read_env(BrokerSettings, {"MUNIFLOW_SECRETS_DIR": str(folder)})
    nodes = [nodes_of(node, "test") for node in each_node(settings)]
    assert [[(each.host, vars(each.credentials)["username"]) for each in node] for node in nodes] == [
        [("one", "ann")], [("two", "ann")],
    ]  # fmt: skip


def test_a_password_alone_may_be_in_a_file():
    settings = BrokerSettings(amqp_url="amqp://ann:old@broker/city", amqp_password="secret")  # noqa: S106
    assert nodes_of(settings, "test")[0].credentials == pika.PlainCredentials("ann", "secret")


def test_a_file_that_changed_counts_for_the_next_connection(folder):
    settings = read_env(BrokerSettings, {"MUNIFLOW_SECRETS_DIR": str(folder)})
    (folder / "..data" / "MUNIFLOW_AMQP_PASSWORD").write_text("changed")
    assert read_again(settings).amqp_password == "changed"  # noqa: S105
    assert nodes_of(settings, "test")[0].credentials == pika.PlainCredentials("ann", "changed")


@pytest.mark.parametrize("url", ["amqp://broker/city", "amqps://broker/city"])
def test_authorities_are_for_tls_and_must_be_there(url):
    settings = BrokerSettings(amqp_url=url, amqp_ca_file="/nowhere/ca.crt")
    with pytest.raises(Invalid, match=r"MUNIFLOW_AMQP_CA_FILE: (is for TLS|cannot read /nowhere/ca.crt: No such file)"):
        nodes_of(settings, "test")[0]


def test_a_folder_that_cannot_be_read_is_named(tmp_path):
    with pytest.raises(Invalid, match=f"MUNIFLOW_SECRETS_DIR: cannot read {tmp_path}/none: No such file"):
        read_env(StoreSettings, {"MUNIFLOW_SECRETS_DIR": str(tmp_path / "none")})
    (tmp_path / "MUNIFLOW_AMQP_URL").write_bytes(b"\xff")
    with pytest.raises(Invalid, match="MUNIFLOW_SECRETS_DIR: cannot read"):
        read_env(BrokerSettings, {"MUNIFLOW_SECRETS_DIR": str(tmp_path)})


def test_a_key_of_s3_is_read_again_and_other_credentials_are_handed_over(tmp_path):
    env = {"MUNIFLOW_SECRETS_DIR": str(tmp_path)}
    assert backend_secrets.from_files("s3", {}) == {}
    assert backend_secrets.from_files("s3", env) == {}
    for name, value in {"AWS_ACCESS_KEY_ID": "one", "AWS_SECRET_ACCESS_KEY": "k", "AWS_REGION": "north"}.items():
        (tmp_path / name).write_text(value)
    (tmp_path / "AZURE_STORAGE_ACCOUNT_KEY").write_text("az")
    found = backend_secrets.from_files("s3", env)
    assert found["config"] == {"aws_region": "north"}
    (tmp_path / "AWS_ACCESS_KEY_ID").write_text("two")
    credential = found["credential_provider"]()
    assert (credential["access_key_id"], credential["secret_access_key"]) == ("two", "k")
    assert backend_secrets.from_files("az", env) == {"config": {"azure_storage_account_key": "az"}}
    assert backend_secrets.from_files("gs", env) == {}


@pytest.mark.parametrize(
    ("scheme", "name"), [(scheme, name) for scheme, names in backend_secrets._IN_FILES.items() for name in names]
)
def test_the_store_takes_every_name_that_may_be_in_a_file(scheme, name, tmp_path, monkeypatch):
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_NAME", "test")
    key = '{"private_key": "x", "private_key_id": "x", "client_email": "x", "disable_oauth": true}'
    value = {"GOOGLE_SERVICE_ACCOUNT_KEY": key, "AZURE_STORAGE_ACCOUNT_NAME": "city", "AZURE_STORAGE_SAS_KEY": "a=b",
             "AZURE_STORAGE_SAS_TOKEN": "a=b"}.get(name, "eA==")  # fmt: skip
    if name in {"GOOGLE_SERVICE_ACCOUNT", "GOOGLE_APPLICATION_CREDENTIALS"}:
        user = {"type": "authorized_user", "client_id": "x", "client_secret": "x", "refresh_token": "x"}
        (tmp_path / "key.json").write_text(key if name == "GOOGLE_SERVICE_ACCOUNT" else json.dumps(user))
        value = str(tmp_path / "key.json")
    (tmp_path / name).write_text(value)
    monkeypatch.setenv("MUNIFLOW_SECRETS_DIR", str(tmp_path))
    open_store(f"{scheme}://city")


def test_another_setting_of_the_store_is_a_variable(tmp_path):
    (tmp_path / "AWS_PROXY_URL").write_text("x")
    with pytest.raises(Invalid, match=r"/AWS_PROXY_URL: make it a variable; in files are AWS_ACCESS_KEY_ID, "):
        backend_secrets.from_files("s3", {"MUNIFLOW_SECRETS_DIR": str(tmp_path)})


def test_the_store_uses_a_key_that_was_changed(tmp_path, monkeypatch):
    monkeypatch.setattr(backend_secrets, "READ_AGAIN", timedelta(0))
    for name in list(os.environ):
        if name.startswith("AWS_"):
            monkeypatch.delenv(name)
    nothing: dict[str, object] = {"Statement": []}
    with guarded_s3() as s3:
        s3.policies = {"one": nothing, "two": nothing}
        variables = {"AWS_ACCESS_KEY_ID": "one", "AWS_SECRET_ACCESS_KEY": "k", "AWS_REGION": "north"}
        for name, value in {**variables, "AWS_ENDPOINT_URL": s3.url, "AWS_ALLOW_HTTP": "true"}.items():
            (tmp_path / name).write_text(value)
        monkeypatch.setenv("MUNIFLOW_SECRETS_DIR", str(tmp_path))
        store = open_store("s3://city")
        for user in ("one", "two"):
            (tmp_path / "AWS_ACCESS_KEY_ID").write_text(user)
            with pytest.raises(Exception, match="not allowed"):
                store.read("a")
            assert s3.refused[-1][0] == user
