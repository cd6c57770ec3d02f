"""The signing keys of a local stack, made with its first start."""

from collections.abc import Mapping
from pathlib import Path

from muniflow.runtime.key_files import rotate_keys
from muniflow.runtime.settings import GrantSettings, read_env, variable
from muniflow.runtime.state_folder import SIGNING_KEYS, VERIFY_KEYS


def signing_variables(folder: Path, env: Mapping[str, str]) -> tuple[dict[str, str], dict[str, str]]:
    """What the coordinator is told about keys, and what the workers are.

    Args:
        folder: the stack's state.
        env: may name other keys; then both get these as they are.

    Raises:
        Invalid: the keys that are there cannot be read.
    """
    given = read_env(GrantSettings, env)
    if given.signing_key_file or given.verify_keys_file:
        return {}, {}
    signing, verify = (folder.resolve() / name for name in (SIGNING_KEYS, VERIFY_KEYS))
    if not (signing.exists() and verify.exists()):
        rotate_keys(signing, verify)
    return {variable("signing_key_file"): str(signing)}, {variable("verify_keys_file"): str(verify)}
