"""A load test of `POST /process` against a gateway that runs (`make daemon`).

    python -m benchmarks.gateway --clients 16 --requests 400 --kilobytes 200
    python -m benchmarks.gateway --clients 100 --requests 100 --kilobytes 10000 --pid $(pgrep -f muniflow_gateway)

The images are noise behind a JPEG's header: the gateway is measured, not the pipeline, which settles them as failed.
"""

import argparse
import asyncio
import collections
import hashlib
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp

from benchmarks.statistics import percentile

ACTIONS = json.dumps({"operations": [["resize", "64x48"]], "output": "jpg"})
CHUNK_BYTES = 2**18
NOISE = hashlib.shake_128(b"muniflow").digest(CHUNK_BYTES)
HEAD = (
    b'--b\r\nContent-Disposition: form-data; name="actions"\r\n\r\n' + ACTIONS.encode() + b"\r\n"
    b'--b\r\nContent-Disposition: form-data; name="files"; filename="a.jpg"\r\n\r\n'
    b"\xff\xd8\xff\xc0\x00\x11\x08\x00\x30\x00\x40\x03\x01\x11\x00\x02\x11\x00\x03\x11\x00"
)
"""The start of a form with a JPEG of 64x48, up to its first scan."""


async def body(size_bytes: int) -> AsyncIterator[bytes]:
    """A form with one file of this size, in chunks: nothing is kept on this side either."""
    yield HEAD
    for start in range(0, size_bytes, CHUNK_BYTES):
        yield NOISE[: min(CHUNK_BYTES, size_bytes - start)]
    yield b"\r\n--b--\r\n"


def resident_mib(pid: int | None) -> float:
    """Memory of the gateway in RAM, MiB; 0 where its process is not known."""
    if pid is None:
        return 0.0
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:")) / 1024


async def load(url: str, clients: int, requests: int, size_bytes: int, pid: int | None) -> None:
    """Keep `clients` requests going until `requests` are answered; print what came of it."""
    left = collections.deque(range(requests))
    seconds: list[float] = []
    answers: collections.Counter[str] = collections.Counter()
    before_mib = most_mib = resident_mib(pid)

    async def client(session: aiohttp.ClientSession) -> None:
        nonlocal most_mib
        while left:
            left.popleft()
            started_s = time.perf_counter()
            headers = {"Content-Type": "multipart/form-data; boundary=b"}
            async with session.post(f"{url}/process", data=body(size_bytes), headers=headers) as answer:
                answers[f"{answer.status} {(await answer.text())[:40]}"] += 1
            seconds.append(time.perf_counter() - started_s)
            most_mib = max(most_mib, resident_mib(pid))

    started_s = time.perf_counter()
    timeout = aiohttp.ClientTimeout(total=600)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), timeout=timeout) as session:
        await asyncio.gather(*(client(session) for _ in range(clients)))
    spent_s = time.perf_counter() - started_s
    print(f"{requests} requests of {size_bytes / 1000:.0f} kB by {clients} clients in {spent_s:.1f} s")
    print(f"  {requests / spent_s:.1f} requests/s, {requests * size_bytes / spent_s / 1e6:.1f} MB/s")
    print(f"  answered after {percentile(seconds, 50):.3f} s (median), {percentile(seconds, 99):.3f} s (99 in 100)")
    print("  " + ", ".join(f"{count} x {answer!r}" for answer, count in answers.items()))
    if pid is not None:
        print(f"  memory {before_mib:.0f} MiB, at most {most_mib - before_mib:+.0f} MiB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", default="http://127.0.0.1:8080")
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--requests", type=int, default=400)
    parser.add_argument("--kilobytes", type=int, default=200)
    parser.add_argument("--pid", type=int, help="of the gateway, to watch its memory")
    given = parser.parse_args()
    asyncio.run(load(given.url, given.clients, given.requests, given.kilobytes * 1000, given.pid))


if __name__ == "__main__":
    main()
