"""Every contender, by the name that the command line knows it by."""

from collections.abc import Callable, Mapping

from benchmarks.contenders.celery_redis import CeleryRedis
from benchmarks.contenders.floor import Floor
from benchmarks.contenders.muniflow_broker import MuniflowBroker
from benchmarks.contenders.muniflow_local import MuniflowLocal
from benchmarks.contenders.naive import Naive
from benchmarks.harness import Contender

CONTENDERS: Mapping[str, Callable[[], Contender]] = {
    "floor": lambda: Floor("floor", tuned=False),
    "floor-fast": lambda: Floor("floor-fast", tuned=False, fast=True),
    "tuned-floor": lambda: Floor("tuned-floor", tuned=True),
    "tuned-floor-fast": lambda: Floor("tuned-floor-fast", tuned=True, fast=True),
    "celery": lambda: CeleryRedis("celery", tuned=False),
    "celery-tuned": lambda: CeleryRedis("celery-tuned", tuned=True),
    "naive": Naive,
    "local": lambda: MuniflowLocal("local"),
    "local-fast": lambda: MuniflowLocal("local-fast", decode="fast"),
    "local-volatile": lambda: MuniflowLocal("local-volatile", durable=False),
    "per-step": lambda: MuniflowBroker("per-step", chained=False),
    "per-step-fast": lambda: MuniflowBroker("per-step-fast", chained=False, decode="fast"),
    "chained": lambda: MuniflowBroker("chained", chained=True),
    "chained-fast": lambda: MuniflowBroker("chained-fast", chained=True, decode="fast"),
    "chained-volatile": lambda: MuniflowBroker("chained-volatile", chained=True, durable=False),
    "per-step-signed": lambda: MuniflowBroker("per-step-signed", chained=False, signed=True),
    "per-step-volatile": lambda: MuniflowBroker("per-step-volatile", chained=False, durable=False),
}
DEFAULT = ("floor", "tuned-floor", "celery", "local", "per-step", "chained", "chained-fast")
