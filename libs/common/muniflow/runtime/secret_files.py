"""Settings in files: a folder in which each file is named as a variable and holds its value.

So Kubernetes mounts a Secret and Docker gives a service its secrets. Unlike a variable, a file is in no description of
the pod and in no `/proc/PID/environ`, and it changes while the process runs.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from muniflow.errors import Fault, Invalid

SECRETS_DIR: Final = "MUNIFLOW_SECRETS_DIR"
_NAME = re.compile("[A-Z][A-Z0-9_]*")


def with_secrets(env: Mapping[str, str]) -> Mapping[str, str]:
    """The variables, and over them what the files of `MUNIFLOW_SECRETS_DIR` hold now.

    Raises:
        Invalid: the folder or a file of it cannot be read.
    """
    folder = env.get(SECRETS_DIR)
    return {**env, **read_secrets(Path(folder))} if folder else env


def read_secrets(folder: Path) -> dict[str, str]:
    """The values of the files of `folder` that are named as variables, without the end of their last line.

    Raises:
        Invalid: the folder or a file of it cannot be read.
    """
    try:
        files = [path for path in folder.iterdir() if _NAME.fullmatch(path.name) and path.is_file()]
        return {path.name: path.read_text().rstrip("\r\n") for path in files}
    except (OSError, UnicodeDecodeError) as error:
        place = getattr(error, "filename", None) or folder
        raise Invalid(
            (Fault(SECRETS_DIR, f"cannot read {place}: {getattr(error, 'strerror', None) or error}"),)
        ) from None
