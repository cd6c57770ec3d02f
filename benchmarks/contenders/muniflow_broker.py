"""muniflow over RabbitMQ, with every guarantee on: from a batch published to its terminal notice."""

import shutil
import time
from pathlib import Path

from benchmarks.client import Client
from benchmarks.cluster import Cluster, batch_name
from benchmarks.corpus import Corpus
from benchmarks.harness import expect_outputs
from benchmarks.routes import BenchRoute
from benchmarks.statistics import Run
from muniflow.model.messages import Decode
from muniflow.runtime.key_files import rotate_keys
from muniflow.runtime.settings import GrantSettings, to_env
from muniflow.runtime.state_folder import SIGNING_KEYS, VERIFY_KEYS
from muniflow_cli.stack.plan import WorkerGroup

TIMEOUT_S = 1800.0
OUTPUT = {"format": "jpg", "quality": 95}
"""What the floor writes."""


def groups_of(route: BenchRoute, *, chained: bool, replicas: int | None = None) -> list[WorkerGroup]:
    """Chained: two workers that carry the whole route. Else two per operation, one for `split`, which only refers.

    `replicas`: so many of each instead.
    """
    if chained:
        return [WorkerGroup(route.names, replicas or 2)]
    return [WorkerGroup((operation,), replicas or (1 if operation == "split" else 2)) for operation in route.names]


class MuniflowBroker:
    """Private broker, coordinator, and workers with one compute child each."""

    def __init__(
        self,
        name: str,
        *,
        chained: bool,
        decode: Decode = "exact",
        durable: bool = True,
        replicas: int | None = None,
        signed: bool = False,
    ) -> None:
        """`chained`: the operations of the route run in one worker's memory; `replicas`: workers of each kind.

        `durable=False` shows what it costs that outputs survive a power failure; no claim rests on it. `signed`: the
        coordinator signs tasks and workers refuse all others.
        """
        self.name = name
        self._chained, self._decode, self._replicas, self._signed = chained, decode, replicas, signed
        self._variables = {"MUNIFLOW_DURABLE_OUTPUTS": str(durable).lower()}
        self._cluster: Cluster | None = None

    def prepare(self, corpus: Corpus, route: BenchRoute, folder: Path) -> None:
        """Start all of it."""
        self._corpus, self._route = corpus, route
        groups = groups_of(route, chained=self._chained, replicas=self._replicas)
        keys = signing_variables(folder) if self._signed else {}
        self._cluster = Cluster(folder, corpus.root, groups, {**self._variables, **keys})
        self._cluster.start()
        self._client: Client = self._cluster.client()

    def run_with(self, corpus: Corpus) -> Run:
        """One batch of other pictures below the same root."""
        self._corpus = corpus
        return self.run()

    def run(self) -> Run:
        """One batch; the clock runs from its publishing to the notice that it is done."""
        assert self._cluster is not None  # noqa: S101 - prepare came first
        batch_id = batch_name(self._route.name)
        before, mine_s, started = self._cluster.usage().total_s, time.process_time(), time.perf_counter()
        self._client.submit(document(batch_id, self._corpus, self._route, self._decode))
        notice, ended = self._client.wait([batch_id], TIMEOUT_S)[batch_id]
        spent_s = self._cluster.usage().total_s - before + time.process_time() - mine_s
        if notice.state != "done":
            raise SystemExit(f"{self.name}: the batch is {notice.state}, {notice.failed} images failed")
        output = self._cluster.output / batch_id
        expect_outputs(output, self._corpus.count * self._route.outputs_per_image)
        shutil.rmtree(output)
        return Run(self._corpus.count, ended - started, spent_s)

    def close(self) -> None:
        """End all of it."""
        if self._cluster is not None:
            self._cluster.stop()


def signing_variables(folder: Path) -> dict[str, str]:
    """Settings of all processes, with new keys in `folder`."""
    signing, verify = folder / SIGNING_KEYS, folder / VERIFY_KEYS
    rotate_keys(signing, verify)
    settings = GrantSettings(signing_key_file=str(signing), verify_keys_file=str(verify), unsigned_tasks="refuse")
    return to_env(settings)


def document(batch_id: str, corpus: Corpus, route: BenchRoute, decode: Decode = "exact") -> dict[str, object]:
    """The batch as a user writes it: every image below a prefix."""
    return {
        "batch_id": batch_id,
        "municipality": "benchmark",
        "source": corpus.prefix,
        "operations": route.document(),
        "output": OUTPUT,
        "decode": decode,
    }
