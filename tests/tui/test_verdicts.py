"""The verdict on every agent: what its registry says against what tmux has."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.records import ACTIVE_STATUSES, TERMINAL_STATUSES, AgentRecord, TaskRecord
from tests.tui.rolls import (
    NOW,
    POLICY,
    agent,
    answered,
    any_task,
    asked_twice,
    called,
    cannot_tell,
    no_server,
    session,
    task_state,
)
from tui.absences import (
    expected_sessions,
    follow_renamed,
    is_proven_missing,
    note_absences,
)
from tui.host.sessions import Answer
from tui.roll import TaskState, Verdict
from tui.rollcall import call_task, find_orphans, judge


def verdict_of(record: AgentRecord, answer: Answer) -> Verdict:
    (roll,) = called(task_state(record), answer=answer)
    return roll.agents[0].verdict


ACTIVE = sorted(ACTIVE_STATUSES)
TERMINAL = sorted(TERMINAL_STATUSES)
NAME = "agent_tester-120000-abcdef"


@pytest.mark.parametrize("status", ACTIVE)
@pytest.mark.parametrize(
    ("answer", "verdict"),
    [
        (answered(session()), Verdict.LIVE),
        (answered(), Verdict.ZOMBIE),
        (answered(session(NAME + "0"), session(NAME[:-1], number=2)), Verdict.ZOMBIE),
        (no_server(), Verdict.ZOMBIE),
        (cannot_tell(), Verdict.UNKNOWN),
    ],
    ids=["there", "missing", "only alike", "no server", "cannot tell"],
)
def test_an_active_agent_lives_or_dies_with_its_session(
    status: str, answer: Answer, verdict: Verdict
) -> None:
    assert verdict_of(agent(status=status), answer) is verdict


@pytest.mark.parametrize("status", TERMINAL)
@pytest.mark.parametrize(
    ("answer", "verdict"),
    [
        (answered(session()), Verdict.LEAKED),
        (answered(), Verdict.FINISHED),
        (no_server(), Verdict.FINISHED),
        (cannot_tell(), Verdict.FINISHED),
    ],
    ids=["there", "missing", "no server", "cannot tell"],
)
def test_an_agent_that_is_through_is_finished_or_leaked(
    status: str, answer: Answer, verdict: Verdict
) -> None:
    assert verdict_of(agent(status=status), answer) is verdict


@pytest.mark.parametrize("status", ["", "paused", "RUNNING", "running "])
@pytest.mark.parametrize("answer", [answered(), no_server(), cannot_tell()])
def test_an_unknown_status_without_a_session_proves_nothing(status: str, answer: Answer) -> None:
    assert verdict_of(agent(status=status), answer) is Verdict.UNKNOWN


def test_an_agent_whose_registry_names_no_session_cannot_be_judged() -> None:
    assert verdict_of(agent(session=None), answered()) is Verdict.UNKNOWN


@pytest.mark.parametrize("name", ["agent_v1.2:3", "agent_v1_2_3"])
def test_a_session_is_known_by_the_name_that_tmux_gave_it(name: str) -> None:
    answer = answered(session("agent_v1_2_3"))
    assert verdict_of(agent(session=name), answer) is Verdict.LIVE


@pytest.mark.parametrize(
    "name",
    ["agent_#{pid}", "agent_#(x)", "agent_a\\b", "agent_$HOME", "agent_\x1b", "agent_\u0378"],
    ids=ascii,
)
def test_a_name_that_tmux_would_rewrite_beyond_knowing_proves_nothing(name: str) -> None:
    (row,) = called(task_state(agent(session=name)), answer=answered())[0].agents
    assert row.verdict is Verdict.UNKNOWN
    assert "name" in row.note


@given(st.sampled_from([answered(session()), answered(), no_server(), cannot_tell()]), any_task)
def test_nobody_is_a_zombie_without_every_sign_of_it(answer: Answer, record: TaskRecord) -> None:
    (roll,) = called(task_state(record=record), answer=answer)
    for row in roll.agents:
        if row.verdict is Verdict.ZOMBIE:
            assert row.record.status in ACTIVE_STATUSES
            assert row.session is None
            assert answer.state != "unknown"
            assert row.record.tmux_session not in answer.sessions


@given(any_task)
def test_the_counts_are_those_of_the_rows(record: TaskRecord) -> None:
    (roll,) = called(task_state(record=record), answer=answered(session("agent_a")))
    assert dict(roll.counts) == {
        verdict: sum(row.verdict is verdict for row in roll.agents) for verdict in Verdict
    }


# --- the proof of a death -----------------------------------------------------


def after(state: TaskState, *answers: Answer) -> Verdict:
    """The verdict on a task's only agent after these answers."""
    absences: Mapping[str, float] = {}
    for answer in answers:
        absences = note_absences(absences, answer, expected_sessions([state], POLICY, NOW))
    return call_task(state, answers[-1], absences, POLICY, NOW).agents[0].verdict


def test_one_answer_proves_no_death() -> None:
    assert after(task_state(agent()), answered()) is Verdict.UNKNOWN


