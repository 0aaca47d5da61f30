"""Proves that sessions are gone, by two queries of tmux."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable

from registry.schema.arguments import strings
from registry.schema.session_names import is_tmux_name_certain, spellings

PAUSE = 0.75
"""The seconds between the two queries.

For a moment, a tmux server that is starting or ending does not list all its sessions. The session
of a new agent appears a moment after the agent's registration.
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
    """Returns the sessions that are certainly gone: two queries of tmux do not list them.

    Blocks for `pause` seconds. The processes of a session that is gone may still run.

    Args:
        sessions: The names of the sessions, as in the field `tmux_session` of the agents' entries.
        query: Queries tmux; called twice.
        pause: The seconds between the two queries.
        sleep: Waits for this number of seconds.

    Returns:
        The names of the gone sessions, spelled as in `sessions`. Empty if one of the queries
        failed. A name that tmux may have changed in an unknown way is never in the result.

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
