"""Tests of the OpenMetrics text, which the parser of the client library reads."""

from __future__ import annotations

from pathlib import Path

import pytest

from registry.storage.metrics import LockMetrics
from tests.support.openmetrics import samples
from tests.support.rolls import (
    agent,
    answered,
    called,
    cannot_tell,
    roll_call,
    session,
    task_state,
)
from tui.app.screens.metrics import Measures, measure_parts
from tui.cli.openmetrics import exposition

LIVE = answered(session("agent_live"))


def measured(*waits: float) -> LockMetrics:
    """Returns lock metrics after these waits, in seconds."""
    made = LockMetrics()
    for wait in waits:
        one = LockMetrics(acquisitions=1, waited=wait, longest_wait=wait)
        one.buckets[next(i for i, b in enumerate(_bounds()) if wait <= b)] = 1
        made.add(one)
    return made


def _bounds() -> tuple[float, ...]:
    from registry.storage.metrics import WAIT_BOUNDS

    return (*WAIT_BOUNDS, float("inf"))


def test_orphans_are_counted_only_where_somebody_can_tell() -> None:
    for answer, told in ((LIVE, True), (cannot_tell(), False)):
        roll = roll_call(*called(task_state(agent("live")), answer=answer), answer=answer)
        assert (("muster_orphans", ()) in samples(exposition(roll, {}))) is told


def test_what_it_prints_is_open_metrics_with_the_numbers_that_were_counted() -> None:
    state = task_state(agent("live"), agent("zombie"))
    roll = roll_call(*called(state, answer=LIVE), answer=LIVE)
    numbers = measured(*[0.0002] * 98, 0.3, 0.6)
    numbers.timeouts, numbers.recoveries, numbers.corrupt_reads = 1, 2, 3
    text = exposition(roll, {"/ws/TASK-1/AGENT_REGISTRY.json": numbers})
    assert text.endswith("# EOF\n")
    found = samples(text)
    where = str(roll.workspaces[0].path)
    assert found["muster_agents", ("live", where)] == 1
    assert found["muster_agents", ("zombie", where)] == 1
    assert found["muster_tmux_answered", ()] == 1
    path = ("/ws/TASK-1/AGENT_REGISTRY.json",)
    assert found["muster_lock_acquisitions_total", path] == 100
    assert found["muster_lock_timeouts_total", path] == 1
    assert found["muster_recoveries_total", path] == 2
    assert found["muster_corrupt_reads_total", path] == 3
    assert found["muster_lock_wait_seconds_count", path] == 100
    assert found["muster_lock_wait_seconds_sum", path] == pytest.approx(98 * 0.0002 + 0.9)
    assert found["muster_lock_wait_longest_seconds", path] == 0.6
    p50 = found["muster_lock_wait_quantile_seconds", ("0.5", *path)]
    p99 = found["muster_lock_wait_quantile_seconds", ("0.99", *path)]
    assert 0.0002 <= p50 <= 0.0004
    assert 0.3 <= p99 <= 0.6


def test_what_nobody_knows_is_left_out_and_names_do_no_harm() -> None:
    broken = task_state(readable=False, error="is empty", name='T"\\\n\x1b[31m')
    answer = cannot_tell()
    roll = roll_call(*called(broken, answer=answer), answer=answer)
    text = exposition(roll, {'/ws/T"\n\x1b[31m/AGENT_REGISTRY.json': measured()})
    assert "\x1b" not in text
    found = samples(text)
    assert found["muster_tmux_answered", ()] == 0
    assert found["muster_unreadable_registries", (str(roll.workspaces[0].path),)] == 1
    assert not any("quantile" in name for name, _ in found)


def test_the_panel_says_what_is_as_it_should_be_and_what_is_not() -> None:
    good = "".join(_text(Measures({"/ws/T/AGENT_REGISTRY.json": measured(0.0002)}, 2, 0)))
    assert good.count("✓") == 4 and "✗" not in good
    slow = measured(0.5)
    slow.timeouts = slow.corrupt_reads = 1
    bad = "".join(_text(Measures({"/ws/T/AGENT_REGISTRY.json": slow}, 5, 3)))
    assert bad.count("✗") == 4 and "5 (+3 since opened)" in bad
    assert all(len(line) <= 68 for line in good.split("\n")[:4])


def _text(measures: Measures) -> list[str]:
    return [part if isinstance(part, str) else part[0] for part in measure_parts(measures)]


def test_of_nothing_there_is_nothing_to_say() -> None:
    text = "".join(_text(Measures({}, 0, 0)))
    assert "0 locks acquired" in text and str(Path("/")) not in text.split("publish")[0]


def test_a_file_that_cannot_be_read_is_named_below_the_numbers() -> None:
    text = "".join(_text(Measures({}, 0, 0, ("cannot read /ws/\x1b[31m",))))
    assert "cannot read /ws/" in text and "\x1b" not in text
