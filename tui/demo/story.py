"""The parts of a demo story: tasks, roles and steps."""

from __future__ import annotations

from enum import Enum, auto

from registry.dataclass import dataclass


class Ending(Enum):
    """The behaviour of an agent after the last step of its role."""

    COMPLETES = auto()
    FAILS = auto()
    LEAKS = auto()  # reports the status completed, but the session stays
    DIES = auto()  # exits without a report
    STALLS = auto()  # runs on without further reports
    CYCLES = auto()  # continues with the step `again`


@dataclass(frozen=True, slots=True)
class Step:
    """One report of an agent.

    Attributes:
        progress: The progress in percent.
        message: The message of the report.
        status: The status of the report.
        runs: A command that the agent's log shows; may be empty.
        finding: The kind, severity and text of a finding, or None.
        spawns: The types of the agents that this agent starts in this step.
    """

    progress: int
    message: str
    status: str = "working"
    runs: str = ""
    finding: tuple[str, str, str] | None = None
    spawns: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Role:
    """The behaviour of one agent of the story. Times are in seconds.

    Attributes:
        type: The type of the agent, unique in the story.
        task: The key of the agent's task.
        parent: The type of the agent that starts this agent; None for the orchestrator.
        prompt: The prompt of the agent.
        steps: The reports of the agent.
        ending: The behaviour after the last step.
        pace: The time between two steps.
        ago: The time between the agent's start and the start of the demo.
        past: How many steps the agent did before the start of the demo.
        silent: The time between the agent's last step and the start of the demo. Only for an agent
            that finished before the demo.
        later: Whether a step of the parent starts this agent.
        again: The index of the step that follows the last step, if `ending` is CYCLES.
        helper: Whether the agent starts a process that leaves the agent's session.
        script: Whether the agent reports through `muster report`, like a shell script.
        phase: The index of the agent's phase, in a demo with a database; -1 for a reviewer.
    """

    type: str
    task: str
    parent: str | None
    prompt: str
    steps: tuple[Step, ...]
    ending: Ending
    pace: float = 6
    ago: float = 300
    past: int = 1
    silent: float = 4
    later: bool = False
    again: int = 0
    helper: bool = False
    script: bool = False
    phase: int = 0

    @property
    def is_finished(self) -> bool:
        """Whether the agent had a terminal status and no session before the demo started."""
        return self.past == len(self.steps) and self.ending in (Ending.COMPLETES, Ending.FAILS)


@dataclass(frozen=True, slots=True)
class Task:
    """One task of the story.

    Attributes:
        description: The description of the task.
        priority: The priority of the task.
        ago: Seconds between the task's creation and the start of the demo.
        phases: The name and the status of each phase; empty for a task that is never in a
            database. Only a demo with a database shows phases.
        phase: The index of the present phase.
    """

    description: str
    priority: str
    ago: float
    phases: tuple[tuple[str, str], ...] = ()
    phase: int = 0


STALL_AFTER = 20.0
"""Seconds without a report after which an agent is stalled. Working agents report more often."""

ORPHAN_GRACE = 4.0
"""The smallest age of an orphan, in seconds. The session of a new agent is registered earlier."""

LEAK_GRACE = 10.0
"""The time after the end of an agent in a database in which the agent is never called leaked."""

SPAWN_DELAY = 1.5
"""Seconds between the start of a new agent's session and its entry in the registries."""
