"""The errors of the monitor: what a user can put right."""

from __future__ import annotations


class UsageError(Exception):
    """Something that the user has to put differently.

    Args:
        lines: What is wrong, and what to do.
    """

    def __init__(self, *lines: str) -> None:
        super().__init__(*lines)
        self.lines = lines

    def __str__(self) -> str:
        return "\n".join(self.lines)
