"""The description of a planned action, which the operator reads and confirms. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from registry.dataclass import dataclass


@dataclass(frozen=True, slots=True)
class Question:
    """A question that the operator must confirm separately, in addition to the plan.

    Attributes:
        asks: The text of the question.
        option: The command-line option that answers the question with yes, for example
            ``--mass-death``.
    """

    asks: str
    option: str

    @property
    def name(self) -> str:
        """The name of the option in the namespace that argparse returns."""
        return self.option.removeprefix("--").replace("-", "_")


@dataclass(frozen=True, slots=True)
class Preview:
    """The description of a planned action.

    Attributes:
        title: The action in one line.
        steps: The labels of agents and sessions, each with the planned change.
        refused: The labels of agents and sessions that will not change, each with the reason.
        files: The registries that will change.
        note: A remark that the operator should read before the confirmation; may be empty.
        grave: Whether the note is a warning.
        questions: The questions that the operator must confirm one by one after the plan.
        remarks: Remarks on what other programs do afterwards; each is a paragraph after the steps.
    """

    title: str
    steps: tuple[tuple[str, str], ...]
    refused: tuple[tuple[str, str], ...]
    files: tuple[Path, ...]
    note: str
    grave: bool = False
    questions: tuple[Question, ...] = ()
    remarks: tuple[str, ...] = ()


def grouped(steps: Iterable[tuple[str, str]]) -> Iterable[tuple[str, list[str]]]:
    """Groups labels by planned change, in the order in which the changes first occur."""
    groups: dict[str, list[str]] = {}
    for label, says in steps:
        groups.setdefault(says, []).append(label)
    return groups.items()
