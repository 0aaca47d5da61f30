"""Proves that sessions are gone, by two queries of tmux."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable

from registry.schema.arguments import strings
from registry.schema.session_names import is_tmux_name_certain, spellings

PAUSE = 0.75
"""The seconds between the two queries.

A tmux server that is starting or ending lists too few sessions for a moment. A new agent's
session appears a moment after its registration.
"""

Query = Callable[[], Collection[str] | None]
"""Queries tmux. Returns the names of all sessions; empty if no server runs; None if tmux could
not be queried."""


def gone_sessions(
    sessions: Iterable[str],
    query: Query,
    *,
    pause: float = PAUSE,
    sleep: Callable[[float], object] = time.sleep,
) -> frozenset[str]:
    """Returns the sessions that are certainly gone: two queries of tmux do not list them.

    Blocks for `pause`. It does not prove that the processes of a session have ended.

    Args:
        sessions: The names, as in `tmux_session` of the agents' entries.
        query: Queries tmux; called twice.
        pause: The seconds between the two queries.
        sleep: Waits for this number of seconds.

    Returns:
        The names as they were given. Empty if one of the queries failed. A name that tmux may
        have changed in an unknown way is never among them.

    Raises:
        TypeError: `sessions` or the result of `query` is a single string, or contains an object
            that is not a string.
    """
    names = strings("sessions", sessions)
    first = query()
    if first is None:
        return frozenset()
    sleep(pause)
    second = query()
    if second is None:
        return frozenset()
    listed = {*strings("query", first), *strings("query", second)}
    return frozenset(
        name for name in names if is_tmux_name_certain(name) and listed.isdisjoint(spellings(name))
    )
