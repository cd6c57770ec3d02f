"""Shares of a batch: so many parts that run apart from each other, without a broker, and are one batch together.

Image `n` is in share `n % of + 1`. So shares are disjoint and cover the batch, each image keeps its number and with it
the names of its outputs, large images that follow each other are spread, and a share is the same whenever it is run.
"""

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from muniflow.errors import Fault, Invalid

SHARD = "--shard"
"""The option; the place of faults."""
AUTO = "auto"
MAX_SHARES = 1_000_000
"""Far beyond the 10,000 tasks of an AWS Batch array job or a Cloud Run job."""
_FORM = re.compile(r"([0-9]{1,9})/([0-9]{1,9})")


@dataclass(frozen=True, slots=True)
class Share:
    """One of the shares of a batch."""

    number: int
    """From 1 to `of`."""
    of: int
    """How many shares the batch has."""

    def __str__(self) -> str:
        """As users write it: `3/20`."""
        return f"{self.number}/{self.of}"

    def numbers(self, images: int) -> range:
        """The numbers of its images, in a batch of so many."""
        return range(self.number - 1, images, self.of)

    def position(self, image: int) -> int:
        """The place of an image among those of its share, 0-based."""
        return image // self.of


WHOLE_BATCH = Share(1, 1)


@dataclass(frozen=True, slots=True)
class ShareOfList:
    """A share, and the list of images that it is a share of: shares of other lists do not belong together."""

    share: Share
    images: int
    """How many images the whole batch has."""
    images_sha256: str
    """SHA-256 of their keys, in order."""

    def document(self) -> dict[str, Any]:
        """As it stands in the report of the share."""
        return {
            "number": self.share.number,
            "of": self.share.of,
            "images": self.images,
            "images_sha256": self.images_sha256,
        }


class IndexVariables(NamedTuple):
    """The variables by which a platform tells a task which one of how many it is."""

    platform: str
    index_name: str
    """0-based."""
    count_name: str


INDEX_VARIABLES = (
    # Kubernetes does not tell a pod how many completions its Job has: the manifest repeats it.
    IndexVariables("a Kubernetes Indexed Job", "JOB_COMPLETION_INDEX", "MUNIFLOW_SHARDS"),
    IndexVariables("an AWS Batch array job", "AWS_BATCH_JOB_ARRAY_INDEX", "AWS_BATCH_JOB_ARRAY_SIZE"),
    IndexVariables("a Cloud Run job", "CLOUD_RUN_TASK_INDEX", "CLOUD_RUN_TASK_COUNT"),
)


def digest_of_keys(keys: Iterable[str]) -> str:
    """SHA-256 of the source keys of a batch, in order."""
    digest = hashlib.sha256()
    for key in keys:
        digest.update(key.encode(errors="surrogateescape"))
        digest.update(b"\n")
    return digest.hexdigest()


def read_share(text: str, env: Mapping[str, str]) -> Share:
    """The share that an option names: `3/20`, or `auto` for the one that the platform's variables name.

    Raises:
        Invalid: it is neither, out of range, or the variables are missing, wrong, or those of two platforms.
    """
    if text == AUTO:
        return _from_variables(env)
    form = _FORM.fullmatch(text)
    if form is None:
        raise _invalid(SHARD, f"{text[:40]!r} is not a share: write 3/20 for the third of twenty, or {AUTO}")
    number, of = map(int, form.groups())
    if not 1 <= of <= MAX_SHARES:
        raise _invalid(SHARD, f"{text}: a batch has 1 to {MAX_SHARES} shares")
    if not 1 <= number <= of:
        raise _invalid(SHARD, f"{text}: shares are numbered from 1 to {of}")
    return Share(number, of)


def _from_variables(env: Mapping[str, str]) -> Share:
    found = [variables for variables in INDEX_VARIABLES if variables.index_name in env]
    if not found:
        known = "; ".join(f"{each.index_name} and {each.count_name} ({each.platform})" for each in INDEX_VARIABLES)
        raise _invalid(SHARD, f"{AUTO} needs the variables of an indexed job, and none is set: {known}")
    if len(found) > 1:
        names = " and ".join(variables.index_name for variables in found)
        raise _invalid(SHARD, f"{AUTO} is ambiguous: {names} are set; name the share instead, for example 3/20")
    variables = found[0]
    if variables.count_name not in env:
        problem = f"not set; with {variables.index_name} it says how many tasks {variables.platform} has"
        raise _invalid(variables.count_name, problem)
    index, count = (_number(env, name) for name in (variables.index_name, variables.count_name))
    if not 1 <= count <= MAX_SHARES:
        raise _invalid(variables.count_name, f"{count}: a batch has 1 to {MAX_SHARES} shares")
    if index >= count:
        raise _invalid(variables.index_name, f"{index}: with {variables.count_name}={count} it is at most {count - 1}")
    return Share(index + 1, count)


def _number(env: Mapping[str, str], name: str) -> int:
    if not re.fullmatch(r"[0-9]{1,9}", env[name]):
        raise _invalid(name, f"{env[name][:40]!r} is not a whole number")
    return int(env[name])


def _invalid(place: str, problem: str) -> Invalid:
    return Invalid((Fault(place, problem),))
