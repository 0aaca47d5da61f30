"""What may have been meant: the nearest names of commands, agents, sessions and tasks."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Sequence
from typing import TYPE_CHECKING

from registry.text import quoted_name, typed_word

if TYPE_CHECKING:
    from tui.model.roll import RollCall

_LONGEST_COMMAND = 64
"""Characters of the longest word that may be a command, mistyped."""

_COMPARED_AT_MOST = 256
"""Characters of the longest name that is looked for among similar ones: it takes their square."""


def mistaken_command(word: str, commands: Collection[str]) -> str | None:
    """What to say of a first word that is neither a command nor there; None if it is."""
    if not word or len(word) > _LONGEST_COMMAND or "/" in word or os.path.lexists(word):
        return None
    near = _near(word, commands, 2)
    if not near:
        return None
    return f"there is no command {quoted_name(word)}; did you mean {' or '.join(near)}?"


def nearest(roll: RollCall, ids: Iterable[str], problems: Iterable[str]) -> list[str]:
    """What may have been meant by ids that no agent and no orphan has.

    Args:
        roll: The roll call.
        ids: As they were given.
        problems: What is wrong with them.
    """
    from tui.cli.lookup import unread_registries

    problems = list(problems)
    unseen = unread_registries(roll, nearby=True)
    if unseen and any(problem.startswith("no ") for problem in problems):
        return [*unseen, "The agent may be in there."]
    known = [row.key.id for row in roll.agents()]
    return nearest_of([*known, *(session.name for session in roll.orphans)], ids, problems)


def nearest_of(known: Sequence[str], names: Iterable[str], problems: Iterable[str]) -> list[str]:
    """What may have been meant by names, of those that are known."""
    if not any(problem.startswith("no ") for problem in problems):
        return []
    given = set(names)
    short = [each for each in known if len(each) <= _COMPARED_AT_MOST]
    near = {
        each for name in given if len(name) <= _COMPARED_AT_MOST for each in _near(name, short, 3)
    }
    # Each of them is to be typed, so as a shell takes it.
    meant = [typed_word(each) for each in sorted(near - given)]
    said = ", ".join(each for each in meant if each is not None)
    return [f"meant: {said}?"] if said else []


def _near(name: str, known: Collection[str], count: int) -> list[str]:
    import difflib  # Only for what was mistyped: it takes longer than a command line does.

    return difflib.get_close_matches(name, known, count)
