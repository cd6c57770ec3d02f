"""One container as a process: its own environment, mounts, user and read-only root, on the machine's network.

The root is an overlay over this machine's, so the interpreter and the packages are those of the tests; what the image
would add (its module, PYTHONPATH) is in `image`. Network and process ids are shared with the machine: a pod has an
address of its own on loopback, and `0.0.0.0` in its environment becomes that address.
"""

import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from muniflow_cli.stack.processes import session_members

SERVICES = ("coordinator", "gateway")
ANY_ADDRESS = "0.0.0.0"  # noqa: S104 - looked for, not listened at
REFERENCE = re.compile(r"\$\(([A-Za-z_][A-Za-z0-9_]*)\)")
OPERATIONS = Path(__file__).parent / "operations"
"""Packages that the images of the bench have besides ours."""
SHARED_MEMORY = "64m"
"""What container runtimes give."""
SCRIPT = """
set -e
mount -t overlay overlay -o "lowerdir=/,upperdir=$BASE/upper,workdir=$BASE/work" "$BASE/root"
chmod 755 "$BASE/root/root"
mount --rbind /proc "$BASE/root/proc"
mount --rbind /dev "$BASE/root/dev"
mount -t tmpfs -o "size=$SHARED_MEMORY,mode=1777" tmpfs "$BASE/root/dev/shm"
{mounts}
{read_only}
exec chroot --userspec="$USERSPEC" --groups="$GROUPS_OF_POD" "$BASE/root" env -i -C /tmp {command}
"""


@dataclass(frozen=True)
class Mount:
    """A folder or file of the machine, at a path of the container."""

    source: Path
    target: str
    read_only: bool = False

    def script(self) -> str:
        """How the shell mounts it."""
        # Resolved inside: /var/run is a link to /run, which from here would be the machine's own.
        find = f'AT="$BASE/root$(chroot "$BASE/root" readlink -m {shlex.quote(self.target)})"'
        make = 'mkdir -p "$AT"' if self.source.is_dir() else 'mkdir -p "$(dirname "$AT")"; touch "$AT"'
        lines = [find, make, f'mount --bind {shlex.quote(str(self.source))} "$AT"']
        return "\n".join([*lines, 'mount -o remount,bind,ro "$AT"'] if self.read_only else lines)


def expanded(entries: Iterable[tuple[str, str]], address: str) -> dict[str, str]:
    """Variables with `$(NAME)` replaced as Kubernetes does it: by those that come before."""
    found: dict[str, str] = {}
    for name, value in entries:
        text = REFERENCE.sub(lambda match: found.get(match[1], match[0]), value)
        found[name] = text.replace(ANY_ADDRESS, address)
    return found


def image(name: str) -> tuple[list[str], dict[str, str]]:
    """What an image brings: its entry point and its variables."""
    service = name.rpartition("/")[2].partition(":")[0].removeprefix("muniflow-")
    module = "muniflow.worker.main"
    if service in SERVICES:
        module = f"muniflow_{service}"
    elif service == "run":
        module = "muniflow_cli.main"
    paths = os.pathsep.join([str(OPERATIONS), str(OPERATIONS.parents[2])])
    variables = {"PATH": os.environ["PATH"], "HOME": "/tmp", "PYTHONPATH": paths, "PYTHONUNBUFFERED": "1"}  # noqa: S108
    return [sys.executable, "-m", module], variables | {"PYTHONDONTWRITEBYTECODE": "1"}


@dataclass
class Container:
    """Started once; ended with a signal, or by itself."""

    base: Path
    """Its own folder, on a file system that an overlay may write to (tmpfs)."""
    log: Path
    process: subprocess.Popen[bytes] | None = field(default=None, init=False)

    def start(
        self,
        pod: Mapping[str, Any],
        spec: Mapping[str, Any],
        variables: Iterable[tuple[str, str]],
        mounts: Sequence[Mount],
        address: str,
    ) -> None:
        """Run the container `spec` of `pod`, whose address is `address`."""
        for name in ("upper", "work", "root"):
            (self.base / name).mkdir(parents=True, exist_ok=True)
        entry, own = image(spec["image"])
        command = [*(spec.get("command") or entry), *spec.get("args", ())]
        settings = [f"{name}={value}" for name, value in {**own, **expanded(variables, address)}.items()]
        security = pod["spec"].get("securityContext", {})
        user, group = security.get("runAsUser", 0), security.get("runAsGroup", 0)
        strict = (spec.get("securityContext") or {}).get("readOnlyRootFilesystem")
        script = SCRIPT.format(
            mounts="\n".join(mount.script() for mount in mounts),
            read_only='mount -o remount,ro overlay "$BASE/root"' if strict else "",
            command=shlex.join([*settings, *command]),
        )
        around = {"BASE": str(self.base), "USERSPEC": f"{user}:{group}", "SHARED_MEMORY": SHARED_MEMORY}
        around["GROUPS_OF_POD"] = str(security.get("fsGroup", group))
        with self.log.open("ab") as output:
            self.process = subprocess.Popen(
                ["unshare", "--mount", "--propagation", "private", "--", "/bin/bash", "-c", script],
                env={**os.environ, **around}, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                start_new_session=True,
            )  # fmt: skip

    @property
    def exit_code(self) -> int | None:
        """As `Popen.poll` gives it; `None` while it runs."""
        return None if self.process is None else self.process.poll()

    def signal(self, number: int) -> None:
        """Send a signal to its first process, as a kubelet does."""
        if self.process is not None:
            with suppress(ProcessLookupError):
                self.process.send_signal(number)

    def terminate(self) -> None:
        """Ask it to end."""
        self.signal(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL to all its processes, as when its node loses power."""
        if self.process is None:
            return
        for pid in {*session_members(self.process.pid), self.process.pid}:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait()
