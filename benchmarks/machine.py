"""What the numbers were taken on: never a path, a user or a host name, since results are published."""

import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path

PACKAGES = ("muniflow", "opencv-python-headless", "numpy", "pika", "pydantic", "sqlalchemy", "celery", "redis")


def describe() -> dict[str, str]:
    """Cores, processor, memory, and the versions of everything that takes part."""
    found = {
        "cores": str(len(os.sched_getaffinity(0))),
        "processor": _first_value(Path("/proc/cpuinfo"), "model name"),
        "memory": _memory(),
        "kernel": platform.release().split("-")[0],
        "system": _system(),
        "python": platform.python_version(),
        "rabbitmq": _first_line(["rabbitmqctl", "version"]),
    }
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return {name: value for name, value in found.items() if value}


def load_now() -> float:
    """The load average of the last minute: how busy others kept the machine before the run."""
    return os.getloadavg()[0]


def _first_value(path: Path, field: str) -> str:
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return ""
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(field)), "")


def _memory() -> str:
    size = _first_value(Path("/proc/meminfo"), "MemTotal").split()
    return f"{int(size[0]) / 2**20:.0f} GB" if size else ""


def _system() -> str:
    try:
        return platform.freedesktop_os_release().get("PRETTY_NAME", platform.system())
    except OSError:
        return platform.system()


def _first_line(command: list[str]) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip().splitlines()[0] if done.returncode == 0 and done.stdout.strip() else ""
