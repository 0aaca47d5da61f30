"""The plan of an action. Pure.

A plan itself changes nothing. It is shown and confirmed, and then `tui.actions.execute` executes
it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from registry.audit import EndedSession
from registry.dataclass import dataclass, field, replace
from registry.schema import SESSION_PREFIX, Deployment, spellings
from registry.text import shown_name, whole_name
from tui.actions.phase_notes import PhaseNote
from tui.actions.preview import Preview, Question
from tui.host.tmux_types import CONSIDER_ALL, Session, SetAside
from tui.model.roll import AgentRow, TaskRoll
from tui.text.sanitize import size, some

if TYPE_CHECKING:
    from registry.agent_output import ReportedEnd
    from registry.sources import TaskSource
    from tui.host.process.agent_processes import AgentProcess
    from tui.live.nearby_workspaces import NearbyWorkspaces

EndStatus = Literal["completed", "terminated"]


class Verb(StrEnum):
    """The kind of an action."""

    KILL = "kill"
    COMPLETE = "complete"
    UNDO = "undo"
    FIX = "fix"


@dataclass(frozen=True, slots=True)
class Footprint:
    """The number and the memory of some processes.

    Attributes:
        processes: The number of processes.
        memory: The sum of the processes' resident memory in bytes. Memory that several processes
            share is counted for each of them.
    """

    processes: int
    memory: int

    def __add__(self, other: Footprint) -> Footprint:
        return Footprint(self.processes + other.processes, self.memory + other.memory)

    def __str__(self) -> str:
        count = some(self.processes, "process", "processes")
        return f"{count}, {size(self.memory)}" if self.processes else "no process left"


@dataclass(frozen=True, slots=True)
class Step:
    """The planned action on one agent, or on one orphaned session.

    Attributes:
        label: The agent's id, or the name of the orphaned session.
        session: The agent's session, or the orphan; None if the agent has no session.
        expected_session: The name of the agent's session in the registry, or of the orphan. None
            if the registry names no session.
        row: The agent; None for an orphan.
        source: The agent's task; None for an orphan.
        writes: Whether registries will change.
        says: A description of the step for the operator.
        earlier: A session that an earlier kill ended, if some of its processes may still run.
        footprint: The number and the memory of the processes to end; None if these processes are
            not known.
        judged: The deployments of the agent that the step concerns. Empty for an orphan; several
            if the registry lists the agent's id twice.
        may_run: Whether the operator was told that processes may still belong to the agent.
        owner: The user id of the owner of the agent's registry; None for an orphan, or if the
            registry was not read.
        identity: The device and inode of the registry that was read, or None.
        end: The end that the agent itself reported, if the agent gets this end; None if the agent
            gets the status of the plan.
        stale: Whether the workspace has a database that may contain a newer status of the agent.
        process: The running process that a kill ends, if the agent has no session; otherwise None.
    """

    label: str
    session: Session | None
    expected_session: str | None
    row: AgentRow | None
    source: TaskSource | None
    writes: bool
    says: str
    earlier: EndedSession | None = None
    footprint: Footprint | None = None
    judged: frozenset[Deployment] = frozenset()
    stale: bool = False
    may_run: bool = False
    owner: int | None = None
    identity: tuple[int, int] | None = None
    end: ReportedEnd | None = None
    process: AgentProcess | None = None

    @property
    def ends(self) -> bool:
        """Whether a kill with this step ends processes."""
        found = (self.session, self.earlier, self.process)
        return any(part is not None for part in found)

    @property
    def session_names(self) -> frozenset[str]:
        """The names that the session may have in tmux.

        Some versions of tmux replace characters of a name. If the session has exactly the expected
        name, its server did not replace any, and this name is the only one.
        """
        name = self.expected_session
        if name is None:
            return frozenset()
        is_exact = self.session is not None and self.session.name == name
        return frozenset({name}) if self.row is None or is_exact else spellings(name)


@dataclass(frozen=True, slots=True)
class Plan:
    """The planned steps of an action.

    Attributes:
        verb: The kind of the action.
        status: The new status of the agents that have no `Step.end`.
        steps: The steps in the order of execution.
        refused: The agents and sessions that will not be changed, each with the reason.
        socket: The queried tmux socket.
        server_pid: The pid of the tmux server that answered, or None. Only sessions of this server
            are ended.
        home: The workspace whose audit log receives the entries about orphans.
        questions: The questions to confirm separately; see `Preview`.
        server_started: When that tmux server started, in seconds since the epoch; 0 if no server
            answered.
        nearby: The workspaces whose registries may list the sessions. They are read again before a
            session is ended. None if no session is ended.
        set_aside: The other tmux servers that muster does not consider.
        known_processes: The pids and start times of the processes of all agents without a session.
        notes: Remarks about phases whose last active agents the plan ends.
    """

    verb: Verb
    status: EndStatus
    steps: tuple[Step, ...]
    refused: tuple[tuple[str, str], ...]
    socket: Path
    server_pid: int | None = None
    home: Path | None = None
    questions: tuple[Question, ...] = ()
    server_started: int = 0
    nearby: NearbyWorkspaces | None = field(default=None, compare=False, repr=False)
    set_aside: SetAside = CONSIDER_ALL
    known_processes: frozenset[tuple[int, int]] = frozenset()
    notes: tuple[PhaseNote, ...] = ()

    @property
    def spared(self) -> frozenset[tuple[int, int]]:
        """The processes of agents that the plan does not end, although they may be descendants."""
        ended = (step.process.identity for step in self.ending if step.process is not None)
        return self.known_processes - {identity for identity in ended if identity is not None}

    @property
    def files(self) -> tuple[Path, ...]:
        """The registries that will change, without duplicates."""
        paths: dict[Path, None] = {}
        for step in self.steps:
            if step.writes and step.source is not None:
                paths |= dict.fromkeys(file.path for file in step.source.files)
        return tuple(paths)

    @property
    def ending(self) -> tuple[Step, ...]:
        """The steps that end processes."""
        if self.verb is not Verb.KILL:
            return ()
        return tuple(step for step in self.steps if step.ends)

    @property
    def sessions(self) -> int:
        """The number of sessions that will be ended."""
        return sum(step.session is not None for step in self.ending)

    @property
    def footprint(self) -> Footprint | None:
        """The sum of the footprints of all steps; None if any of the footprints is not known."""
        footprints = [step.footprint for step in self.ending]
        known = [footprint for footprint in footprints if footprint is not None]
        return sum(known, Footprint(0, 0)) if len(known) == len(footprints) else None

    def status_of(self, step: Step) -> str:
        """Returns the status that the agent of a step gets."""
        return self.status if step.end is None else step.end.status

    def without(self, refused: Mapping[Step, str]) -> Plan:
        """Returns the plan without some steps, and lists these steps as refused.

        Args:
            refused: Maps each step to remove to the reason.
        """
        if not refused:
            return self
        return replace(
            self,
            steps=tuple(step for step in self.steps if step not in refused),
            refused=(*self.refused, *((step.label, why) for step, why in refused.items())),
        )

    def title(self) -> str:
        """Returns a description of the action as one line."""
        orphans = sum(step.row is None for step in self.steps)
        agents = len(self.steps) - orphans
        if self.verb is Verb.COMPLETE:
            counts = Counter(map(self.status_of, self.steps)) or {self.status: 0}
            ends = (f"{some(count, 'agent')} as {status}" for status, count in counts.items())
            return f"Mark {', '.join(ends)}"
        objects = [some(agents, "agent")] if agents or not orphans else []
        objects += [some(orphans, "orphaned session")] if orphans else []
        return f"Kill {' and '.join(objects)}"

    def preview(self) -> Preview:
        """Returns the description of the plan that is shown and confirmed."""
        note = f"tmux socket: {shown_name(self.socket)}"
        note += "." if self.server_pid is not None else ", where no server runs."
        grave = bool(self.ending)
        if grave:
            note = self._note_on_end()
        steps = tuple((_labelled(step), step.says) for step in self.steps)
        return Preview(
            self.title(),
            steps,
            self.refused,
            self.files,
            note,
            grave=grave,
            questions=self.questions,
            remarks=tuple(phase.text for phase in self.notes),
        )

    def _note_on_end(self) -> str:
        footprint = self.footprint
        objects = [some(self.sessions, "session")] if self.sessions else []
        if footprint is not None:
            objects.append(some(footprint.processes, "process", "processes"))
        note = f"Ends {' and '.join(objects) or 'processes'} on {shown_name(self.socket)}"
        if footprint is None:
            note += ". The number of processes is not known."
        else:
            note += f"; frees about {size(footprint.memory)}, the sum of their resident memory."
        return f"{note} This cannot be undone."


def processes_without_session(rows: Iterable[AgentRow]) -> frozenset[tuple[int, int]]:
    """Returns the pids and start times of the processes of agents that run without a session."""
    identities = (row.process.identity for row in rows if row.process is not None)
    return frozenset(each for each in identities if each is not None)


def agent_step(
    row: AgentRow,
    task: TaskRoll,
    writes: bool,
    says: str,
    earlier: EndedSession | None = None,
    end: ReportedEnd | None = None,
) -> Step:
    """Returns the step for one agent.

    Args:
        row: The agent.
        task: The agent's task.
        writes: Whether registries will change.
        says: A description of the step for the operator.
        earlier: See `Step`.
        end: See `Step`.
    """
    name = row.record.tmux_session
    same = (
        agent.record
        for agent in task.agents
        if agent.key.id == row.key.id and agent.record.tmux_session == name
    )
    stale = task.state.database is not None
    if writes and stale:
        says += "; the database of its workspace is not changed"
    return Step(
        label=row.key.id,
        session=row.session,
        expected_session=name or None,
        row=row,
        source=task.state.source,
        writes=writes,
        says=says,
        earlier=earlier,
        judged=frozenset(record.deployment for record in same),
        stale=stale,
        owner=task.state.owner,
        identity=task.state.identity,
        end=end,
        process=row.process,
    )


def usual_session(row: AgentRow) -> str:
    """Returns the name that the orchestrator gives to an agent's session."""
    return SESSION_PREFIX + row.key.id


def _labelled(step: Step) -> str:
    """Returns a step's label, followed by its session and its footprint in parentheses."""
    # The label of an orphan is the name of its session.
    is_agents = step.session is not None and step.row is not None
    session = f"session {whole_name(step.session.name)}" if step.session and is_agents else ""
    if step.process is not None:
        session = f"process {step.process.pid}"
    more = ", ".join(filter(None, (session, str(step.footprint) if step.footprint else "")))
    label = whole_name(step.label)
    return f"{label} ({more})" if more else label
