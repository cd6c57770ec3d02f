"""A private Redis for the Celery contender: Debian's own package, on loopback, with its own folder and port.

Where `redis-server` is not installed, the packages are fetched with apt and unpacked into the cache folder: nothing
is installed and no system service starts.
"""

import glob
import shutil
import socket
import subprocess
from pathlib import Path

from benchmarks.corpus import cache_folder
from benchmarks.processes import Processes
from muniflow_cli.stack.ports import free_ports

PACKAGES = ("redis-server", "redis-tools", "libjemalloc2", "liblzf1")


def start_redis(processes: Processes, folder: Path) -> str:
    """Start a Redis with its own defaults (snapshots on) and return its URL."""
    command, env = _server()
    folder.mkdir(parents=True, exist_ok=True)
    (port,) = free_ports(1)
    processes.start(
        "redis", [command, "--port", str(port), "--bind", "127.0.0.1", "--dir", str(folder), "--daemonize", "no"], env
    )
    processes.wait_for("Redis", lambda: _answers(port))
    return f"redis://127.0.0.1:{port}/0"


def _answers(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1) as connection:
            connection.sendall(b"PING\r\n")
            return connection.recv(16).startswith(b"+PONG")
    except OSError:
        return False


def _server() -> tuple[str, dict[str, str]]:
    if installed := shutil.which("redis-server"):
        return installed, {}
    folder = cache_folder() / "redis"
    command = folder / "usr/bin/redis-server"
    if not command.exists():
        _unpack(folder)
    libraries = glob.glob(str(folder / "usr/lib/*-linux-gnu"))  # noqa: PTH207 - names for a variable, not paths to walk
    return str(command), {"LD_LIBRARY_PATH": ":".join(libraries)}


def _unpack(folder: Path) -> None:
    if shutil.which("apt-get") is None:
        raise SystemExit("the Celery contender needs redis-server: install it, or leave out --contenders celery…")
    packages = folder / "packages"
    packages.mkdir(parents=True, exist_ok=True)
    subprocess.run(["apt-get", "download", "-qq", *PACKAGES], cwd=packages, check=True)
    for package in sorted(packages.glob("*.deb")):
        subprocess.run(["dpkg", "-x", str(package), str(folder)], check=True)
