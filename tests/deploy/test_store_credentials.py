"""Which credentials of the store each part gets, and how the built-in server learns what they allow."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from functools import partial

import pytest
from tests.deploy.chart import CHART, files_of, load, name_of, of_kind, pods, rendered, template
from tests.support.guarded_s3 import DELETE, LIST, READ, WRITE, allows
from tests.support.waiting import eventually

from muniflow.errors import NotFound, Unavailable
from muniflow.store import open_store
from muniflow.store.rights import RIGHTS, ROOTS
from muniflow_cli.stack.ports import free_ports

PARTS = ("coordinator", "gateway", "test", "step-blur", "step-resize", "step-split")
S3 = ("store.kind=s3", "store.urls.source=s3://a/s", "store.urls.work=s3://b/w", "store.urls.output=s3://a/o")


def store_secrets(documents) -> dict[str, str]:
    """The Secret with the store credentials of each part, or nothing."""
    found = {}
    for pod in pods(documents):
        part = pod.partition("/muniflow-")[2]
        if part in PARTS:
            whole = [secret for secret, key in files_of(documents, pod).values() if key == "*"]
            found[part] = whole[0] if whole else ""
    return found


def settled(*settings: str):
    done = template(*(part for setting in settings for part in ("--set", setting)))
    assert done.returncode == 0, done.stderr
    return load(done.stdout)


def test_the_built_in_store_knows_every_part_by_a_key_of_its_own():
    documents = rendered("default")
    assert store_secrets(documents) == {part: f"muniflow-store-{part}" for part in PARTS}
    made = {item["metadata"]["name"]: item["data"] for item in of_kind(documents, "Secret") if "store" in name_of(item)}
    assert made.keys() == {"muniflow-store", *(f"muniflow-store-{part}" for part in PARTS)}
    assert len({data["AWS_SECRET_ACCESS_KEY"] for data in made.values()}) == len(made)
    root = [name for name in pods(documents) if "muniflow-store'" in str(pods(documents)[name]["spec"]["volumes"])]
    assert root == ["StatefulSet/muniflow-store"], "nobody else has the key that may do everything"


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (("store.builtin.credentials=existing",), dict.fromkeys(PARTS, "muniflow-store")),
        (("store.builtin.credentials=existingPerPart",), {part: f"muniflow-store-{part}" for part in PARTS}),
        (S3, dict.fromkeys(PARTS, "")),
        ((*S3, "store.existingSecret=all"), dict.fromkeys(PARTS, "all")),
        ((*S3, "store.existingSecret=all", "store.secrets.gateway=g", "store.secrets.step=s",
          "store.secrets.step-blur=b"),
         {"coordinator": "all", "gateway": "g", "test": "all", "step-blur": "b", "step-resize": "s",
          "step-split": "s"}),
    ],
)  # fmt: skip
def test_credentials_are_one_for_all_or_one_for_each(settings, expected):
    assert store_secrets(settled(*settings)) == expected


def test_identities_are_one_for_each_too():
    documents = settled(
        *S3, "serviceAccount.annotations.role=all", "serviceAccount.annotationsOf.gateway.role=g",
        "serviceAccount.annotationsOf.step.role=s", "serviceAccount.annotationsOf.step-blur.role=b",
    )  # fmt: skip
    accounts = of_kind(documents, "ServiceAccount")
    found = {
        item["metadata"]["name"].removeprefix("muniflow-"): item["metadata"].get("annotations") for item in accounts
    }
    assert found.pop("broker") is None
    assert found == {
        "coordinator": {"role": "all"}, "test": {"role": "all"}, "gateway": {"role": "g"},
        "step-blur": {"role": "b"}, "step-resize": {"role": "s"}, "step-split": {"role": "s"},
    }  # fmt: skip


@pytest.mark.parametrize("setting", ["store.secrets.steps=x", "serviceAccount.annotationsOf.broker.a=b"])
def test_a_part_that_there_is_not_is_refused(setting):
    done = template("--set", setting)
    assert done.returncode != 0
    assert "does not match pattern" in done.stderr


@pytest.fixture
def prepared(tmp_path):
    """What the init container makes: DATA, USERS and IAM."""
    folders = [tmp_path / name for name in ("data", "users", "iam")]
    for folder in folders:
        folder.mkdir()
    for part in PARTS:
        (tmp_path / "users" / part).mkdir()
        (tmp_path / "users" / part / "AWS_ACCESS_KEY_ID").write_text(f"key-{part}\n")
        (tmp_path / "users" / part / "AWS_SECRET_ACCESS_KEY").write_text(f"secret-{part}")
    urls = {f"MUNIFLOW_{root.upper()}_URL": f"s3://{root}" for root in ROOTS}
    command = [sys.executable, str(CHART / "files/store/prepare.py"), *map(str, folders)]
    done = subprocess.run(command, env={**os.environ, **urls}, check=False, capture_output=True, text=True, timeout=60)
    if "Operation not supported" in done.stderr:
        pytest.skip("the file system of the tests has no extended attributes")
    assert done.returncode == 0, done.stderr
    return tmp_path


def test_the_built_in_store_is_told_the_users_and_what_each_may_do(prepared):
    users = json.loads((prepared / "iam/users.json").read_text())["accessAccounts"]
    assert users["key-gateway"] == {"access": "key-gateway", "secret": "secret-gateway", "role": "user"}
    assert users.keys() == {f"key-{part}" for part in PARTS}
    assert (prepared / "iam/users.json").stat().st_mode & 0o777 == 0o600
    actions = {"read": READ, "list": LIST, "write": WRITE, "delete": DELETE}
    for root in ROOTS:
        policy = json.loads(os.getxattr(prepared / "data" / root, "user.policy"))
        for part in PARTS:
            own = [item for item in policy["Statement"] if item["Principal"]["AWS"].count(f"key-{part}")]
            for right, action in actions.items():
                bucket = f"arn:aws:s3:::{root}"
                resource = bucket if right == "list" else f"{bucket}/.muniflow/uploads/a.jpg"
                service = part.partition("-")[0]
                granted = any(
                    grant.root == root and right in grant.rights and grant.below != "helm-test-"
                    for grant in RIGHTS[service]
                )
                if (service, root, right) != ("test", "source", "list"):
                    assert allows({"Statement": own}, action, resource) == granted, (part, root, right)


@pytest.mark.skipif(not shutil.which("versitygw"), reason="versitygw is not on the path")
def test_the_built_in_server_itself_refuses_what_is_not_granted(prepared, monkeypatch):
    (port,) = free_ports(1)
    arguments = ["--port", f"127.0.0.1:{port}", "--quiet", "--iam-dir", prepared / "iam", "posix", prepared / "data"]
    keys = {"ROOT_ACCESS_KEY": "root", "ROOT_SECRET_KEY": "of the test"}
    server = subprocess.Popen(["versitygw", *map(str, arguments)], env={**os.environ, **keys})
    for name, value in {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}", "AWS_ALLOW_HTTP": "true", "AWS_REGION": "us-east-1",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)

    def store(part, root):
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", f"key-{part}")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", f"secret-{part}")
        return open_store(f"s3://{root}")

    def up():
        try:
            return store("gateway", "source").size("a") is None
        except Unavailable:
            return False

    try:
        eventually(up)
        store("gateway", "source").write(".muniflow/uploads/k/a.jpg", b"a")
        store("coordinator", "output").write("b/report.json", b"{}")
        store("coordinator", "source").delete_prefix(".muniflow/uploads/k/")
        step = {root: store("step-blur", root) for root in ROOTS}
        step["work"].write("x", b"x")
        step["output"].write("b/a-0.jpg", b"x")
        for which in ("source", "work"):
            assert step[which].size("gone") is None, "it tells that a blob is absent to who may not list"
            with pytest.raises(NotFound):
                step[which].read("gone")
        attacks: list[Callable[[], object]] = [
            *(partial(list, step[root].list(prefix)) for root in ROOTS for prefix in ("", "b/")),
            lambda: step["source"].write("a.jpg", b"x"),
            lambda: step["work"].delete("x"),
            lambda: step["output"].write("b/report.json", b"x"),
            lambda: step["output"].delete("b/report.json"),
            lambda: store("gateway", "source").write("a.jpg", b"x"),
            lambda: store("gateway", "work").read("x"),
        ]
        for attack in attacks:
            with pytest.raises(Unavailable, match="not allowed to"):
                attack()
    finally:
        server.terminate()
        server.wait()
