"""A power cut at any moment of a durable commit leaves all of it or nothing."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import pytest

from registry.storage.journal import OVER
from tests.support.disk_model import Event, Flushed, FlushedDirectory, Wrote
from tests.support.power_stories import GLOBAL, STORIES, TASK, flat
from tests.torture.power import Step, Story, Tally, Theatre, cut_everywhere, distinct, plainly

SEED = 20251018

_tallies: dict[str, Tally] = {}

pytestmark = pytest.mark.usefixtures("quiet")


@pytest.fixture
def theatre(tmp_path: Path) -> Theatre:
    return Theatre(tmp_path)


def tally_of(theatre: Theatre, story: Story) -> Tally:
    if story.name not in _tallies:
        tally = _tallies[story.name] = Tally()
        rng = random.Random(f"{SEED} {story.name}")
        trace = theatre.play(story)
        cut_everywhere(theatre, trace, rng, at_random=80, second=3, tally=tally)
    return _tallies[story.name]


@pytest.mark.parametrize("story", STORIES, ids=lambda story: story.name)
def test_after_a_power_cut_all_is_there_or_nothing(theatre: Theatre, story: Story) -> None:
    tally = tally_of(theatre, story)
    print(f"{story.name:44} {tally}")
    assert not tally.failures, "\n".join(tally.failures[:5])
    assert len(tally.cuts) >= 9
    assert tally.states
    assert tally.second_cuts


def test_enough_was_tried(theatre: Theatre, capsys: pytest.CaptureFixture[str]) -> None:
    tallies = [tally_of(theatre, story) for story in STORIES]
    of_two = [tally_of(theatre, story) for story in STORIES if len(story.files) == 2]
    failures = sum(len(tally.failures) for tally in tallies)
    again = len(set().union(*(tally.second_cuts for tally in tallies)))
    with capsys.disabled():
        print(
            f"\n{distinct(tallies)} disks after a power cut, {distinct(of_two)} of two files, "
            f"{again} after a second cut during recovery: {failures} failures"
        )
    assert distinct(tallies) >= 5000
    assert distinct(of_two) >= 2000
    assert again >= 2000
    assert failures == 0


def failures_of(
    theatre: Theatre, story: Story, forgotten: tuple[Event, ...] = (), after: Event | None = None
) -> Tally:
    """What happens if some flushes never reach the disk."""
    trace = theatre.play(story)
    start = trace.events.index(after) if after else 0
    kept = [
        event
        for number, event in enumerate(trace.events)
        if number < start or event not in forgotten
    ]
    assert len(kept) < len(trace.events) or not forgotten
    tally = Tally()
    rng = random.Random(SEED)
    trace = replace(trace, events=tuple(kept))
    cut_everywhere(theatre, trace, rng, at_random=20, second=0, tally=tally)
    print(f"{story.name}, without {forgotten}: {tally}")
    return tally


def test_the_model_sees_what_is_wrong_with_write_and_fsync(theatre: Theatre) -> None:
    naive = Step(plainly({TASK: flat("n", 1900)}, flushed=True))
    tally = failures_of(theatre, Story("naive", {TASK: flat("o", 1400)}, (naive,)))
    assert len(tally.failures) > 10


JOURNAL = "TASK-1/.AGENT_REGISTRY.json.journal"
GLOBAL_JOURNAL = "registry/.GLOBAL_REGISTRY.json.journal"
_BY_NAME = {story.name: story for story in STORIES}


@pytest.mark.parametrize(
    ("story", "forgotten", "after"),
    [
        ("grows by sectors", (Flushed(JOURNAL),), None),
        ("grows by sectors", (FlushedDirectory("TASK-1"),), None),
        ("grows by sectors", (Flushed(TASK),), None),
        ("two grow", (Flushed(GLOBAL),), None),
        ("two grow", (FlushedDirectory("registry"),), None),
        ("after a peer who did not flush", (Flushed(TASK),), None),
        (
            "a peer undoes both by hand",
            (Flushed(GLOBAL_JOURNAL),),
            Wrote(GLOBAL_JOURNAL, 0, OVER),
        ),
        ("a peer undoes half by hand", (Flushed(JOURNAL),), Wrote(JOURNAL, 0, OVER)),
    ],
)
def test_the_model_sees_a_flush_that_was_forgotten(
    theatre: Theatre, story: str, forgotten: tuple[Event, ...], after: Event | None
) -> None:
    assert failures_of(theatre, _BY_NAME[story], forgotten, after).failures