def test_two_answers_too_close_to_each_other_prove_no_death() -> None:
    state = task_state(agent())
    assert after(state, answered(asked_at=1.0), answered(asked_at=1.74)) is Verdict.UNKNOWN


def test_two_answers_far_enough_apart_prove_a_death() -> None:
    state = task_state(agent())
    assert after(state, answered(asked_at=1.0), no_server(asked_at=1.75)) is Verdict.ZOMBIE


def test_a_session_that_is_seen_in_between_starts_anew() -> None:
    state = task_state(agent())
    gone, there = answered(asked_at=1.0), answered(session(), asked_at=2.0)
    assert after(state, gone, there, answered(asked_at=3.0)) is Verdict.UNKNOWN
    later = answered(asked_at=3.75)
    assert after(state, gone, there, answered(asked_at=3.0), later) is Verdict.ZOMBIE


def test_an_answer_that_is_none_proves_nothing_either_way() -> None:
    state = task_state(agent())
    gone, silent = answered(asked_at=1.0), cannot_tell(asked_at=2.0)
    assert after(state, gone, silent) is Verdict.UNKNOWN
    assert after(state, silent, answered(asked_at=3.0)) is Verdict.UNKNOWN
    assert after(state, gone, silent, answered(asked_at=3.0)) is Verdict.ZOMBIE


def test_an_agent_that_was_not_expected_before_starts_anew() -> None:
    expected = expected_sessions([task_state(agent())], POLICY, NOW)
    first = note_absences({}, answered(asked_at=1.0), expected)
    without = note_absences(first, answered(asked_at=2.0), ())
    again = note_absences(without, answered(asked_at=3.0), expected)
    assert not is_proven_missing(NAME, again, answered(asked_at=3.0), POLICY.proof)


@pytest.mark.parametrize("started", [NOW + 7200, NOW + 1, None])
def test_an_agent_whose_start_nobody_knows_must_be_missing_for_all_of_the_grace(
    started: float | None,
) -> None:
    state = task_state(agent(started=started))
    assert after(state, answered(asked_at=1.0), answered(asked_at=5.9)) is Verdict.UNKNOWN
    assert after(state, answered(asked_at=1.0), answered(asked_at=6.0)) is Verdict.ZOMBIE


def test_an_agent_whose_session_was_renamed_is_no_zombie_and_its_session_no_orphan() -> None:
    seen = {NAME: session()}
    renamed = replace(session(), name="agent_renamed")
    answer = follow_renamed(answered(renamed, asked_at=9.0), seen)
    state = task_state(agent())
    row = call_task(state, answer, {NAME: 1.0}, POLICY, NOW).agents[0]
    assert (row.verdict, row.session) == (Verdict.LIVE, renamed)
    assert "agent_renamed" in row.note
    assert find_orphans([state], (), answer, POLICY, NOW) == ()


def test_a_session_that_has_a_freed_name_or_a_used_again_id_is_not_followed() -> None:
    seen = {NAME: session()}
    other = replace(session(created=session().created + 60), name="other")
    assert follow_renamed(answered(other), seen) == answered(other)
    assert follow_renamed(answered(), seen) == answered()


@pytest.mark.parametrize("age", [0.0, 4.9])
def test_an_agent_that_just_started_is_not_called_a_zombie(age: float) -> None:
    assert verdict_of(agent(started=NOW - age), answered()) is Verdict.UNKNOWN


@pytest.mark.parametrize("started", [NOW - 5.0, None])
def test_the_grace_after_the_start_ends(started: float | None) -> None:
    assert verdict_of(agent(started=started), answered()) is Verdict.ZOMBIE


def test_no_death_is_called_from_a_registry_that_cannot_be_read_now() -> None:
    state = task_state(agent(), error="is empty")
    assert called(state, answer=answered())[0].agents[0].verdict is Verdict.UNKNOWN


def test_every_verdict_that_needs_it_says_why() -> None:
    absences, answer = asked_twice([], cannot_tell())
    assert judge(agent(), answer, absences, POLICY, NOW)[2] == "Permission denied"
    (row,) = called(task_state(agent()), answer=answered())[0].agents
    assert NAME in row.note


# --- signs of life ------------------------------------------------------------

LONG = POLICY.stall_after + 1


def test_an_agent_without_any_sign_of_life_is_stalled() -> None:
    record = agent(started=NOW - LONG, updated=NOW - LONG)
    silent = answered(session(created=NOW - LONG, activity=NOW - LONG))
    assert verdict_of(record, silent) is Verdict.STALLED


@pytest.mark.parametrize("sign", ["report", "output", "start"])
def test_any_sign_of_life_keeps_an_agent_from_being_stalled(sign: str) -> None:
    old = NOW - LONG
    record = agent(
        updated=NOW - 5 if sign == "report" else old, started=NOW - 5 if sign == "start" else old
    )
    there = session(created=old, activity=NOW - 5 if sign == "output" else old)
    assert verdict_of(record, answered(there)) is Verdict.LIVE
