"""Time in which nothing ran: a machine was suspended, or its clock was set forward."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.support.rolls import NOW, POLICY, agent, answered, session
from tui.model.clock_jumps import ClockJump, ClockReading, next_jumps, seconds_between
from tui.model.evidence import Evidence
from tui.model.orphans import find_orphans
from tui.model.roll import Verdict
from tui.model.verdict import JUST_STARTED, judge

NIGHT = 8 * 3600.0


def test_a_jump_is_what_the_clock_went_on_and_no_process_did() -> None:
    evening, morning = ClockReading(NOW, 50.0), ClockReading(NOW + NIGHT + 3, 53.0)
    assert next_jumps((), None, evening) == ()
    (jump,) = next_jumps((), evening, morning)
    assert jump == ClockJump(NOW + NIGHT, NIGHT)
    assert next_jumps((jump,), morning, ClockReading(NOW + NIGHT + 9, 59.0)) == (jump,)
    assert seconds_between(NOW, morning.wall, [jump]) == 3
    assert seconds_between(NOW + NIGHT, morning.wall, [jump]) == 3
    assert seconds_between(NOW - 60, NOW + 1, [jump]) == 61


@pytest.mark.parametrize("step", [-NIGHT, -1.0, 0.0, 1.0])
def test_a_clock_set_back_or_corrected_a_little_has_not_jumped(step: float) -> None:
    later = ClockReading(NOW + 3 + step, 53.0)
    assert next_jumps((), ClockReading(NOW, 50.0), later) == ()


def test_a_short_jump_counts_for_all_that_may_have_been_before_it() -> None:
    (jump,) = next_jumps((), ClockReading(NOW, 50.0), ClockReading(NOW + 110, 150.0))
    assert jump == ClockJump(NOW + 100, 10.0)


def test_only_so_many_jumps_are_kept() -> None:
    jumps: tuple[ClockJump, ...] = ()
    for number in range(300):
        before = ClockReading(NOW + 100 * number, 0.0)
        jumps = next_jumps(jumps, before, ClockReading(before.wall + 50, 1.0))
    assert len(jumps) == 100 and jumps[-1].at > jumps[0].at > NOW + 19_000


def test_an_agent_is_not_silent_while_the_machine_sleeps() -> None:
    own = session(activity=NOW - 60)
    record = replace(agent(), updated=NOW - 60)
    morning = NOW + NIGHT
    evidence = Evidence(answered(own))
    assert judge(record, evidence, POLICY, morning).verdict is Verdict.STALLED
    evidence = replace(evidence, jumps=(ClockJump(morning, NIGHT),))
    assert judge(record, evidence, POLICY, morning).verdict is Verdict.LIVE
    awake = POLICY.stall_timeout
    assert judge(record, evidence, POLICY, morning + awake - 61).verdict is Verdict.LIVE
    assert judge(record, evidence, POLICY, morning + awake - 59).verdict is Verdict.STALLED


def test_what_was_new_in_the_evening_is_new_in_the_morning() -> None:
    new = agent(started=NOW - 1)
    jumps = (ClockJump(NOW + NIGHT, NIGHT),)
    name = new.tmux_session or ""
    evidence = Evidence(answered(), {name: -1.0}, jumps=jumps)
    assert judge(new, evidence, POLICY, NOW + NIGHT + 1).note == JUST_STARTED
    assert judge(new, evidence, POLICY, NOW + NIGHT + 5).verdict is Verdict.ZOMBIE
    there = answered(session(created=NOW - 1))
    assert find_orphans([], (), there, POLICY, NOW + NIGHT + 1, jumps) == ()
    assert find_orphans([], (), there, POLICY, NOW + NIGHT + 10, jumps) != ()
