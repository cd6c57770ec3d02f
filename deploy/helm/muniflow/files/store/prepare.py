# ruff: noqa: INP001 - a script that a pod runs
"""Before the built-in store starts: its buckets, the services as its users, and what each may do in each bucket.

    python prepare.py DATA USERS IAM

DATA is the server's volume, USERS has a folder with an access key for each part of the chart, IAM is where the server
reads its users. A bucket is a folder, its policy an extended attribute of it.
"""

import json
import os
import sys
from pathlib import Path

from muniflow.runtime.secret_files import read_secrets
from muniflow.runtime.settings import StoreSettings, read_env
from muniflow.store.policies import s3_bucket_policies

POLICY = "user.policy"


def service_of(part: str) -> str:
    """All stages have the same rights."""
    return "step" if part.startswith("step-") else part


def main(data: Path, users: Path, iam: Path) -> None:
    """Write them; what is there from before is replaced."""
    accounts, principals = {}, dict[str, list[str]]()
    for folder in sorted(users.iterdir()) if users.is_dir() else []:
        if folder.is_dir() and not folder.name.startswith("."):
            key = read_secrets(folder)
            access = key["AWS_ACCESS_KEY_ID"]
            accounts[access] = {"access": access, "secret": key["AWS_SECRET_ACCESS_KEY"], "role": "user"}
            principals.setdefault(service_of(folder.name), []).append(access)
    (iam / "users.json").write_text(json.dumps({"accessAccounts": accounts}))
    stores = read_env(StoreSettings, os.environ)
    roots = {"source": stores.source_url, "work": stores.work_url, "output": stores.output_url}
    for bucket, policy in s3_bucket_policies(roots, principals).items():
        (data / bucket).mkdir(exist_ok=True)
        os.setxattr(data / bucket, POLICY, json.dumps(policy).encode())


if __name__ == "__main__":
    os.umask(0o077)
    main(*map(Path, sys.argv[1:]))
