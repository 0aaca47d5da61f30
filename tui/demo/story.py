"""What a story for the demo is made of: tasks, roles and the steps of each."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto


class Ending(Enum):
    """What becomes of an agent after the last step of its role."""

    COMPLETES = auto()
    FAILS = auto()
    LEAKS = auto()  # reports that it is through, and its session stays
    DIES = auto()  # is gone without a word
    STALLS = auto()  # is there and says nothing more
    CYCLES = auto()  # begins again at the step `again`


@dataclass(frozen=True, slots=True)
class Step:
    """One report of an agent.

    Attributes:
        runs: A command that its log shows.
        finding: Its kind, its severity and what was found.
        spawns: Types of agents that it starts then.
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
        type: Unique in the story.
        task: Key of its task.
        parent: The type of the agent that started it; None for the orchestrator.
        pace: Between two steps.
        ago: How long before the demo it started.
        past: How many of its steps it had done by then.
        silent: How long before the demo one that was through did the last of them.
        later: Whether it is only started by a step of its parent.
        again: Where a cycle begins.
        helper: Whether it keeps a process that has left its session.
        script: Whether it reports as a shell script does, by `muster report`.
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
    def is_through(self) -> bool:
        """Whether it was through, and had gone, before the demo began."""
        return self.past == len(self.steps) and self.ending in (Ending.COMPLETES, Ending.FAILS)


@dataclass(frozen=True, slots=True)
class Task:
    """One task of the story; `ago` is how long before the demo it was made, in seconds."""

    description: str
    priority: str
    ago: float


STALL_AFTER = 20.0
"""Silence that makes an agent stalled; every agent that works reports more often."""

ORPHAN_GRACE = 4.0
"""How old a session nobody knows must be; a new agent is written down sooner than that."""

SPAWN_DELAY = 1.5
"""Between the start of a new agent's session and its entry in the registries."""
