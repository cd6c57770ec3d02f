"""Run as a process: stream a big blob into the store at a URL and back, and print how much memory that took.

Arguments: URL, size of the blob in MiB. Prints: growth of the peak in MiB, bytes written, bytes read, hashes equal.
"""

import hashlib
import resource
import sys
from collections.abc import Iterator

from muniflow.store import open_store

CHUNK = bytes(range(256)) * 4096  # 1 MiB


def peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def chunks(count: int, seen: "hashlib._Hash") -> Iterator[bytes]:
    for index in range(count):
        chunk = index.to_bytes(8, "big") + CHUNK[8:]
        seen.update(chunk)
        yield chunk


def main(url: str, size_mib: int) -> None:
    store = open_store(url)
    store.check()  # threads and buffers that a first use makes are not the blob's
    written_hash, read_hash, read_bytes = hashlib.sha256(), hashlib.sha256(), 0
    before = peak_mib()
    written_bytes = store.write("big/blob", chunks(size_mib, written_hash))
    with store.open("big/blob") as stream:
        while block := stream.read(1 << 20):
            read_hash.update(block)
            read_bytes += len(block)
    same = written_hash.digest() == read_hash.digest()
    sys.stdout.write(f"{peak_mib() - before:.0f} {written_bytes} {read_bytes} {same}\n")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
