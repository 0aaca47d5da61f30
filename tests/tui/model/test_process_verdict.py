"""The verdict on an agent that runs without a session: what /proc shows of its pid."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.schema.records import AgentRecord
from tests.support.rolls import (
    NOW,
    POLICY,
    agent,
    answered,
    cannot_tell,
    session,
    task_state,
)
from tui.host.process.agent_processes import AgentProcess
from tui.model.evidence import (
    Evidence,
    ProcessEvidence,
    expected_processes,
    next_proof,
    note_processes,
)
from tui.model.process_verdict import ProcessState, judge_process
from tui.model.roll import Verdict
from tui.model.verdict import Judgement, judge

PID = 4242


def process(ago: float) -> AgentProcess:
    """A process that began some seconds ago."""
    return AgentProcess(PID, 100, NOW - ago)


GONE = AgentProcess(PID)
HIDDEN = AgentProcess(PID, unseen="/proc hides it")


def with_pid(status: str = "running", started_ago: float = 3600, **more: float) -> AgentRecord:
    record = agent(status=status, session=None, started=NOW - started_ago)
    return replace(record, cursor_pid=PID, **more)  # type: ignore[arg-type]


def evidence(seen: AgentProcess | None, missing_for: float = 60.0) -> ProcessEvidence:
    looks = {} if seen is None else {PID: seen}
    first = note_processes(ProcessEvidence(), looks, 1000.0, NOW - 90_000)
    return note_processes(first, looks, 1000.0 + missing_for, NOW - 90_000)


def judged(record: AgentRecord, seen: AgentProcess | None, missing_for: float = 60) -> Judgement:
    looks = evidence(seen, missing_for)
    return judge(record, Evidence(answered(), processes=looks), POLICY, NOW)


@pytest.mark.parametrize(
    ("seen", "active", "terminal"),
    [
        (process(3602), Verdict.LIVE, Verdict.LEAKED),
        (process(3700), Verdict.LIVE, Verdict.LEAKED),
        (GONE, Verdict.ZOMBIE, Verdict.FINISHED),
        (HIDDEN, Verdict.UNKNOWN, Verdict.FINISHED),
        (None, Verdict.UNKNOWN, Verdict.FINISHED),
        # Another process has the pid.
        (process(30), Verdict.ZOMBIE, Verdict.FINISHED),
        # The agent's start may be in another time zone.
        (process(2), Verdict.UNKNOWN, Verdict.FINISHED),
        (process(1802), Verdict.UNKNOWN, Verdict.FINISHED),
        # It may be another one.
        (process(3580), Verdict.UNKNOWN, Verdict.FINISHED),
        (process(86_000), Verdict.UNKNOWN, Verdict.FINISHED),
    ],
)
def test_the_process_and_its_start_decide(
    seen: AgentProcess | None, active: Verdict, terminal: Verdict
) -> None:
    young = with_pid(updated=NOW - 5)
    assert judged(young, seen).verdict is active
    assert judged(replace(young, status="paused"), seen).verdict is active
    assert judged(replace(young, status="completed"), seen).verdict is terminal
    assert judged(replace(young, status="killed"), seen).verdict is terminal


def test_a_process_that_is_missing_once_proves_nothing() -> None:
    assert judged(with_pid(), GONE, missing_for=0.0).verdict is Verdict.UNKNOWN
    assert judged(with_pid(), GONE, missing_for=0.7).verdict is Verdict.UNKNOWN
    assert judged(with_pid(), GONE, missing_for=0.8).verdict is Verdict.ZOMBIE


def test_the_proof_is_awaited_and_begins_anew_when_the_process_is_back() -> None:
    states = [task_state(with_pid())]
    proofs = expected_processes(states, POLICY, NOW)
    first = note_processes(ProcessEvidence(), {PID: GONE}, 1000.0, 0.0)
    waiting = Evidence(answered(), processes=first)
    assert next_proof(waiting, {}, proofs) == 1000.0 + POLICY.death_confirmation
    back = note_processes(first, {PID: process(3602)}, 1001.0, 0.0)
    assert next_proof(Evidence(answered(), processes=back), {}, proofs) is None
    again = note_processes(back, {PID: GONE}, 1002.0, 0.0)
    assert again.gone_since == {PID: 1002.0}


def test_a_silent_agent_is_stalled() -> None:
    silent = with_pid(updated=NOW - 3000)
    assert judged(silent, process(3602)).verdict is Verdict.STALLED
    looks = Evidence(answered(), processes=evidence(process(3602)))
    assert judge(silent, looks, POLICY, NOW, reported=NOW - 9).verdict is Verdict.LIVE


def test_what_started_just_now_is_no_zombie() -> None:
    assert judged(with_pid(started_ago=2), GONE).verdict is Verdict.UNKNOWN


@pytest.mark.parametrize("started", [None, NOW + 500])
def test_without_a_start_no_process_is_its_own(started: float | None) -> None:
    record = replace(with_pid(), started=started)
    assert judged(record, process(3602)).verdict is Verdict.UNKNOWN
    assert judged(record, GONE).verdict is Verdict.ZOMBIE


def test_a_process_cannot_outlive_the_boot() -> None:
    old = with_pid(started_ago=100_000)
    for seen in (GONE, process(80_000)):
        assert judged(old, seen, missing_for=0.0).verdict is Verdict.ZOMBIE
    # A start of another time zone may be after the boot.
    for seen in (HIDDEN, process(100_002 - 9 * 3600)):
        assert judged(old, seen, missing_for=0.0).verdict is Verdict.UNKNOWN
    assert judged(with_pid(started_ago=200_000), HIDDEN).verdict is Verdict.ZOMBIE


@pytest.mark.parametrize("began_ago", [160.0, 3660.0])
def test_a_process_that_names_the_agent_is_not_gone_after_the_clock_was_set(
    began_ago: float,
) -> None:
    record = with_pid(started_ago=100_000)
    assert judged(record, process(began_ago)).verdict is Verdict.ZOMBIE
    words = f"agent\0--id\0{record.id}\0".encode()
    named = replace(process(began_ago), words=words)
    assert judged(record, named).verdict is Verdict.UNKNOWN
    other = replace(named, words=words.replace(b"\0--id\0", b"-"))
    assert judged(record, other).verdict is Verdict.ZOMBIE


def test_an_agent_with_a_session_is_judged_by_the_session() -> None:
    own = replace(agent(), cursor_pid=PID)
    looks = evidence(GONE)
    assert judge(own, Evidence(answered(session()), processes=looks), POLICY, NOW).verdict is (
        Verdict.LIVE
    )


def test_tmux_is_not_needed() -> None:
    looks = Evidence(cannot_tell(), processes=evidence(process(3602)))
    assert judge(with_pid(updated=NOW - 5), looks, POLICY, NOW).verdict is Verdict.LIVE


@given(
    st.floats(0, 200_000),
    st.none() | st.floats(0, 200_000),
    st.floats(0, 10),
    st.booleans(),
)
def test_no_process_of_the_time_of_the_start_is_called_gone(
    started_ago: float, began_ago: float | None, missing_for: float, hidden: bool
) -> None:
    seen = HIDDEN if hidden else GONE if began_ago is None else process(began_ago)
    looks = evidence(seen, missing_for)
    record = with_pid(started_ago=started_ago)
    state = judge_process(record, looks, POLICY, NOW)
    before_boot = started_ago > 90_000 + POLICY.session_late_limit
    if state.state is ProcessState.RUNS:
        assert seen.began is not None
        later = seen.began - (NOW - started_ago)
        assert -POLICY.session_early_limit - 0.01 <= later <= 5.01
        assert state.process is seen
    else:
        assert state.process is None and state.why
    if state.state is ProcessState.GONE and not before_boot:
        assert not hidden or seen is not HIDDEN
        if began_ago is not None and not hidden:
            assert began_ago < started_ago - POLICY.session_late_limit
        else:
            assert missing_for >= POLICY.death_confirmation - 0.001
