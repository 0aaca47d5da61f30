"""Kills writers, and counts what that did to their registries.

    uv run python -m tests.registry.kills --kills 10000

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

from tests.registry.kills.cases import LARGE, SMALL, Case, commits, naive_commits, stopped_clock
from tests.registry.kills.sweep import (
    cut_writes_short,
    kill_commits,
    kill_recoveries,
    kill_refusals,
    let_a_peer_in,
)
from tests.registry.kills.torture import torture
from tests.registry.kills.verdicts import Counts


def kill_ours(directory: Path, wanted: int, seed: str) -> Counts:
    """Kills this library's writers so many times."""
    counts = Counts()
    crowd = wanted // 10
    _sweep(directory, SMALL, wanted * 8 // 10, counts)
    torture(directory / "crowd", crowd * 4 // 5, 0, seed, counts)
    torture(directory / "crowd with a peer", crowd - crowd * 4 // 5, 1, seed, counts)
    # Last: what a parent has in its memory, every fork pays for.
    _sweep(directory, LARGE, wanted - counts.kills.total(), counts)
    return counts


def _sweep(directory: Path, size: int, wanted: int, counts: Counts) -> None:
    goal = counts.kills.total() + wanted
    with stopped_clock():
        cases = commits(directory, size)
        # Children are forked by the thousand: what is here now need not be looked
        # through, and so copied, in each of them.
        gc.freeze()
        lefts = kill_commits(cases, wanted // 2, counts)
        lefts += cut_writes_short(cases, wanted // 10, counts)
        if size == SMALL:
            let_a_peer_in(lefts, counts)
            lefts += kill_refusals(_to_refuse(cases), wanted // 10, counts)
        kill_recoveries(lefts, goal - counts.kills.total(), counts)


def _to_refuse(cases: list[Case]) -> list[Case]:
    shapes = ("LockedRegistryFile grows", "two files grow,", "two files shrink and grow")
    return [case for case in cases if any(shape in case.name for shape in shapes)]


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
        prog="python -m tests.registry.kills", description=(__doc__ or "").split("\n")[0]
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
