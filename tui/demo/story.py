"""The parts of a demo story: tasks, roles and steps."""

from __future__ import annotations

from enum import Enum, auto

from registry.dataclass import dataclass


class Ending(Enum):
    """The behaviour of an agent after the last step of its role."""

    COMPLETES = auto()
    FAILS = auto()
    LEAKS = auto()  # reports that it completed, but its session stays
    DIES = auto()  # exits without a report
    STALLS = auto()  # keeps running without further reports
    CYCLES = auto()  # continues with the step `again`


@dataclass(frozen=True, slots=True)
class Step:
    """One report of an agent.

    Attributes:
        progress: The progress in percent.
        message: The message of the report.
        status: The status that it reports.
        runs: A command that its log shows; may be empty.
        finding: The kind, severity and text of a finding, or None.
        spawns: The types of agents that it starts in this step.
    """

    progress: int
    message: str
    status: str = "working"
    runs: str = ""
    finding: tuple[str, str, str] | None = None
    spawns: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Role:
    """One agent of the story. Times are in seconds.

    Attributes:
        type: Its type, unique in the story.
        task: The key of its task.
        parent: The type of the agent that started it; None for the orchestrator.
        prompt: Its prompt.
        steps: Its reports.
        ending: Its behaviour after the last step.
        pace: The time between two steps.
        ago: The time between its start and the start of the demo.
        past: The number of steps before the start of the demo.
        silent: The time between its last step and the start of the demo, if it had ended.
        later: Whether a step of its parent starts it.
        again: The first step of a cycle.
        helper: Whether it keeps a process that has left its session.
        script: Whether it reports through `muster report`, like a shell script.
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

    @property
    def is_finished(self) -> bool:
        """Whether the agent had a terminal status and no session before the demo started."""
        return self.past == len(self.steps) and self.ending in (Ending.COMPLETES, Ending.FAILS)


@dataclass(frozen=True, slots=True)
class Task:
    """One task of the story.

    Attributes:
        description: Its description.
        priority: Its priority.
        ago: Seconds between its creation and the start of the demo.
    """

    description: str
    priority: str
    ago: float


STALL_AFTER = 20.0
"""Seconds of silence after which an agent is stalled; working agents report more often."""

ORPHAN_GRACE = 4.0
"""The least age of an orphan in seconds; a new agent is registered sooner than that."""

SPAWN_DELAY = 1.5
"""Seconds between the start of a new agent's session and its entry in the registries."""
