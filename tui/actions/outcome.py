"""The outcome of a plan and of its steps. Pure."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path

from registry.dataclass import dataclass
from tui.actions.plan import Verb


class Result(StrEnum):
    """The result of a step."""

    DONE = "done"
    LEFT = "left alone"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class StepOutcome:
    """The outcome of one step.

    Attributes:
        label: The id of the agent, or the name of the orphaned session.
        result: The result.
        detail: The change that was made, or the reason why no change was made.
        has_ended: Whether this step ended a session or processes.
    """

    label: str
    result: Result
    detail: str
    has_ended: bool = False


@dataclass(frozen=True, slots=True)
class Outcome:
    """The outcome of a plan.

    Attributes:
        verb: The action.
        steps: The outcome of each step.
        written: The registries that were changed.
        problems: Messages about problems that do not belong to a step.
        notes: Remarks that are not problems.
    """

    verb: Verb
    steps: tuple[StepOutcome, ...]
    written: tuple[Path, ...]
    problems: tuple[str, ...]
    notes: tuple[str, ...] = ()

    @property
    def complete(self) -> bool:
        """Whether all steps were done, and no problems were reported."""
        return not self.problems and all(step.result is Result.DONE for step in self.steps)
