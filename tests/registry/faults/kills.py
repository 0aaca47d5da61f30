"""Kills writers, and counts what that did to their registries.

    uv run python -m tests.registry.faults.kills --kills 10000

A commit is killed at every system call (before it is carried out, and after), in
the middle of every write, while it is taken back because the disk is full, at every
system call of the recovery that follows, and at random moments among other writers
and a peer. Ends with 1 if anything was wrong.
"""

from __future__ import annotations

import argparse
import gc
import json
import logging
import sys
import tempfile
import time
from pathlib import Path

from tests.registry.faults.cases import Case, commits, naive_commits, stopped_clock
from tests.registry.faults.sweep import (
    cut_writes_short,
    kill_commits,
    kill_recoveries,
    kill_refusals,
    let_a_peer_in,
)
from tests.registry.faults.torture import torture
from tests.registry.faults.verdicts import Counts


def kill_ours(directory: Path, wanted: int, seed: str) -> Counts:
    """Kills this library's writers so many times."""
    counts = Counts()
    with stopped_clock():
        cases = commits(directory)
        lefts = kill_commits(cases, wanted * 45 // 100, counts)
        lefts += cut_writes_short(cases, wanted // 10, counts)
        let_a_peer_in([left for left in lefts if not left.case.large], counts)
        lefts += kill_refusals(_to_refuse(cases), wanted // 10, counts)
        kill_recoveries(lefts, wanted // 4, counts)
    # What the others had no system calls for is left to chance.
    random_kills = max(wanted - counts.kills.total(), 0)
    beside_a_peer = random_kills // 5
    torture(directory / "crowd", random_kills - beside_a_peer, 0, seed, counts)
    torture(directory / "crowd with a peer", beside_a_peer, 1, seed, counts)
    return counts


def _to_refuse(cases: list[Case]) -> list[Case]:
    shapes = ("LockedRegistryFile grows", "two files grow,", "two files shrink and grow")
    return [
        case for case in cases if not case.large and any(shape in case.name for shape in shapes)
    ]


def kill_naive(directory: Path, wanted: int) -> Counts:
    """Kills a writer that keeps no journal: what would be seen if it were ours."""
    counts = Counts()
    cases = naive_commits(directory)
    kill_commits(cases, wanted // 2, counts)
    cut_writes_short(cases, wanted - counts.kills.total(), counts)
    return counts


def main(arguments: list[str]) -> int:
    """The command line; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.registry.faults.kills", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--kills", type=int, default=1000, help="how many, about")
    parser.add_argument("--writer", choices=("ours", "naive"), default="ours")
    parser.add_argument("--seed", default="muster", help="for the random moments")
    parser.add_argument("--json", action="store_true", help="print the counts as JSON")
    asked = parser.parse_args(arguments)
    # Every recovery warns; here that is no news.
    log = logging.getLogger("registry")
    log.addHandler(logging.NullHandler())
    log.propagate = False
    # Children are forked by the thousand: what is here now need not be copied for each.
    gc.freeze()
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="kills-") as directory:
        if asked.writer == "ours":
            counts = kill_ours(Path(directory), asked.kills, asked.seed)
        else:
            counts = kill_naive(Path(directory), asked.kills)
    counts.seconds = time.monotonic() - began
    print(json.dumps(counts.as_json()) if asked.json else counts.as_text())
    return 1 if counts.faults() else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
