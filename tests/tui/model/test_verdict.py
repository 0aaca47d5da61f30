"""The verdict on every agent: what its registry says against what tmux has."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.schema.records import AgentRecord, TaskRecord, agent_record
from registry.schema.statuses import ACTIVE_STATUSES, TERMINAL_STATUSES
from tests.support.rolls import (
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
from tests.support.time_zones import local, set_back_at, time_zone
from tui.host.tmux_types import DeadPane, TmuxSnapshot
from tui.model.call import call_task
from tui.model.evidence import (
    Evidence,
    expected_sessions,
    follow_renamed,
    is_proven_missing,
    note_absences,
)
from tui.model.orphans import find_orphans
from tui.model.roll import TaskState, Verdict
from tui.model.suspects import find_renamed
from tui.model.verdict import JUST_STARTED, Judgement, judge


def verdict_of(record: AgentRecord, answer: TmuxSnapshot) -> Verdict:
    (roll,) = called(task_state(record), answer=answer)
    return roll.agents[0].verdict


def ended(status: str) -> Verdict:
    """The verdict on an agent with this terminal status and without a session."""
    return Verdict.FAILED if status in ("error", "failed") else Verdict.FINISHED


def at_work(status: str) -> Verdict:
    """The verdict on an agent with this active status and with a session."""
    return Verdict.BLOCKED if status == "blocked" else Verdict.LIVE


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
    status: str, answer: TmuxSnapshot, verdict: Verdict
) -> None:
    expected = {Verdict.LIVE: at_work(status)}.get(verdict, verdict)
    assert verdict_of(agent(status=status), answer) is expected


DEAD = DeadPane(7, int(NOW) - 100, "%1", 3)
"""The pane of an agent that ended 100 seconds ago."""


@pytest.mark.parametrize("status", ACTIVE)
@pytest.mark.parametrize(
    ("reported", "pids", "verdict"),
    [
        (NOW - 200, (), Verdict.ZOMBIE),
        (NOW - 200, (8,), Verdict.ZOMBIE),
        (NOW - 99, (8,), Verdict.ZOMBIE),
        (NOW - 98, (8,), Verdict.UNKNOWN),
        (NOW - 98, (), Verdict.ZOMBIE),
        (NOW + 60, (8,), Verdict.ZOMBIE),
    ],
)
def test_a_report_after_the_end_counts_if_there_is_another_pane(
    status: str, reported: float, pids: tuple[int, ...], verdict: Verdict
) -> None:
    own = replace(session(), pids=pids, dead=(DEAD,), ended=DEAD)
    record = replace(agent(status=status), updated=reported)
    judgement = judge(record, Evidence(answered(own)), POLICY, NOW)
    assert (judgement.verdict, judgement.session) == (verdict, own)
    assert judgement.note.startswith("its process has ended with exit status 3")


@pytest.mark.parametrize("status", TERMINAL)
def test_what_has_ended_is_leaked_only_with_another_pane(status: str) -> None:
    own = replace(session(), pids=(), dead=(DEAD,), ended=DEAD)
    assert verdict_of(agent(status=status), answered(own)) is ended(status)
    assert verdict_of(agent(status=status), answered(replace(own, pids=(8,)))) is Verdict.LEAKED


def test_without_a_status_it_is_unknown_how_an_ended_agent_is() -> None:
    own = replace(session(), pids=(), dead=(DEAD,), ended=DEAD)
    judgement = judge(agent(status=""), Evidence(answered(own)), POLICY, NOW)
    assert judgement.verdict is Verdict.UNKNOWN and "exit status 3" in judgement.note


@pytest.mark.parametrize(
    ("fields", "verdict"),
    [
        ({"updated": NOW - 101}, Verdict.UNKNOWN),
        ({"updated": None}, Verdict.UNKNOWN),
        ({"updated": NOW + 9}, Verdict.UNKNOWN),
        ({"updated": NOW - 99}, Verdict.LIVE),
        ({"updated": None, "started": NOW - 98}, Verdict.LIVE),
        ({"updated": None, "started": NOW + 9}, Verdict.UNKNOWN),
        ({"updated": None, "started": None}, Verdict.UNKNOWN),
    ],
)
def test_a_pane_that_began_later_is_the_agents_if_it_starts_or_reports_then(
    fields: dict[str, float | None], verdict: Verdict
) -> None:
    own = replace(session(created=NOW - 390), pids=(8,), later=NOW - 100)
    record = replace(agent(started=NOW - 390), **fields)  # type: ignore[arg-type]
    judgement = judge(record, Evidence(answered(own)), POLICY, NOW)
    assert (judgement.verdict, judgement.session) == (verdict, own)
    assert verdict is Verdict.LIVE or "first pane of its session is gone" in judgement.note
    assert verdict_of(agent(status="completed"), answered(own)) is Verdict.LEAKED


@pytest.fixture
def hour_again() -> Iterator[float]:
    """A moment in an hour that comes the second time: the clocks went back a quarter ago."""
    now = time.time()
    with time_zone(set_back_at(now - 900)):
        yield now


def started_at(moment: float, agent_id: str = "new") -> AgentRecord:
    """An agent's entry as it is read now; its time has no time zone."""
    fields = {"status": "running", "tmux_session": f"agent_{agent_id}"}
    return agent_record(agent_id, fields | {"started_at": local(moment)})


