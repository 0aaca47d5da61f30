"""An agent that reported its end, and whose session is gone, is ending before it is a zombie."""

from __future__ import annotations

from dataclasses import replace

import pytest

from registry.agent_output import ReportedEnd
from registry.schema import END_DELAY
from tests.support.rolls import (
    NOW,
    POLICY,
    agent,
    answered,
    asked_twice,
    cannot_tell,
    session,
    task_state,
)
from tui.host.tmux_types import DeadPane, TmuxSnapshot
from tui.model.alerts import kind_of
from tui.model.call import call_task, starts_of_missing
from tui.model.clock_jumps import ClockJump
from tui.model.evidence import Evidence
from tui.model.mass_death import find_mass_death
from tui.model.roll import TaskRoll, TaskState, Verdict
from tui.model.verdict import ENDING, JUST_STARTED

ID = "tester-120000-abcdef"
STATE = task_state(agent())


def reported(seconds_ago: float, status: str = "completed") -> ReportedEnd:
    return ReportedEnd(status, "done", "2025-10-09T08:00:00", NOW - seconds_ago)


def rolled(
    end: ReportedEnd | None,
    answer: TmuxSnapshot | None = None,
    state: TaskState = STATE,
    before: TaskRoll | None = None,
    jumps: tuple[ClockJump, ...] = (),
) -> TaskRoll:
    evidence = replace(asked_twice([state], answer or answered()), jumps=jumps)
    ends = {} if end is None else {row.id: end for row in state.record.agents}  # type: ignore[union-attr]
    return call_task(state, evidence, POLICY, NOW, before=before, ends=ends)


@pytest.mark.parametrize("status", ["completed", "failed", "error", "terminated"])
@pytest.mark.parametrize(
    ("seconds_ago", "verdict"),
    [
        (-5, Verdict.UNKNOWN),
        (0, Verdict.UNKNOWN),
        (END_DELAY - 0.01, Verdict.UNKNOWN),
        (END_DELAY, Verdict.ZOMBIE),
        (9999, Verdict.ZOMBIE),
    ],
)
def test_it_is_ending_for_ten_seconds_after_its_report(
    status: str, seconds_ago: float, verdict: Verdict
) -> None:
    roll = rolled(reported(seconds_ago, status))
    (row,) = roll.agents
    assert row.verdict is verdict
    assert (row.note == ENDING) == (verdict is Verdict.UNKNOWN)
    assert roll.counts[verdict] == 1
    assert rolled(None).counts[Verdict.ZOMBIE] == 1


def test_an_agent_that_is_ending_raises_no_alarm_and_a_zombie_does() -> None:
    assert kind_of(rolled(reported(1)).agents[0]) is None
    assert kind_of(rolled(reported(60)).agents[0]) == "zombie"


DEAD = DeadPane(0, int(NOW) - 100, "%1", 3)


@pytest.mark.parametrize(
    ("answer", "verdict", "note"),
    [
        (answered(session()), Verdict.LIVE, ""),
        (answered(replace(session(), dead=(DEAD,), ended=DEAD)), Verdict.UNKNOWN, ENDING),
        (cannot_tell(), Verdict.UNKNOWN, "Permission denied"),
    ],
    ids=["its session exists", "its process ended", "tmux cannot tell"],
)
def test_only_an_agent_that_would_be_a_zombie_is_ending(
    answer: TmuxSnapshot, verdict: Verdict, note: str
) -> None:
    (row,) = rolled(reported(1), answer).agents
    assert (row.verdict, row.note) == (verdict, note)


def test_other_reasons_to_doubt_a_death_come_first() -> None:
    (row,) = rolled(reported(1), state=task_state(agent(started=NOW - 1))).agents
    assert row.note == JUST_STARTED
    finished = task_state(agent(status="completed"))
    assert rolled(reported(1), state=finished).agents[0].verdict is Verdict.FINISHED
    unreadable = replace(STATE, error="busy")
    (row,) = rolled(reported(60), state=unreadable).agents
    assert row.verdict is Verdict.UNKNOWN and "cannot be read now" in row.note


def test_time_in_which_no_process_ran_does_not_count() -> None:
    jump = ClockJump(NOW - 5, 3600)
    state = task_state(agent(started=NOW - 9999))
    assert rolled(reported(3605), state=state, jumps=(jump,)).agents[0].note == ENDING
    assert rolled(reported(3615), state=state, jumps=(jump,)).counts[Verdict.ZOMBIE] == 1


def test_an_unchanged_zombie_is_judged_again_when_its_report_is_seen() -> None:
    before = rolled(None)
    assert before.counts[Verdict.ZOMBIE] == 1
    assert rolled(None, before=before).agents[0] is before.agents[0]
    assert rolled(reported(1), before=before).counts[Verdict.UNKNOWN] == 1


def test_agents_that_are_ending_are_no_mass_death() -> None:
    state = task_state(*(agent(f"a-{number}") for number in range(5)))
    missing = asked_twice([state], answered()).missing_since
    ending, dead = rolled(reported(1), state=state), rolled(reported(60), state=state)
    assert find_mass_death([ending], missing, POLICY) is None
    assert find_mass_death([dead], missing, POLICY) is not None


def test_a_report_is_believed_only_if_the_start_of_its_agent_is_known() -> None:
    state = task_state(
        agent("once", started=NOW - 50),
        agent("twice", started=NOW - 90),
        agent("twice", status="completed", started=NOW - 70),
        agent("same", started=NOW - 60),
        agent("same", status="completed", started=NOW - 60),
        agent("unknown", started=None),
        agent("over", status="completed"),
    )
    roll = rolled(None, state=state)
    assert starts_of_missing(roll, Evidence(answered())) == {"once": NOW - 50, "same": NOW - 60}
