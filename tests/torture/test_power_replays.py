"""What the power cuts once found: each a disk, or an order of flushes, of its own."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from registry.storage.journal import Journal, Role, digest, encode
from tests.support.disk_model import (
    SECTOR,
    Created,
    Disk,
    Event,
    Flushed,
    FlushedDirectory,
    Returned,
    Wrote,
)
from tests.support.kept_journals import without_kept
from tests.support.power_stories import GLOBAL, TASK, flat, killed, nested, recovering
from tests.torture.power import Step, Story, Theatre, durably, plainly

JOURNAL = "TASK-1/.AGENT_REGISTRY.json.journal"
GLOBAL_JOURNAL = "registry/.GLOBAL_REGISTRY.json.journal"
SEED = 20251018


@pytest.fixture
def theatre(tmp_path: Path) -> Theatre:
    return Theatre(tmp_path)


def journal_of(old: bytes, new: bytes) -> bytes:
    """A durable commit's journal, of a boot that is over."""
    return encode(Journal("t", Role.ALONE, None, "another", len(old), digest(old), old, new))


def opened_after_a_cut(theatre: Theatre, data: bytes, old: bytes, new: bytes) -> dict[str, bytes]:
    """What is on the disk once the first writer has opened what the cut left."""
    theatre.lay_out({TASK: data, JOURNAL: journal_of(old, new)})
    theatre.reopen((TASK,), 1)
    there = (theatre.root / "TASK-1").iterdir()
    return without_kept({path.name: path.read_bytes() for path in there})


def test_a_mix_that_parses_by_chance_does_not_stand_as_a_peer_s_text(theatre: Theatre) -> None:
    old, new = nested("o", 1001), flat("n", 1000)
    # The new text's second sector lies over the old one, whose last byte was not cut off.
    data = old[:SECTOR] + new[SECTOR:] + old[len(new) :]
    assert opened_after_a_cut(theatre, data, old, new) == {"AGENT_REGISTRY.json": new}


@pytest.mark.parametrize("filler", [b" ", b"\0"], ids=["spaces", "zeros"])
def test_what_a_recovery_that_was_cut_off_reserved_is_not_set_aside(
    theatre: Theatre, filler: bytes
) -> None:
    old, new = flat("o", 1000), flat("n", 1536)
    data = old[:SECTOR] + new[SECTOR:1000] + filler * 536
    assert opened_after_a_cut(theatre, data, old, new) == {"AGENT_REGISTRY.json": new}


def position(events: Sequence[Event], wanted: Event) -> int:
    assert wanted in events, f"{wanted} did not happen"
    return events.index(wanted)


def first_write(events: Sequence[Event], path: str) -> int:
    return next(
        n for n, each in enumerate(events) if isinstance(each, Wrote) and each.path == path
    )


def test_the_text_of_a_peer_who_did_not_flush_is_flushed_before_a_journal_tells_of_it(
    theatre: Theatre,
) -> None:
    peer = Step(plainly({TASK: flat("u", 1700)}, flushed=False), atomic=False, flushed=False)
    ours = Step(durably({TASK: flat("n", 1900)}))
    events = theatre.play(Story("a peer first", {TASK: flat("o", 1500)}, (peer, ours))).events
    events = events[events.index(Returned()) :]
    assert position(events, Flushed(TASK)) < position(events, Created(JOURNAL))


@pytest.mark.parametrize("opened", [TASK, GLOBAL])
def test_a_journal_that_a_killed_process_did_not_flush_is_flushed_before_it_is_followed(
    theatre: Theatre, opened: str
) -> None:
    # Ten events: both journals are whole, of the second nothing is on the disk yet.
    events = theatre.play(killed(10, (opened,))).events
    events = events[events.index(Returned()) :]
    followed = first_write(events, TASK)
    assert position(events, Flushed(GLOBAL_JOURNAL)) < followed
    assert position(events, FlushedDirectory("registry")) < followed


def test_a_text_that_recovery_sets_aside_is_not_lost_to_a_power_cut(theatre: Theatre) -> None:
    broken = b'{"text": "somebody broke off'
    old, new = flat("o", 700), flat("n", 1200)
    files = {TASK: broken, JOURNAL: journal_of(old, new)}
    trace = theatre.play(Story("set aside", files, (Step(recovering((TASK,))),)))
    assert trace.texts[-1][TASK] == new
    states = states_of(files, trace.events)
    assert len(states) > 20
    assert all(broken in texts for texts in states)
    # The model sees that a copy is lost if it gets its name before it is flushed.
    forgotten = [replace(e, flushed=False) if isinstance(e, Created) else e for e in trace.events]
    assert not all(broken in texts for texts in states_of(files, forgotten))


def states_of(files: Mapping[str, bytes], events: Sequence[Event]) -> list[set[bytes]]:
    """Returns the texts that the disk may have after each of the events."""
    disk = Disk(files)
    states = []
    for event in events:
        disk.happen(event)
        states += [{text for _, text in state} for state in disk.states(random.Random(SEED), 20)]
    return states
