"""Quotas as token buckets, each refilled at a steady rate. Kept in memory: each gateway process counts by itself."""

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus

from muniflow.runtime.settings import variable
from muniflow_gateway.auth.api_keys import ApiKey
from muniflow_gateway.problems import Problem
from muniflow_gateway.settings import GatewaySettings

MAX_CALLERS = 10_000
MEBI = 2**20
MEGA = 10**6


@dataclass
class Bucket:
    """Holds at most `capacity` units, refilled at `per_s`; what is taken beyond is owed."""

    capacity: float
    per_s: float
    level: float
    at_s: float

    @classmethod
    def full(cls, capacity: float, period_s: float, now_s: float) -> "Bucket":
        """One that gives `capacity` in each `period_s`."""
        return cls(capacity, capacity / period_s, capacity, now_s)

    def take(self, amount: float, now_s: float) -> float:
        """Take; returns 0, or how many seconds to wait when there is not enough, and then takes nothing.

        More than `capacity` is given from a full bucket: it leaves a debt, so that nothing is out of reach for ever.
        """
        self.level = min(self.capacity, self.level + (now_s - self.at_s) * self.per_s)
        self.at_s = now_s
        wanted = min(amount, self.capacity)
        if self.level < wanted:
            return (wanted - self.level) / self.per_s
        self.level -= amount
        return 0.0


@dataclass
class Allowance:
    """What one caller has left."""

    requests: Bucket
    bytes: Bucket
    pixels: Bucket | None
    """`None`: no such limit, which is deprecated; budgets count pixels."""
    clock: Callable[[], float]

    def take_request(self) -> None:
        """Count a request.

        Raises:
            Problem: 429.
        """
        self._take(self.requests, 1, "requests", "requests_per_minute", "quota_requests")

    def take_bytes(self, count: int) -> None:
        """Count uploaded bytes.

        Raises:
            Problem: 429.
        """
        self._take(self.bytes, count, "uploaded bytes", "mebibytes_per_hour", "quota_bytes")

    def take_pixels(self, count: int) -> None:
        """Count the pixels of uploaded images, and those that are made of them.

        Raises:
            Problem: 429.
        """
        self._take(self.pixels, count, "uploaded and made pixels", "megapixels_per_hour", "quota_pixels")

    def _take(self, bucket: Bucket | None, amount: float, what: str, field: str, reason: str) -> None:
        if bucket is None:
            return
        if wait_s := bucket.take(amount, self.clock()):
            text = f"the quota of {what} of this key is used up (`{field}` of the key, or {variable(field)})"
            raise Problem(HTTPStatus.TOO_MANY_REQUESTS, text, reason=reason, retry_after_s=wait_s)


class Quotas:
    """The allowances of all callers; those not seen for longest are forgotten first."""

    def __init__(self, settings: GatewaySettings, clock: Callable[[], float] = time.monotonic) -> None:
        """Limits by default are those of `settings`."""
        self._settings = settings
        self._clock = clock
        self._known: OrderedDict[tuple[str, str], Allowance] = OrderedDict()

    def of(self, name: str, key: ApiKey | None) -> Allowance:
        """The allowance of a caller: of `key`, or by name where there are no keys."""
        identity = (name, key.sha256 if key else "")
        allowance = self._known.get(identity)
        if allowance is None:
            allowance = self._known[identity] = self._new(key)
            if len(self._known) > MAX_CALLERS:
                self._known.popitem(last=False)
        else:
            self._known.move_to_end(identity)
        return allowance

    def _new(self, key: ApiKey | None) -> Allowance:
        settings, now_s = self._settings, self._clock()
        requests = (key and key.requests_per_minute) or settings.requests_per_minute
        mebibytes = (key and key.mebibytes_per_hour) or settings.mebibytes_per_hour
        megapixels = (key and key.megapixels_per_hour) or settings.megapixels_per_hour
        return Allowance(
            requests=Bucket.full(requests, 60, now_s),
            bytes=Bucket.full(mebibytes * MEBI, 3600, now_s),
            pixels=Bucket.full(megapixels * MEGA, 3600, now_s) if megapixels else None,
            clock=self._clock,
        )
