"""What became of a plan, step by step. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from tui.actions.plan import Verb


class Result(StrEnum):
    """How a step ended."""

    DONE = "done"
    LEFT = "left alone"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class StepOutcome:
    """What became of one step.

    Attributes:
        detail: What was done, or why not.
    """

    label: str
    result: Result
    detail: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a plan.

    Attributes:
        written: Registries that were changed.
        problems: What went wrong beside the single agents.
    """

    verb: Verb
    steps: tuple[StepOutcome, ...]
    written: tuple[Path, ...]
    problems: tuple[str, ...]

    @property
    def complete(self) -> bool:
        """Whether everything was done."""
        return not self.problems and all(each.result is Result.DONE for each in self.steps)
