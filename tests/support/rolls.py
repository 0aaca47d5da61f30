"""Creates records and roll calls without files and without a tmux server."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from hypothesis import strategies as st

from registry.schema.records import AgentRecord, TaskRecord
from registry.sources import JsonTask
from tui.host.tmux_types import Session, TmuxSnapshot, TmuxState
from tui.model.call import call_task
from tui.model.evidence import Evidence, expected_sessions, note_absences
from tui.model.policy import Policy
from tui.model.roll import RollCall, TaskRoll, TaskState, Verdict, WorkspaceRoll
from tui.model.spellings import Spellings

NOW = 1_760_000_000.0
"""The time of these roll calls, in seconds since the epoch."""

WORKSPACE = Path("/ws/.agent-workspace")
SOCKET = Path("/tmp/tmux-0/default")
POLICY = Policy()


def agent(
    agent_id: str = "tester-120000-abcdef",
    status: str = "running",
    *,
    parent: str | None = "orchestrator",
    session: str | None = "",
    started: float | None = NOW - 3600,
    updated: float | None = NOW - 60,
    progress: float | None = 40.0,
    type_: str = "tester",
) -> AgentRecord:
    """Returns an agent's record. The session's name is `agent_` and the id by default."""
    return AgentRecord(
        id=agent_id,
        type=type_,
        tmux_session=f"agent_{agent_id}" if session == "" else session,
        parent=parent,
        depth=1,
        status=status,
        progress=progress,
        started_at=None,
        last_update=None,
        started=started,
        updated=updated,
    )


def task_record(
    agents: Iterable[AgentRecord] = (),
    hierarchy: Mapping[str, tuple[str, ...]] | None = None,
    *,
    task_id: str | None = "TASK-1",
    description: str = "a task",
    warnings: tuple[str, ...] = (),
) -> TaskRecord:
    """Returns the content of a task's registry."""
    return TaskRecord(
        task_id=task_id,
        description=description,
        status="INITIALIZED",
        created_at=None,
        agents=tuple(agents),
        hierarchy=hierarchy or {},
        active_count=None,
        completed_count=None,
        total_spawned=None,
        warnings=warnings,
    )


_ids = st.sampled_from(["a", "b", "c", "d", "e", "", "orchestrator"])

any_task = st.builds(
    task_record,
    st.lists(
        st.builds(
            agent,
            _ids,
            st.sampled_from(["running", "completed", "paused", ""]),
            parent=st.one_of(st.none(), _ids, st.just("nobody")),
        ),
        max_size=12,
    ),
    st.dictionaries(
        st.one_of(_ids, st.just("nobody")),
        st.lists(st.one_of(_ids, st.just("ghost")), max_size=5).map(tuple),
        max_size=5,
    ),
)
"""Any task. Parents may be missing, differ between the two places, or form a loop."""


def task_state(
    *agents: AgentRecord,
    name: str = "TASK-1",
    record: TaskRecord | None = None,
    readable: bool = True,
    error: str | None = None,
    listed_description: str = "",
) -> TaskState:
    """Returns the state of a task. If `readable` is False, the registry was never read."""
    found = record or task_record(agents, task_id=name)
    return TaskState(
        workspace=WORKSPACE,
        source=JsonTask(
            WORKSPACE / name / "AGENT_REGISTRY.json",
            WORKSPACE / "registry" / "GLOBAL_REGISTRY.json",
        ),
        record=found if readable else None,
        read_at=NOW,
        error=error,
        listed_description=listed_description,
    )


def session(
    name: str = "agent_tester-120000-abcdef",
    *,
    number: int = 1,
    created: float = NOW - 3600,
    activity: float = NOW - 1,
) -> Session:
    """Returns a session with one dead pane."""
    return Session(
        id=f"${number}",
        name=name,
        created=int(created),
        activity=int(activity),
        attached=0,
        panes=(f"%{number}",),
        pids=(),
        started_in="/",
    )


def answered(*sessions: Session, asked_at: float = 100.0) -> TmuxSnapshot:
    """Returns an answer of tmux that lists exactly these sessions."""
    return TmuxSnapshot(
        TmuxState.ANSWERED,
        "server 4711",
        SOCKET,
        {each.name: each for each in sessions},
        asked_at,
        4711,
        int(NOW - 7200),
    )


def no_server(asked_at: float = 100.0) -> TmuxSnapshot:
    """Returns the answer of tmux if no server runs."""
    return TmuxSnapshot(TmuxState.NO_SERVER, f"no server on {SOCKET}", SOCKET, {}, asked_at)


def cannot_tell(asked_at: float = 100.0) -> TmuxSnapshot:
    """Returns the answer if tmux cannot be queried."""
    return TmuxSnapshot(TmuxState.UNKNOWN, "Permission denied", SOCKET, {}, asked_at)


def asked_twice(states: Iterable[TaskState], answer: TmuxSnapshot) -> Evidence:
    """Returns the evidence of two equal answers, so that missing sessions are certainly gone."""
    states = tuple(states)
    answer = Spellings.of(state.record for state in states if state.record).resolve(answer)
    expected = expected_sessions(states, POLICY, NOW)
    missing_since = note_absences({}, answer, expected)
    second = replace(answer, asked_at=answer.asked_at + POLICY.start_grace)
    return Evidence(second, note_absences(missing_since, second, expected))


def called(*states: TaskState, answer: TmuxSnapshot, now: float = NOW) -> tuple[TaskRoll, ...]:
    """Returns the roll call of tasks after two equal answers of tmux."""
    evidence = asked_twice(states, answer)
    return tuple(call_task(state, evidence, POLICY, now) for state in states)


def roll_call(
    *tasks: TaskRoll,
    orphans: tuple[Session, ...] = (),
    answer: TmuxSnapshot | None = None,
    error: str | None = None,
) -> RollCall:
    """Returns a roll call of one workspace."""
    return roll_of(
        WorkspaceRoll(WORKSPACE, tasks, error), orphans=orphans, answer=answer or answered()
    )


def roll_of(
    *workspaces: WorkspaceRoll,
    orphans: tuple[Session, ...] = (),
    answer: TmuxSnapshot | None = None,
) -> RollCall:
    """Returns a roll call of several workspaces."""
    counts = dict.fromkeys(Verdict, 0)
    for workspace in workspaces:
        for task in workspace.tasks:
            for verdict, count in task.counts.items():
                counts[verdict] += count
    counts[Verdict.ORPHAN] = len(orphans)
    return RollCall("host", Evidence(answer or answered()), workspaces, orphans, counts)
