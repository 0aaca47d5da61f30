"""Suggests similar names of commands, options, agents, sessions and tasks for a mistyped name."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Sequence
from typing import TYPE_CHECKING

from registry.text import quoted_name, typed_word

if TYPE_CHECKING:
    from tui.model.roll import RollCall

_LONGEST_COMMAND = 64
"""The longest word, in characters, for which a command is suggested."""

_COMPARED_AT_MOST = 256
"""The longest name, in characters, for which similar names are searched.

The time of the search grows with the square of the length.
"""


def mistaken_command(word: str, commands: Collection[str]) -> str | None:
    """Returns a message if a word is neither a command nor a path, otherwise None.

    If a file with this name exists, the word is a workspace and not a command.
    """
    if not word or len(word) > _LONGEST_COMMAND or "/" in word or os.path.lexists(word):
        return None
    similar = similar_names(word, commands, 2)
    if similar:
        return f"there is no command {quoted_name(word)}; did you mean {' or '.join(similar)}?"
    name = quoted_name(word)
    return f"there is no command and no file {name}; `muster help` lists the commands"


def nearest(roll: RollCall, ids: Iterable[str], problems: Iterable[str]) -> list[str]:
    """Returns advice for unknown ids: similar ids, or the unreadable files that may list the ids.

    Args:
        roll: The roll call.
        ids: The ids that the user gave.
        problems: The messages about these ids.
    """
    from tui.cli.lookup import unread_registries

    problems = list(problems)
    unseen = unread_registries(roll, nearby=True)
    if unseen and any(problem.startswith("no ") for problem in problems):
        return [*unseen, "An unreadable file may list the agent."]
    known = [row.key.id for row in roll.agents()]
    return nearest_of([*known, *(session.name for session in roll.orphans)], ids, problems)


def nearest_of(known: Sequence[str], names: Iterable[str], problems: Iterable[str]) -> list[str]:
    """Returns one line that suggests the similar known names; no line without a similar name."""
    if not any(problem.startswith("no ") for problem in problems):
        return []
    given = set(names)
    short = [name for name in known if len(name) <= _COMPARED_AT_MOST]
    similar = {
        candidate
        for name in given
        if len(name) <= _COMPARED_AT_MOST
        for candidate in similar_names(name, short, 3)
    }
    # Quoted for a shell, because the user will type or paste the name.
    words = [typed_word(name) for name in sorted(similar - given)]
    suggestions = ", ".join(word for word in words if word is not None)
    return [f"did you mean {suggestions}?"] if suggestions else []


def similar_names(name: str, known: Collection[str], count: int) -> list[str]:
    """Returns at most `count` of the known names that are similar to a name, the nearest first."""
    import difflib  # Imported late, because the import is slow.

    return difflib.get_close_matches(name, known, count)
