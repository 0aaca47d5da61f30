"""Writers killed with SIGKILL: every change is whole or was not made, none is lost.

`python -m tests.torture.kills --kills 10000` makes more of the same.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.torture.kills.verdicts import FAULTS, Counts

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="ptrace(2) and leases are Linux's"),
    pytest.mark.timeout(600),
]

_ROOT = Path(__file__).resolve().parents[2]

_RUNS = {
    "small": ("--part", "small"),
    "large": ("--part", "large"),
    "crowd": ("--part", "crowd"),
    "naive": ("--writer", "naive"),
}

# What kills leave of one file and of two, if they come at every step of a commit.
_ONE_FILE = {
    "before",
    "before with journal",
    "room reserved with journal",
    "under way with journal",
    "after with journal",
    "after",
}
_TWO_FILES = {
    "before | before",
    "before with journal | before",
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


# Of these there are only some with 1 MB: one file grows and the other one shrinks.
_TWO_LARGE_FILES = _TWO_FILES - {
    "room reserved with journal | room reserved with journal",
}


class _Harness:
    """The harness by itself: it forks for every kill, and this process is no small one."""

    def __init__(self) -> None:
        # All at once: most of the time they wait for the disk, or for each other.
        self._runs = {name: self._start(*arguments) for name, arguments in _RUNS.items()}

    def _start(self, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "tests.torture.kills", "--json", *arguments],
            cwd=_ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def counts(self, name: str) -> tuple[int, dict[str, Any]]:
        """Waits for a part; its exit status and what it counted."""
        run = self._runs[name]
        out, err = run.communicate()
        assert not err, err
        counts = json.loads(out)
        print(json.dumps(counts, indent=2))
        return run.returncode, counts

    def close(self) -> None:
        for run in self._runs.values():
            run.kill()
            run.communicate()


@pytest.fixture(scope="module")
def harness() -> Iterator[_Harness]:
    harness = _Harness()
    try:
        yield harness
    finally:
        harness.close()


def _assert_faultless(status: int, counts: dict[str, Any]) -> None:
    assert {fault: counts[fault] for fault in FAULTS} == dict.fromkeys(FAULTS, 0), counts
    assert status == 0


def test_the_same_kills_tear_and_mix_what_is_written_without_a_journal(harness: _Harness) -> None:
    status, counts = harness.counts("naive")

    assert status == 1
    assert counts["torn"] >= 1
    assert counts["mixed"] >= 1


def test_a_commit_killed_at_any_system_call_is_whole_or_was_not_made(harness: _Harness) -> None:
    status, counts = harness.counts("small")

    _assert_faultless(status, counts)
    # None of this holds for a harness that kills nobody, or always at the same step.
    assert counts["kills"]["commit"] >= 1000
    assert counts["kills"]["write cut short"] >= 300
    assert counts["kills"]["refusal"] >= 50
    assert counts["kills"]["recovery"] >= 200
    assert counts["peer_changes"] >= 100
    assert not _ONE_FILE - set(counts["states"])
    assert not _TWO_FILES - set(counts["states"])


def test_a_killed_commit_of_a_megabyte_is_whole_or_was_not_made(
    harness: _Harness,
) -> None:
    status, counts = harness.counts("large")

    _assert_faultless(status, counts)
    assert counts["kills"]["commit"] >= 400
    assert counts["kills"]["write cut short"] >= 50
    assert counts["kills"]["recovery"] >= 20
    assert not _ONE_FILE - set(counts["states"])
    assert not _TWO_LARGE_FILES - set(counts["states"])


def test_writers_killed_at_random_lose_and_double_no_update(
    harness: _Harness,
) -> None:
    status, counts = harness.counts("crowd")

    _assert_faultless(status, counts)
    assert counts["kills"]["crowd"] == 300
    assert counts["acknowledged"] >= 100
    assert counts["recovered"] >= 1


def test_the_harness_says_what_it_counted_and_what_was_wrong() -> None:
    counts = Counts(acknowledged=7)
    counts.kills.update({"commit": 2, "crowd": 1})
    counts.complain("lost", "an update of somebody")

    said = counts.as_text()
    assert "kills: 3" in said
    assert "7 acknowledged" in said
    assert "lost: 1" in said
    assert "an update of somebody" in said
