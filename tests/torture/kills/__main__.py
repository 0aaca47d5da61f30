"""Kills writers, and counts the faults in their registries.

    uv run --group dev python -m tests.torture.kills --kills 10000

There are three parts; by default all of them run. `small` and `large` kill a commit at every
system call, in the middle of every write, while a commit is taken back because the disk is full,
and in the recovery. `crowd` kills writers at random moments while other writers work, half of the
time together with a peer.

Prints the counts, also after an interrupt. Ends with 1 after a fault or an interrupt.
"""

from __future__ import annotations

import argparse
import gc
import json
import logging
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

from tests.support.seclusion import seclude
from tests.torture.kills.cases import LARGE, SMALL, Case, commits, naive_commits, nothing_by_chance
from tests.torture.kills.sweep import Sweep
from tests.torture.kills.torture import torture
from tests.torture.kills.verdicts import Counts

_PARTS = ("small", "large", "crowd")

# The share of a write that is carried out: one byte, half, all but one byte.
_SHARES = (1e-9, 0.5, 1.0)

# Commits whose calls are refused one by one, as if the disk was full.
_REFUSED = ("LockedRegistryFile grows", "two files grow,", "two files shrink and grow")

_CASES = 22

# The files of a killed process are the same in memory and on any disk; memory is faster.
_MEMORY = "/dev/shm"


def kill_small(directory: Path, wanted: int, seed: str, counts: Counts) -> None:
    """Kills commits of small texts in every possible way."""
    for case in _lean(commits(directory, SMALL)):
        sweep = Sweep(case, counts, seed)
        sweep.kill_commit()
        sweep.let_a_peer_in()
        sweep.cut_writes_short(_SHARES)
        if any(shape in case.name for shape in _REFUSED):
            sweep.kill_refusals(max(wanted // _CASES, 1))
        sweep.kill_recoveries(max(wanted // _CASES, 1))


def kill_large(directory: Path, wanted: int, seed: str, counts: Counts) -> None:
    """Kills commits of texts that are too large for a single write."""
    for case in _lean(commits(directory, LARGE)):
        sweep = Sweep(case, counts, seed)
        sweep.kill_commit()
        sweep.cut_writes_short(_SHARES[1:2])
        sweep.kill_recoveries(max(wanted // _CASES // 4, 1))


def kill_naive(directory: Path, counts: Counts, seed: str) -> None:
    """Kills a writer that keeps no journal, to show which faults the tests find."""
    for case in _lean(naive_commits(directory)):
        sweep = Sweep(case, counts, seed)
        sweep.kill_commit()
        sweep.cut_writes_short(_SHARES)


def _lean(cases: Iterable[Case]) -> Iterable[Case]:
    for case in cases:
        # Hundreds of children are forked. Without this, the garbage collection of each child would
        # copy all memory.
        gc.freeze()
        yield case
        gc.unfreeze()
        shutil.rmtree(case.paths[0].parents[1])


def _kill(directory: Path, asked: argparse.Namespace, counts: Counts) -> None:
    if asked.writer == "naive":
        kill_naive(directory, counts, asked.seed)
        return
    for name in dict.fromkeys(asked.part or _PARTS):
        if name == "crowd":
            torture(directory / "crowd", asked.kills, asked.seed, counts)
            continue
        sweep = {"small": kill_small, "large": kill_large}[name]
        with nothing_by_chance():
            sweep(directory, asked.kills, asked.seed, counts)


def main(arguments: list[str]) -> int:
    """Runs the command line; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.torture.kills", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument(
        "--kills",
        type=int,
        default=300,
        help="the number of random kills: in the crowd, in recoveries and in refusals; "
        "the kills at every system call are additional",
    )
    parser.add_argument("--part", action="append", choices=_PARTS, help="may be repeated")
    parser.add_argument("--writer", choices=("ours", "naive"), default="ours")
    parser.add_argument("--seed", default="muster", help="the seed of the random choices")
    parser.add_argument("--directory", help="for temporary files; default: memory")
    parser.add_argument("--json", action="store_true", help="print the counts as JSON")
    asked = parser.parse_args(arguments)
    # Every recovery logs a warning, which is expected here.
    log = logging.getLogger("registry")
    log.addHandler(logging.NullHandler())
    log.propagate = False
    began = time.monotonic()
    counts = Counts()
    interrupted = False
    beneath = asked.directory or (_MEMORY if os.access(_MEMORY, os.W_OK) else None)
    with tempfile.TemporaryDirectory(prefix="kills-", dir=beneath) as directory:
        try:
            _kill(Path(directory), asked, counts)
        except KeyboardInterrupt:
            interrupted = True
    counts.seconds = time.monotonic() - began
    print(json.dumps(counts.as_json()) if asked.json else counts.as_text())
    return 1 if counts.faults() or interrupted else 0


if __name__ == "__main__":
    seclude()
    sys.exit(main(sys.argv[1:]))
