"""What is shown and asked before anything is done, whatever it is. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked apart: whoever agrees to a plan has not answered it.

    Attributes:
        asks: In words.
        option: What answers it on the command line, for example ``--mass-death``.
    """

    asks: str
    option: str

    @property
    def name(self) -> str:
        """The option as argparse names its value."""
        return self.option.removeprefix("--").replace("-", "_")


@dataclass(frozen=True, slots=True)
class Preview:
    """What will be done, in words.

    Attributes:
        title: In one line.
        steps: Who or what, and what will be done to it.
        refused: Who or what will not be touched, and why.
        files: The registries that will change.
        note: What else has to be known before one agrees; may be empty.
        grave: Whether the note is a warning.
        questions: What is asked after that, one by one.
    """

    title: str
    steps: tuple[tuple[str, str], ...]
    refused: tuple[tuple[str, str], ...]
    files: tuple[Path, ...]
    note: str
    grave: bool = False
    questions: tuple[Question, ...] = ()


def grouped(steps: Iterable[tuple[str, str]]) -> Iterable[tuple[str, list[str]]]:
    """Who has the same done to them, by what is done, in the order it is first done."""
    found: dict[str, list[str]] = {}
    for label, says in steps:
        found.setdefault(says, []).append(label)
    return found.items()
