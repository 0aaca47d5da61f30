"""The statuses of agents and tasks, and their meanings.

An orchestrator also writes statuses that the functions of this library refuse, and agents report
words of their own. Each word has a meaning, which the verdicts use; the word is shown as written.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from registry.storage.files.interruption import hand_on

ACTIVE_STATUSES = frozenset({"running", "working", "blocked"})
"""The statuses of agents that should have a session. The library writes only these."""

TERMINAL_STATUSES = frozenset({"completed", "error", "failed", "terminated"})
"""The statuses of agents that have ended. The library writes only these."""

FAILED_STATUSES = frozenset({"error", "failed"})
"""The terminal statuses of agents that did not succeed."""

_ACTIVE_OF_ORCHESTRATORS = {"reviewing": "working"}

_TERMINAL_OF_ORCHESTRATORS = {"phase_completed": "completed", "killed": "terminated"}

_STARTING = {"pending": "running", "starting": "running"}

_MEANINGS: Mapping[str, str] = MappingProxyType(
    {
        **{word: word for word in (*ACTIVE_STATUSES, *TERMINAL_STATUSES)},
        **_ACTIVE_OF_ORCHESTRATORS,
        **_TERMINAL_OF_ORCHESTRATORS,
        **_STARTING,
    }
)
"""Maps each known word to the status of the library that has the same meaning."""

DATABASE_STATUSES = frozenset(_MEANINGS)
"""The statuses that a report to a database may have: the words of the orchestrator."""

_AT_WORK = "working"
"""The meaning of a word that is not known."""

_ALL = 100

_ACTIVE_TASKS = frozenset({*ACTIVE_STATUSES, "initialized", "active"})

_TERMINAL_TASKS = frozenset({*TERMINAL_STATUSES, "cancelled", "archived"})


def meaning_of(word: str) -> str:
    """Returns the status for verdicts that a word in a JSON registry means.

    Upper and lower case are equal. A word that is not known means an active agent.

    Returns:
        A word of `ACTIVE_STATUSES` or `TERMINAL_STATUSES`; empty for an empty word.
    """
    return _MEANINGS.get(word.lower(), _AT_WORK) if word else ""


def stored_status(word: str, progress: object) -> str:
    """Returns the status that the orchestrator stores in a database for a word.

    Args:
        word: The word, for example of a report; may be empty.
        progress: The percentage; any value. The orchestrator cuts off a fraction.
    """
    lower = word.lower()
    if lower in _STARTING:
        return _MEANINGS[lower]
    if lower in _MEANINGS:
        return lower
    percent = _percent(progress) if word else None
    return "completed" if percent == _ALL else "running" if percent == 0 else _AT_WORK


def _percent(progress: Any) -> int | None:
    try:
        return int(progress)
    except (TypeError, ValueError, OverflowError) as error:
        hand_on(error)
        return None


def meaning_in_database(word: str, progress: object) -> str:
    """Returns the status for verdicts that a word in a database means.

    The orchestrator's rule for its database has two more cases than `meaning_of`:

    - An empty word means an active agent.
    - With a progress of 100 percent, a word that is not known means a completed agent.

    Args:
        word: The status in the database.
        progress: The percentage in the database; any value.

    Returns:
        A word of `ACTIVE_STATUSES` or `TERMINAL_STATUSES`.
    """
    return meaning_of(stored_status(word, progress))


def is_known(status: str) -> bool:
    """Returns whether an agent's status is a known word, or empty."""
    return not status or status.lower() in _MEANINGS


def is_active(status: object) -> bool:
    """Returns whether a status is a known word for an active agent.

    The result is False for an unknown word, and for a value that is not a string.
    """
    return isinstance(status, str) and (
        status in ACTIVE_STATUSES or status in _ACTIVE_OF_ORCHESTRATORS
    )


def is_terminal(status: object) -> bool:
    """Returns whether a status is terminal.

    The result is False for an unknown word, and for a value that is not a string.
    """
    return isinstance(status, str) and (
        status in TERMINAL_STATUSES or status in _TERMINAL_OF_ORCHESTRATORS
    )


def is_terminal_task(status: str) -> bool | None:
    """Returns whether a task's status is terminal; None if the status is an unknown word."""
    word = status.casefold()
    return True if word in _TERMINAL_TASKS else False if word in _ACTIVE_TASKS else None
