"""Every operation against every other at random, with kills: what holds at quiet moments.

`python -m tests.torture.churn --kills 5000` makes more of the same.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.torture.churn.crowd import Counts

pytestmark = pytest.mark.timeout(300)

_ROOT = Path(__file__).resolve().parents[2]


def _run(*arguments: object) -> tuple[int, dict[str, Any]]:
    done = subprocess.run(
        [sys.executable, "-m", "tests.torture.churn", "--json", *map(str, arguments)],
        cwd=_ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert not done.stderr, done.stderr
    counts = json.loads(done.stdout)
    print(json.dumps(counts, indent=2))
    return done.returncode, counts


def test_at_every_quiet_moment_counters_are_right_and_the_registries_agree() -> None:
    status, counts = _run("--kills", 150)

    assert counts["faults"] == {}, counts["complaints"]
    assert status == 0
    # None of this holds for a crowd that does nothing, or is never killed at it.
    assert sum(counts["kills"].values()) == 150
    assert counts["quiet_moments"] == 15
    assert len(counts["kills"].keys() - {"nothing"}) >= 5
    assert min(counts["done"].get(name, 0) for name in ("register", "report", "terminate")) >= 20
    clean_ups = ("task-clean-up", "workspace-clean-up")
    assert min(counts["done"].get(name, 0) for name in clean_ups) >= 20


def test_the_same_crowd_finds_what_the_first_design_did_wrong() -> None:
    status, counts = _run("--kills", 20, "--worker", "naive")

    assert status == 1
    assert counts["faults"]


def test_it_says_what_it_counted_and_what_was_wrong() -> None:
    counts = Counts(behind=3)
    counts.kills.update({"register": 2, "report": 1})
    counts.complain("lost", "somebody")

    said = counts.as_text()
    assert "kills: 3" in said
    assert "left behind: 3" in said
    assert "lost: somebody" in said
