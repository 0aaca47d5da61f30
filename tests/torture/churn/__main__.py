"""Runs orchestrators and agents on one workspace, kills some of them, and counts the faults.

    uv run --group dev python -m tests.torture.churn --kills 5000

The workers register, withdraw, report, terminate, clean up and create at random, at the same time.
Some workers are killed, most of them in the middle of an operation. After every ten kills, all
workers are stopped, and these conditions are checked:

- each registry is valid after recovery, and its counters are correct;
- every acknowledged registration and report is present, and no agent is listed twice;
- the global registry agrees with the tasks' registries. Exception: agents that a clean-up ended in
  a task's registry before the clean-up was killed;
- after one more clean-up, the registries agree without exception.

Prints the counts; ends with 1 after a fault.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
import tempfile
import time
from pathlib import Path

from registry.schema import zombies
from tests.support.seclusion import seclude
from tests.torture.churn.crowd import Churn, Counts

# The files of a killed process are the same in memory and on any disk.
_MEMORY = "/dev/shm"

# Registries only grow, so a workspace is used only for this number of kills.
_ROUND = 100


def main(arguments: list[str]) -> int:
    """Runs the command line; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.torture.churn", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--kills", type=int, default=300, help="the number of kills")
    parser.add_argument("--workers", type=int, default=5, help="the number of workers")
    parser.add_argument("--worker", choices=("ours", "naive"), default="ours")
    parser.add_argument("--seed", default="muster", help="the seed of the random choices")
    parser.add_argument("--directory", help="for temporary files; default: memory")
    parser.add_argument("--json", action="store_true", help="print the counts as JSON")
    asked = parser.parse_args(arguments)
    # Every recovery logs a warning, which is expected here.
    log = logging.getLogger("registry")
    log.addHandler(logging.NullHandler())
    log.propagate = False
    # Otherwise a clean-up waits ten seconds for an agent's own final report.
    zombies.END_DELAY = 0.0
    counts = Counts()
    began = time.monotonic()
    beneath = asked.directory or (_MEMORY if os.access(_MEMORY, os.W_OK) else None)
    with tempfile.TemporaryDirectory(prefix="churn-", dir=beneath) as directory:
        for number in range(0, asked.kills, _ROUND):
            churn = Churn(
                Path(directory) / str(number),
                counts,
                seed=f"{asked.seed} {number}",
                workers=asked.workers,
                naive=asked.worker == "naive",
            )
            churn.run(min(_ROUND, asked.kills - number))
    counts.seconds = time.monotonic() - began
    print(json.dumps(counts.as_json()) if asked.json else counts.as_text())
    return 1 if counts.faults.total() else 0


if __name__ == "__main__":
    seclude()
    sys.exit(main(sys.argv[1:]))
