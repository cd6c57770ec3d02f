"""Text files that others read while they are written anew: keys, the state of a stack."""

import os
from pathlib import Path


def write_text_whole(path: Path, text: str, mode: int = 0o600) -> None:
    """Write a file whole or not at all; nobody but its owner reads it, where `mode` says nothing else."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    with os.fdopen(handle, "w") as file:
        file.write(text)
    temporary.replace(path)
