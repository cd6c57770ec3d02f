"""Reports of both builds: shares are merged, outputs are verified and changes are run by either command line."""

from itertools import product
from pathlib import Path

from tests.upgrade.known import Trait
from tests.upgrade.mixes import Pair

from muniflow.model.keys import REPORT
from muniflow_cli.commands import exits

AGES = ("older", "newer")


def merge_all(pair: Pair, source: Path, scratch: Path) -> tuple[int, list[str]]:
    """Merge, verify and run again in every mix of builds; returns how many mixes there were, and what went wrong."""
    problems: list[str] = []
    count = 0
    if not pair.both.has_shares:
        return count, problems
    fields = {"checksums": True} if "checksums" in pair.both.traits else {}
    trait = Trait("shares", fields)
    for ages in product(AGES, AGES, AGES):
        out = scratch / "-".join(ages)
        for number, age in enumerate(ages[:2], 1):
            cli = pair.cli[age]
            where = ("--source", str(source), "--out", str(out), "--jobs", "1")
            said = cli("run", cli.write(trait.document("shared")), *where, "--shard", f"{number}/2")
            assert said.code == exits.OK, said.text
        count += 1
        folder, cli = str(out / "shared"), pair.cli[ages[2]]
        said = cli("report", "merge", folder, "--out", f"{folder}/{REPORT}")
        if said.code != exits.OK:
            problems.append(f"{ages[2]} merges shares of {ages[:2]}: code {said.code}: {said.text[-500:]}")
            continue
        if fields and (said := cli("verify", folder, "--source", str(source))).code != exits.OK:
            problems.append(f"{ages[2]} verifies shares of {ages[:2]}: code {said.code}: {said.text[-500:]}")
    return count, problems