def test_a_newborn_in_the_hour_that_comes_twice_is_no_zombie(hour_again: float) -> None:
    evidence = Evidence(answered(), {"agent_new": -1.0})
    judgement = judge(started_at(hour_again), evidence, POLICY, hour_again + 1)
    assert judgement == Judgement(Verdict.UNKNOWN, note=JUST_STARTED)


@pytest.mark.parametrize("ago", [0, 600, 1200, 4000, 7200])
def test_an_agent_keeps_its_session_in_the_hour_that_comes_twice(
    hour_again: float, ago: int
) -> None:
    # 1200 and 4000 seconds ago it was the first of the two hours, or just before.
    began = hour_again - ago
    own = session("agent_new", created=began - 2, activity=hour_again)
    judgement = judge(started_at(began), Evidence(answered(own)), POLICY, hour_again)
    assert judgement == Judgement(Verdict.LIVE, own)


def test_a_session_of_either_hour_may_be_a_renamed_one(hour_again: float) -> None:
    state = task_state(started_at(hour_again - 600))
    for ago, found in ((600, True), (600 + 3600, True), (2000, False)):
        other = session("mine", created=hour_again - ago)
        candidates = find_renamed({"agent_new"}, [state], (), [other], lambda _: None, {}, {})
        assert (candidates != {}) is found


@pytest.mark.parametrize("status", TERMINAL)
@pytest.mark.parametrize(
    ("answer", "verdict"),
    [
        (answered(session()), Verdict.LEAKED),
        (answered(), None),
        (no_server(), None),
        (cannot_tell(), None),
    ],
    ids=["there", "missing", "no server", "cannot tell"],
)
def test_an_agent_that_is_through_is_finished_failed_or_leaked(
    status: str, answer: TmuxSnapshot, verdict: Verdict | None
) -> None:
    assert verdict_of(agent(status=status), answer) is (verdict or ended(status))


@pytest.mark.parametrize(
    ("status", "how"),
    [
        ("completed", "completed"),
        ("phase_completed", "completed"),
        ("failed", "failed"),
        ("error", "failed"),
        ("ERROR", "failed"),
        ("terminated", "terminated"),
        ("killed", "terminated"),
        ("running", None),
        ("blocked", None),
        ("whatever", None),
        ("", None),
    ],
)
def test_a_row_tells_how_its_agent_ended(status: str, how: str | None) -> None:
    (row,) = called(task_state(agent(status=status)), answer=answered())[0].agents
    assert row.ended_as == how
    assert row.verdict.is_over is (how is not None)
    assert (row.verdict is Verdict.FAILED) is (how == "failed")


@pytest.mark.parametrize("silent", [False, True])
def test_a_blocked_agent_that_is_silent_for_long_is_stalled(silent: bool) -> None:
    heard = NOW - POLICY.stall_timeout - 60 if silent else NOW - 60
    own = replace(session(created=NOW - 9000), activity=int(heard))
    record = agent(status="blocked", started=NOW - 9000, updated=heard)
    judgement = judge(record, Evidence(answered(own)), POLICY, NOW)
    assert judgement.verdict is (Verdict.STALLED if silent else Verdict.BLOCKED)
    assert judgement.note == ("blocked; no report and no output for 16 min" if silent else "")


