"""Proves by two queries of tmux that sessions no longer exist."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable

from registry.schema.arguments import strings
from registry.schema.session_names import is_tmux_name_certain, spellings

PAUSE = 0.75
"""The seconds between the two queries.

A tmux server that is starting or ending may omit some of its sessions for a moment. The session
of a new agent is created a moment after the agent's registration.
"""

Query = Callable[[], Collection[str] | None]
"""A function that queries tmux.

Returns the names of all sessions: an empty collection if no server runs, None if tmux could not be
queried.
"""


def gone_sessions(
    sessions: Iterable[str],
    query: Query,
    *,
    pause: float = PAUSE,
    sleep: Callable[[float], object] = time.sleep,
) -> frozenset[str]:
    """Returns the sessions that certainly do not exist, because two queries of tmux omit them.

    Blocks for `pause` seconds. Processes of a session may still run after the session has ended.

    Args:
        sessions: The names of the sessions, as in the field `tmux_session` of the agents' entries.
        query: A function that queries tmux; called twice.
        pause: The seconds between the two queries.
        sleep: A function that waits for the given number of seconds.

    Returns:
        The names, spelled as in `sessions`; empty if a query failed. A name is left out if tmux
        may have replaced some of its characters in an unknown way.

    Raises:
        TypeError: `sessions` or the result of `query` is a single string, or contains an object
            that is not a string. Or `query` is a coroutine function; use
            `registry.awaitable.gone_sessions` instead.
    """
    names = strings("sessions", sessions)
    first = _answer(query)
    if first is None:
        return frozenset()
    sleep(pause)
    second = _answer(query)
    if second is None:
        return frozenset()
    listed = {*strings("query", first), *strings("query", second)}
    return frozenset(
        name for name in names if is_tmux_name_certain(name) and listed.isdisjoint(spellings(name))
    )


def _answer(query: Query) -> Collection[str] | None:
    answer = query()
    if hasattr(answer, "__await__"):
        # Otherwise Python warns about a coroutine that was never awaited.
        getattr(answer, "close", lambda: None)()
        raise TypeError("query is a coroutine function; use registry.awaitable.gone_sessions")
    return answer
