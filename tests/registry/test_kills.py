"""Writers killed with SIGKILL: every change is whole or was not made, none is lost.

`python -m tests.registry.kills --kills 10000` makes more of the same.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Collection
from pathlib import Path
from typing import Any

from tests.registry.kills.verdicts import FAULTS

_ROOT = Path(__file__).resolve().parents[2]

# What kills leave of one file and of two, if they come at every step of a commit.
_ONE_FILE = {
    "before",
    "before with unfinished journal",
    "before with journal",
    "room reserved with journal",
    "under way with journal",
    "after with journal",
    "after",
}
_TWO_FILES = {
    "before | before",
    "before with unfinished journal | before",
    "before with journal | before",
    "before with journal | before with unfinished journal",
    "before with journal | before with journal",
    "room reserved with journal | before with journal",
    "room reserved with journal | room reserved with journal",
    "under way with journal | before with journal",
    "under way with journal | room reserved with journal",
    "after with journal | before with journal",
    "after with journal | room reserved with journal",
    "after with journal | under way with journal",
    "after with journal | after with journal",
    "after with journal | after",
    "after | after",
}


def _kill(*arguments: str) -> tuple[int, dict[str, Any]]:
    """Runs the harness by itself: it forks for every kill, and this process is no small one."""
    run = subprocess.run(
        [sys.executable, "-m", "tests.registry.kills", "--json", *arguments],
        cwd=_ROOT,
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert run.stdout, run.stderr
    assert not run.stderr
    return run.returncode, json.loads(run.stdout)


def _missing(found: Collection[str], wanted: set[str]) -> set[str]:
    return wanted - set(found)


def test_a_writer_killed_at_any_moment_leaves_all_of_its_change_or_nothing() -> None:
    status, counts = _kill("--kills", "1000")
    print(json.dumps(counts, indent=2))

    assert {fault: counts[fault] for fault in FAULTS} == dict.fromkeys(FAULTS, 0), counts
    assert status == 0
    # None of this holds for a harness that kills nobody, or always at the same step.
    assert counts["kills"]["commit"] >= 400
    assert counts["kills"]["write cut short"] >= 90
    assert counts["kills"]["recovery"] >= 300
    assert counts["kills"]["crowd"] >= 90
    assert sum(counts["kills"].values()) >= 1000
    assert not _missing(counts["states"], _ONE_FILE)
    assert not _missing(counts["states"], _TWO_FILES)
    assert counts["acknowledged"] >= 100
    assert counts["recovered"] >= 1


def test_the_same_kills_tear_and_mix_what_is_written_without_a_journal() -> None:
    status, counts = _kill("--kills", "200", "--writer", "naive")

    assert status == 1
    assert counts["torn"] >= 1
    assert counts["mixed"] >= 1