@pytest.mark.parametrize("answer", [answered(), no_server(), cannot_tell()])
def test_without_a_status_a_missing_session_proves_nothing(answer: TmuxSnapshot) -> None:
    assert verdict_of(agent(status=""), answer) is Verdict.UNKNOWN
    number = agent_record("odd", {"status": 5, "tmux_session": "agent_odd"})
    assert verdict_of(replace(number, started=NOW - 3600), answer) is Verdict.UNKNOWN


@pytest.mark.parametrize("status", ["reviewing", "paused", "RUNNING", "running ", "done"])
def test_a_status_that_nobody_knows_counts_as_active(status: str) -> None:
    record = replace(agent(status=status), progress=100)
    assert verdict_of(record, answered(session())) is Verdict.LIVE
    assert verdict_of(record, answered()) is Verdict.ZOMBIE
    assert verdict_of(record, cannot_tell()) is Verdict.UNKNOWN


@pytest.mark.parametrize("status", ["phase_completed", "killed", "COMPLETED"])
def test_the_orchestrators_words_for_an_end_are_terminal(status: str) -> None:
    assert verdict_of(agent(status=status), answered(session())) is Verdict.LEAKED
    assert verdict_of(agent(status=status), answered()) is Verdict.FINISHED


def test_an_agent_whose_registry_names_no_session_cannot_be_judged() -> None:
    assert verdict_of(agent(session=None), answered()) is Verdict.UNKNOWN
    odd = agent_record("odd", {"status": "running", "tmux_session": 1e18})
    assert verdict_of(replace(odd, started=NOW - 3600), answered()) is Verdict.UNKNOWN


@pytest.mark.parametrize("given", ["agent_v1.2:3", "agent_v1_2_3"])
def test_a_session_is_known_by_either_name_that_tmux_gives_it(given: str) -> None:
    (task,) = called(task_state(agent(session="agent_v1.2:3")), answer=answered(session(given)))
    (row,) = task.agents
    assert (row.verdict, row.note) == (Verdict.LIVE, "")


def test_a_session_with_a_name_that_tmux_never_gives_is_not_its_own() -> None:
    answer = answered(session("agent_v1.2:3"))
    assert verdict_of(agent(session="agent_v1_2_3"), answer) is Verdict.ZOMBIE


def test_a_name_that_two_agents_may_have_proves_no_death() -> None:
    sessions = ("agent_a.b", "agent_a:b", "agent_a_b")
    state = task_state(*(agent(name, session=name) for name in sessions))
    (task,) = called(state, answer=answered(session("agent_a_b")))
    judged = [row.verdict for row in task.agents]
    assert judged == [Verdict.UNKNOWN, Verdict.UNKNOWN, Verdict.LIVE]
    assert all(
        "agent_a_b may belong to this agent or to another one" in row.note
        for row in task.agents[:2]
    )


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
def test_nobody_is_a_zombie_without_every_sign_of_it(
    answer: TmuxSnapshot, record: TaskRecord
) -> None:
    (roll,) = called(task_state(record=record), answer=answer)
    for row in roll.agents:
        if row.verdict is Verdict.ZOMBIE:
            assert row.record.meaning in ACTIVE_STATUSES
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


def after(state: TaskState, *answers: TmuxSnapshot) -> Verdict:
    """The verdict on a task's only agent after these answers."""
    missing_since: Mapping[str, float] = {}
    for answer in answers:
        missing_since = note_absences(
            missing_since, answer, expected_sessions([state], POLICY, NOW)
        )
    return call_task(state, Evidence(answers[-1], missing_since), POLICY, NOW).agents[0].verdict


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
    assert not is_proven_missing(
        NAME, Evidence(answered(asked_at=3.0), again), POLICY.death_confirmation
    )


