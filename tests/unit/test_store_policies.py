"""Policies of the stores: each allows what the table of rights says, and nothing else."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from tests.support.guarded_s3 import DELETE, LIST, READ, WRITE, allows

from muniflow.errors import Invalid
from muniflow.store.policies import azure_policy, gcs_policy, s3_bucket_policies, s3_policy
from muniflow.store.rights import RIGHTS, ROOTS, Root

ROOT = Path(__file__).parents[2]
S3: dict[Root, str] = {"source": "s3://imagery/source", "work": "s3://scratch", "output": "s3://imagery/out/put/"}
PLACES = {
    "source": ("imagery", "source/"),
    "work": ("scratch", ""),
    "output": ("imagery", "out/put/"),
}
OBJECTS = {"read": READ, "write": WRITE, "delete": DELETE}
KEYS = ("a.jpg", "b/report.json", ".muniflow/uploads/k/a.jpg", "helm-test-1/a.jpg")


def granted(service: str, root: str, right: str, key: str) -> bool:
    return any(
        grant.root == root
        and right in grant.rights
        and key.startswith(grant.below)
        and not (right == "write" and grant.but and key.endswith(grant.but))
        for grant in RIGHTS[service]
    )


@pytest.mark.parametrize("service", RIGHTS)
def test_s3_allows_just_what_is_granted(service):
    policy = s3_policy(service, S3)
    for root in ROOTS:
        bucket, prefix = PLACES[root]
        for key in KEYS:
            for right, action in OBJECTS.items():
                resource = f"arn:aws:s3:::{bucket}/{prefix}{key}"
                assert allows(policy, action, resource) == granted(service, root, right, key), (root, right, key)
    for action in OBJECTS.values():
        assert not allows(policy, action, "arn:aws:s3:::imagery/elsewhere/a.jpg")
        assert not allows(policy, action, "arn:aws:s3:::another/source/a.jpg")
    listed = {
        (statement["Resource"], statement.get("Condition", {}).get("StringLikeIfExists", {}).get("s3:prefix"))
        for statement in policy["Statement"]
        if statement["Action"] == LIST
    }
    assert listed == {
        (f"arn:aws:s3:::{PLACES[grant.root][0]}", f"{PLACES[grant.root][1]}{grant.below}*" if grant.root != "work"
         else None)
        for grant in RIGHTS[service] if {"list", "absent"} & set(grant.rights)
    }  # fmt: skip


def test_the_built_in_server_lets_no_step_list():
    """It tells whoever may read that a blob is absent; Amazon only whoever may list."""
    policies = s3_bucket_policies(S3, {service: [service] for service in RIGHTS})
    for service in RIGHTS:
        may = {
            (root, bucket)
            for root, (bucket, _) in PLACES.items()
            if allows({"Statement": of_user(policies[bucket], service)}, LIST, f"arn:aws:s3:::{bucket}")
        }
        granted_in = {PLACES[grant.root][0] for grant in RIGHTS[service] if "list" in grant.rights}
        assert {bucket for _, bucket in may} == granted_in
    for statement in (each for policy in policies.values() for each in of_user(policy, "step")):
        assert statement["Action"] != LIST
        assert statement["Action"]


def of_user(policy, user):
    return [each for each in policy["Statement"] if user in each["Principal"]["AWS"]]


def test_gcs_grants_roles_under_conditions():
    roots: dict[Root, str] = {"source": "gs://imagery/source", "work": "gs://scratch", "output": "gs://imagery/output"}
    policy = gcs_policy("step", roots)
    found = {
        (item["bucket"], item.get("condition", {}).get("expression")): policy["roles"][item["role"]]
        for item in policy["bindings"]
    }
    objects = "projects/_/buckets/imagery/objects/"
    assert found.keys() == {
        ("imagery", f'resource.name.startsWith("{objects}source/")'),
        ("imagery", None),  # listing, which no name of an object is a condition of
        ("scratch", None),
        ("imagery", f'resource.name.startsWith("{objects}output/") && !resource.name.endsWith(".json")'),
    }
    of_sources = found["imagery", f'resource.name.startsWith("{objects}source/")']
    assert of_sources["includedPermissions"] == ["storage.objects.get"]
    of_gateway = {
        each for role in gcs_policy("gateway", roots)["roles"].values() for each in role["includedPermissions"]
    }
    assert not {each for each in of_gateway if "update" in each or "setIamPolicy" in each}


def test_azure_assigns_roles_to_containers():
    policy = azure_policy("step", {"source": "az://imagery/source", "work": "az://scratch", "output": "az://results"})
    names = {
        item["container"]: (role["DataActions"], item.get("condition"))
        for role, item in zip(policy["roles"], policy["assignments"], strict=True)
    }
    blobs = "Microsoft.Storage/storageAccounts/blobServices/containers/blobs"
    no_list = f"(!(ActionMatches{{'{blobs}/read'}} AND SubOperationMatches{{'Blob.List'}}))"
    assert names == {
        "imagery": ([f"{blobs}/read"], f"{no_list} AND (@Resource[{blobs}:path] StringLike 'source/*')"),
        "scratch": ([f"{blobs}/read", f"{blobs}/write"], no_list),
        "results": ([f"{blobs}/write"], f"(@Resource[{blobs}:path] StringNotLike '*.json')"),
    }


@pytest.mark.parametrize("make", [s3_policy, gcs_policy, azure_policy])
def test_a_root_elsewhere_is_refused(make):
    with pytest.raises(Invalid, match=r"write .*://bucket"):
        make("gateway", dict.fromkeys(ROOTS, "file:///data"))


def test_the_tool_prints_it_and_the_guide_shows_that():
    stores = ["--source", "s3://imagery/source", "--work", "s3://imagery-work/work", "--output", "s3://imagery/output"]
    command = [sys.executable, str(ROOT / "tools/store-policies"), "step", *stores]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60)
    assert json.loads(done.stdout)["Version"] == "2012-10-17"
    guide = (ROOT / "docs/guides/store-credentials.md").read_text()
    assert f"```json\n{done.stdout}```" in guide
