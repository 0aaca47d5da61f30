"""Errors that the user can correct."""

from __future__ import annotations


class UsageError(Exception):
    """Invalid usage: the user must change the command line or the settings.

    Args:
        lines: The lines of the message: the error, then the remedy.
    """

    def __init__(self, *lines: str) -> None:
        super().__init__(*lines)
        self.lines = lines

    def __str__(self) -> str:
        return "\n".join(self.lines)