@pytest.mark.parametrize("started", [NOW + 7200, NOW + 1, None])
def test_with_an_unknown_start_it_must_be_missing_for_all_the_grace(
    started: float | None,
) -> None:
    state = task_state(agent(started=started))
    assert after(state, answered(asked_at=1.0), answered(asked_at=5.9)) is Verdict.UNKNOWN
    assert after(state, answered(asked_at=1.0), answered(asked_at=6.0)) is Verdict.ZOMBIE


def test_a_renamed_session_makes_no_zombie_and_no_orphan() -> None:
    seen = {NAME: session()}
    renamed = replace(session(), name="agent_renamed")
    answer = follow_renamed(answered(renamed, asked_at=9.0), seen)
    state = task_state(agent())
    row = call_task(state, Evidence(answer, {NAME: 1.0}), POLICY, NOW).agents[0]
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
    evidence = asked_twice([], cannot_tell())
    assert judge(agent(), evidence, POLICY, NOW).note == "Permission denied"
    (row,) = called(task_state(agent()), answer=answered())[0].agents
    assert NAME in row.note


# --- signs of life ------------------------------------------------------------

LONG = POLICY.stall_timeout + 1


def test_an_agent_without_any_sign_of_life_is_stalled() -> None:
    record = agent(started=NOW - LONG, updated=NOW - LONG)
    silent = answered(session(created=NOW - LONG, activity=NOW - LONG))
    assert verdict_of(record, silent) is Verdict.STALLED


@pytest.mark.parametrize(
    ("silent", "said"),
    [(7.0, "less than 10 s"), (47.0, "40 s"), (60.0, "1 min"), (200.0, "3 min")],
)
def test_how_long_nothing_was_heard_is_said(silent: float, said: str) -> None:
    record = agent(started=NOW - silent, updated=NOW - silent)
    there = answered(session(created=NOW - silent, activity=NOW - silent))
    judgement = judge(record, Evidence(there), replace(POLICY, stall_timeout=5.0), NOW)
    assert judgement.verdict is Verdict.STALLED
    assert judgement.note == f"no report and no output for {said}"


@pytest.mark.parametrize("sign", ["report", "output", "start"])
def test_any_sign_of_life_keeps_an_agent_from_being_stalled(sign: str) -> None:
    old = NOW - LONG
    record = agent(
        updated=NOW - 5 if sign == "report" else old, started=NOW - 5 if sign == "start" else old
    )
    made = NOW - 7 if sign == "start" else old
    there = session(created=made, activity=NOW - 5 if sign == "output" else made)
    assert verdict_of(record, answered(there)) is Verdict.LIVE


# --- whose session it is ------------------------------------------------------

HOUR = 3600.0


def judged(record: AgentRecord, made: float) -> Judgement:
    answer = answered(session(created=made))
    return judge(record, Evidence(answer), POLICY, NOW)


@pytest.mark.parametrize("made", [-HOUR, -2.0, 0.0, 59.0])
def test_a_session_made_about_when_the_agent_started_is_its_own(made: float) -> None:
    started = NOW - 2 * HOUR
    created = started - POLICY.session_early_limit if made == -HOUR else started + made
    found = judged(agent(started=started, updated=None), created)
    assert found.session is not None
    assert (found.verdict, found.name_reused_by) == (Verdict.LIVE, None)


@pytest.mark.parametrize("updated", [None, NOW - 2 * HOUR, NOW - HOUR - 1])
@pytest.mark.parametrize("status", [*ACTIVE, "paused"])
def test_a_name_that_was_taken_again_is_shown_as_such_and_not_as_the_agent(
    status: str, updated: float | None
) -> None:
    found = judged(agent(status=status, started=NOW - 3 * HOUR, updated=updated), NOW - HOUR)
    assert (found.verdict, found.session) == (Verdict.UNKNOWN, None)
    assert found.name_reused_by == session(created=NOW - HOUR)
    assert (
        found.note
        == "another session got the name of this agent's session 2 h 0 min after the agent started"
    )


def test_a_report_since_the_session_was_made_shows_that_it_is_the_agents() -> None:
    record = agent(started=NOW - 3 * HOUR, updated=NOW - HOUR)
    assert judged(record, NOW - HOUR).verdict is Verdict.LIVE
    to_come = agent(started=NOW - 3 * HOUR, updated=NOW + HOUR)
    assert judged(to_come, NOW - HOUR).verdict is Verdict.UNKNOWN


