"""Policies that allow a service what `muniflow.store.rights` says, and no more. Pure: URLs in, JSON out.

Everywhere `service` is a name of `RIGHTS` and `roots` the URL of each store; a root elsewhere raises `Invalid`.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from muniflow.errors import Fault, Invalid
from muniflow.store.rights import RIGHTS, Right, Root, RootRights

Roots = Mapping[Root, str]
"""The URL of each store, as in `MUNIFLOW_SOURCE_URL` and so on."""
Policy = dict[str, Any]

_S3_ARN = "arn:aws:s3:::"
_S3_OBJECT: Mapping[Right, tuple[str, ...]] = {
    "read": ("s3:GetObject",),
    "write": ("s3:PutObject", "s3:AbortMultipartUpload"),
    "delete": ("s3:DeleteObject",),
}
_GCS: Mapping[Right, tuple[str, ...]] = {
    "read": ("storage.objects.get",),
    # Who may not list is not told that an object is absent.
    "absent": ("storage.objects.list",),
    "list": ("storage.objects.list",),
    # Google asks for `delete` to replace an object, as a task that is delivered twice does.
    "write": (
        "storage.multipartUploads.abort",
        "storage.multipartUploads.create",
        "storage.objects.create",
        "storage.objects.delete",
    ),
    "delete": ("storage.objects.delete",),
}
_BLOBS = "Microsoft.Storage/storageAccounts/blobServices/containers/blobs"
# Azure has no action for listing: it is a part of `read`, which a condition takes away.
_AZURE: Mapping[Right, str] = {"read": "read", "absent": "read", "list": "read", "write": "write", "delete": "delete"}
_AZURE_NO_LIST = f"!(ActionMatches{{'{_BLOBS}/read'}} AND SubOperationMatches{{'Blob.List'}})"
_LISTING: frozenset[Right] = frozenset({"absent", "list"})
"""What Amazon and Google allow by the right to list."""


def s3_policy(service: str, roots: Roots) -> Policy:
    """The IAM policy of a service; roots are `s3://bucket/prefix`."""
    return _s3(s for grant in RIGHTS[service] for s in _s3_statements(grant, roots[grant.root], _LISTING))


def s3_bucket_policies(roots: Roots, principals: Mapping[str, Iterable[str]]) -> dict[str, Policy]:
    """The policy of each bucket for the built-in server, which knows users (`principals`: access keys of a service)."""
    found: dict[str, list[Policy]] = {_place(url, "s3")[0]: [] for url in roots.values()}
    for service, users in principals.items():
        for grant in RIGHTS[service]:
            bucket, _ = _place(roots[grant.root], "s3")
            # It tells everybody who may read that a blob is absent.
            statements = list(_s3_statements(grant, roots[grant.root], frozenset({"list"})))
            if "delete" in grant.rights:
                # It asks for this right on the bucket, not on each key, where several blobs are deleted at once.
                statements.append({"Effect": "Allow", "Action": "s3:DeleteObject", "Resource": f"{_S3_ARN}{bucket}"})
            found[bucket] += [{**statement, "Principal": {"AWS": sorted(users)}} for statement in statements]
    return {bucket: _s3(statements) for bucket, statements in found.items()}


def gcs_policy(service: str, roots: Roots) -> Policy:
    """The custom roles of a service, and the bindings that each bucket needs; roots are `gs://bucket/prefix`."""
    roles, bindings = {}, []
    for number, grant in enumerate(RIGHTS[service], 1):
        bucket, path = _place(roots[grant.root], "gs")
        # Listing is asked of the bucket, which no condition on names of objects is true for.
        objects = sorted({action for right in grant.rights if right not in _LISTING for action in _GCS[right]})
        for part, permissions, condition in (
            ("", objects, _gcs_condition(bucket, path, grant)),
            ("List", list(_GCS["list"]) if _LISTING.intersection(grant.rights) else [], None),
        ):
            if permissions:
                role = f"muniflow{service.capitalize()}{number}{part}"
                roles[role] = {"title": f"muniflow {service}: {grant.root}", "includedPermissions": permissions}
                bindings.append({"bucket": bucket, "role": role, **({"condition": condition} if condition else {})})
    return {"roles": roles, "bindings": bindings}


def azure_policy(service: str, roots: Roots) -> Policy:
    """The custom roles of a service, the container and condition of each; roots are `az://container/prefix`."""
    roles, assignments = [], []
    for number, grant in enumerate(RIGHTS[service], 1):
        container, path = _place(roots[grant.root], "az")
        name = f"muniflow {service} {number}"
        actions = [f"{_BLOBS}/{action}" for action in sorted({_AZURE[right] for right in grant.rights})]
        roles.append({"Name": name, "IsCustom": True, "Actions": [], "DataActions": actions})
        assignment = {"role": name, "container": container}
        if condition := _azure_condition(path, grant):
            assignment |= {"conditionVersion": "2.0", "condition": condition}
        assignments.append(assignment)
    return {"roles": roles, "assignments": assignments}


def _s3(statements: Iterable[Policy]) -> Policy:
    return {"Version": "2012-10-17", "Statement": list(statements)}


def _s3_statements(grant: RootRights, url: str, lists: frozenset[Right]) -> Iterable[Policy]:
    bucket, path = _place(url, "s3")
    arn, name = f"{_S3_ARN}{bucket}", path + grant.below
    objects = [action for right in grant.rights for action in _S3_OBJECT.get(right, ())]
    yield {"Effect": "Allow", "Action": objects, "Resource": f"{arn}/{name}*"}
    if lists.intersection(grant.rights):
        listing: Policy = {"Effect": "Allow", "Action": "s3:ListBucket", "Resource": arn}
        # A request for one object names no prefix, and must be answered 404 where there is none: IfExists.
        yield listing | ({"Condition": {"StringLikeIfExists": {"s3:prefix": f"{name}*"}}} if name else {})
    if grant.but:
        yield {"Effect": "Deny", "Action": "s3:PutObject", "Resource": f"{arn}/{name}*{grant.but}"}


def _gcs_condition(bucket: str, path: str, grant: RootRights) -> Policy | None:
    name = path + grant.below
    parts = [f'resource.name.startsWith("projects/_/buckets/{bucket}/objects/{name}")'] if name else []
    parts += [f'!resource.name.endsWith("{grant.but}")'] if grant.but else []
    return {"title": f"{grant.root} {name or 'all'}".strip(), "expression": " && ".join(parts)} if parts else None


def _azure_condition(path: str, grant: RootRights) -> str:
    # Azure does not tell a listing by its prefix here: what may be listed is the whole container.
    name = "" if "list" in grant.rights else path + grant.below
    blob = f"@Resource[{_BLOBS}:path]"
    parts = [_AZURE_NO_LIST] if "read" in grant.rights and "list" not in grant.rights else []
    parts += [f"{blob} StringLike '{name}*'"] if name else []
    parts += [f"{blob} StringNotLike '*{grant.but}'"] if grant.but else []
    return " AND ".join(f"({part})" for part in parts)


def _place(url: str, scheme: str) -> tuple[str, str]:
    """Bucket, and the prefix of its keys: empty, or ending in `/`."""
    found, separator, rest = url.partition("://")
    bucket, _, path = rest.partition("/")
    if found != scheme or not separator or not bucket:
        raise Invalid((Fault(url or "store URL", f"write {scheme}://bucket or {scheme}://bucket/prefix"),))
    return bucket, f"{path.strip('/')}/" if path.strip("/") else ""
