"""What an action will do, worked out before anything is done. Pure.

Nothing is touched by planning: a plan is shown and confirmed first, and carried
out by `tui.actions.execute`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from registry.audit import EndedSession
from registry.schema import SESSION_PREFIX, Deployment, tmux_name
from registry.text import shown_name, whole_name
from tui.actions.preview import Preview, Question
from tui.host.tmux_types import Session
from tui.model.roll import AgentRow, TaskRoll
from tui.text.sanitize import size, some

if TYPE_CHECKING:
    from registry.sources import TaskSource
    from tui.live.nearby_workspaces import NearbyWorkspaces

EndStatus = Literal["completed", "terminated"]


class Verb(StrEnum):
    """What can be done."""

    KILL = "kill"
    COMPLETE = "complete"
    UNDO = "undo"
    FIX = "fix"


@dataclass(frozen=True, slots=True)
class Footprint:
    """What a session holds.

    Attributes:
        processes: How many.
        memory: The sum of their resident sizes in bytes; what they share counts for each.
    """

    processes: int
    memory: int

    def __add__(self, other: Footprint) -> Footprint:
        return Footprint(self.processes + other.processes, self.memory + other.memory)

    def __str__(self) -> str:
        said = some(self.processes, "process", "processes")
        return f"{said}, {size(self.memory)}" if self.processes else "no process left"


@dataclass(frozen=True, slots=True)
class Step:
    """What will be done to one agent, or to one orphaned session.

    Attributes:
        label: The agent's id, or the orphan's session.
        session: The session to end, or None if there is none.
        expected_session: The name its session has, or would have.
        row: The agent; None for an orphan.
        source: The agent's task; None for an orphan.
        writes: Whether registries will change.
        says: In words, for the plan.
        earlier: Its session that an earlier kill ended, but maybe not all processes of it.
        footprint: What will be ended; None as long as that is not known.
        judged: The agent's deployments that this is about: more than one where its id is
            in the registry twice, none for an orphan.
        may_run: Whether it is known that processes run which may be its.
        owner: Whose the registry is that says all this of it, by the user's number; None
            for an orphan, or where it was not read.
        identity: Device and inode of that registry, as it was read.
        stale: Whether a database was known that may have a newer status of it.
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


@dataclass(frozen=True, slots=True)
class Plan:
    """What an action will do, before it does it.

    Attributes:
        status: What agents become in the registries.
        refused: Who was asked for and will not be touched, with the reason.
        socket: The tmux socket that was asked.
        server_pid: The server that answered; only its sessions are ended.
        server_started: When it started; seconds since the epoch, 0 if none answered.
        home: The workspace whose audit log takes what belongs to no task.
        questions: What is asked apart; see `Preview`.
        nearby: The workspaces around the sessions, read when the plan was made; they are
            looked at again before a session is ended. None where none is ended.
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

    @property
    def files(self) -> tuple[Path, ...]:
        """The registries that will change, each once."""
        found: dict[Path, None] = {}
        for step in self.steps:
            if step.writes and step.source is not None:
                found |= dict.fromkeys(each.path for each in step.source.files)
        return tuple(found)

    @property
    def ending(self) -> tuple[Step, ...]:
        """The steps that end processes."""
        if self.verb is not Verb.KILL:
            return ()
        return tuple(
            step for step in self.steps if step.session is not None or step.earlier is not None
        )

    @property
    def sessions(self) -> int:
        """How many sessions will be ended."""
        return sum(step.session is not None for step in self.ending)

    @property
    def footprint(self) -> Footprint | None:
        """What will be ended in all; None if that of one of them is not known."""
        weights = [step.footprint for step in self.ending]
        known = [each for each in weights if each is not None]
        return sum(known, Footprint(0, 0)) if len(known) == len(weights) else None

    def without(self, refused: Mapping[Step, str]) -> Plan:
        """The same plan, some steps of which are refused, each with the reason."""
        if not refused:
            return self
        return replace(
            self,
            steps=tuple(step for step in self.steps if step not in refused),
            refused=(*self.refused, *((step.label, why) for step, why in refused.items())),
        )

    def title(self) -> str:
        """In one line."""
        orphans = sum(step.row is None for step in self.steps)
        agents = len(self.steps) - orphans
        if self.verb is Verb.COMPLETE:
            return f"Mark {some(agents, 'agent')} {self.status}"
        whom = [some(agents, "agent")] if agents or not orphans else []
        whom += [some(orphans, "orphaned session")] if orphans else []
        return f"Kill {' and '.join(whom)}"

    def preview(self) -> Preview:
        """In words, to be shown and asked."""
        note = f"tmux was asked at {shown_name(self.socket)}"
        note += "." if self.server_pid is not None else ", where no server runs."
        grave = bool(self.ending)
        if grave:
            note = self._says_what_ends()
        steps = tuple((_labelled(step), step.says) for step in self.steps)
        return Preview(
            self.title(),
            steps,
            self.refused,
            self.files,
            note,
            grave=grave,
            questions=self.questions,
        )

    def _says_what_ends(self) -> str:
        footprint = self.footprint
        what = [some(self.sessions, "session")] if self.sessions else []
        if footprint is not None:
            what.append(some(footprint.processes, "process", "processes"))
        note = f"Ends {' and '.join(what) or 'processes'} on {shown_name(self.socket)}"
        if footprint is None:
            note += ". How many processes that are cannot be told from here."
        else:
            note += f"; frees about {size(footprint.memory)}, the sum of their resident memory."
        return f"{note} This cannot be undone."


def agent_step(
    row: AgentRow, task: TaskRoll, writes: bool, says: str, earlier: EndedSession | None = None
) -> Step:
    """What will be done to one agent.

    Args:
        row: The agent.
        task: The task that it is of.
        writes: Whether registries will change.
        says: In words, for the plan.
        earlier: As in `Step`.
    """
    name = row.record.tmux_session
    same = (
        each.record
        for each in task.agents
        if each.key.id == row.key.id and each.record.tmux_session == name
    )
    stale = task.state.database is not None
    if writes and stale:
        says += "; the database of its workspace stays as it is"
    return Step(
        label=row.key.id,
        session=row.session,
        expected_session=tmux_name(name) if name else None,
        row=row,
        source=task.state.source,
        writes=writes,
        says=says,
        earlier=earlier,
        judged=frozenset(record.deployment for record in same),
        stale=stale,
        owner=task.state.owner,
        identity=task.state.identity,
    )


def usual_session(row: AgentRow) -> str:
    """What tmux calls an agent's session where the orchestrator made it."""
    return tmux_name(SESSION_PREFIX + row.key.id)


def _labelled(step: Step) -> str:
    """Whom or what a step is about, the session that it ends, and what that holds."""
    # An orphan is called as its session is.
    is_agents = step.session is not None and step.row is not None
    session = f"session {whole_name(step.session.name)}" if step.session and is_agents else ""
    more = ", ".join(filter(None, (session, str(step.footprint) if step.footprint else "")))
    label = whole_name(step.label)
    return f"{label} ({more})" if more else label