def test_a_session_made_long_before_the_agent_is_not_its_own() -> None:
    found = judged(agent(started=NOW - HOUR), NOW - 2 * HOUR)
    assert (found.verdict, found.session) == (Verdict.UNKNOWN, None)
    assert "1 h 0 min before this agent started" in found.note


@pytest.mark.parametrize("started", [None, NOW + 1, NOW + 7200])
@pytest.mark.parametrize("made", [NOW - 9 * HOUR, NOW - 1])
def test_a_start_that_nobody_knows_makes_no_session_anothers(
    started: float | None, made: float
) -> None:
    assert judged(agent(started=started, updated=None), made).verdict is Verdict.LIVE


@pytest.mark.parametrize("status", TERMINAL)
def test_a_name_taken_again_after_the_end_is_no_leak(status: str) -> None:
    record = replace(agent(status=status, started=NOW - 3 * HOUR), ended=NOW - 2 * HOUR)
    record = replace(record, updated=NOW - 2 * HOUR)
    found = judged(record, NOW - HOUR)
    assert (found.verdict, found.session) == (ended(status), None)
    assert found.name_reused_by is not None
    assert (
        found.note
        == "another session got the name of this agent's session 1 h 0 min after the agent ended"
    )
    within = judged(replace(record, started=NOW - 2.5 * HOUR), NOW - 2.5 * HOUR)
    assert within.verdict is Verdict.LEAKED


def test_who_reported_in_a_session_after_an_end_has_leaked_it() -> None:
    record = replace(agent(status="completed", updated=NOW - 60), ended=NOW - 2 * HOUR)
    assert judged(record, NOW - HOUR).verdict is Verdict.LEAKED


def test_a_finished_agent_has_not_leaked_what_took_its_name() -> None:
    record = agent(status="completed", started=NOW - 3 * HOUR, updated=NOW - 3 * HOUR)
    found = judged(replace(record, ended=NOW - 1), NOW - HOUR)
    assert (found.verdict, found.session) == (Verdict.FINISHED, None)


@given(
    st.sampled_from([*ACTIVE, *TERMINAL, "paused"]),
    *[st.one_of(st.none(), st.floats(NOW - 9e5, NOW + 9e5)) for _ in range(3)],
    st.floats(NOW - 9e5, NOW + 60),
)
def test_no_session_of_the_agents_name_ever_makes_it_a_zombie(
    status: str,
    started: float | None,
    updated: float | None,
    ended: float | None,
    made: float,
) -> None:
    record = replace(agent(status=status, started=started, updated=updated), ended=ended)
    found = judged(record, made)
    assert found.verdict is not Verdict.ZOMBIE
    assert (found.session is None) == (found.name_reused_by is not None)


def test_a_seen_session_stays_the_agents_when_its_name_is_reused() -> None:
    own = replace(session(), name="agent_renamed")
    thief = session(number=7)
    answer = follow_renamed(answered(own, thief), {NAME: session()})
    assert answer.sessions[NAME] == own
    answer = follow_renamed(answered(thief), {NAME: session()})
    assert answer.sessions[NAME] == thief


# --- the end of an agent in a database ------------------------------------------


@given(
    st.sampled_from(["completed", "failed", "killed", "phase_completed"]),
    st.none() | st.integers(-100, 1000),
    st.none() | st.integers(-100, 1000),
    st.booleans(),
)
def test_a_session_is_leaked_a_minute_after_the_end_of_its_agent(
    status: str, ended_ago: int | None, updated_ago: int | None, in_database: bool
) -> None:
    record = replace(
        agent(status=status, started=NOW - 3600),
        ended=None if ended_ago is None else NOW - ended_ago,
        updated=None if updated_ago is None else NOW - updated_ago,
    )
    own = session(created=NOW - 3600)
    judged = judge(record, Evidence(answered(own)), POLICY, NOW, may_linger=in_database)
    past = [ago for ago in (ended_ago, updated_ago) if ago is not None and ago >= 0]
    young = in_database and bool(past) and min(past) < POLICY.leak_grace
    assert judged.verdict is (ended(status) if young else Verdict.LEAKED)
    assert judged.session is own
