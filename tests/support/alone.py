"""muster as a test runs it: whatever else runs on this host has no say in what it finds.

Its first argument is the beginning of the name of the directories whose tmux servers it
may see.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Container, Iterator

from tui.entry import main
from tui.host import strays, tmux_servers
from tui.host.tmux_types import TmuxSnapshot

PREFIX = sys.argv.pop(1)
_all_servers = tmux_servers.servers_of
_all_strays = strays.find_strays


def ours(owners: Container[int] | None) -> Iterator[tmux_servers.Server]:
    """The servers of this test run."""
    for server in _all_servers(owners):
        socket = server.socket
        if socket is not None and any(part.startswith(PREFIX) for part in socket.parts):
            yield server


def _is_of_test(socket: str) -> bool:
    return PREFIX in socket and os.path.isdir(os.path.dirname(socket))


def our_strays(answer: TmuxSnapshot, watched: strays.Watched) -> tuple[strays.Stray, ...]:
    """What outlived panes of this test run, and what writes for its agents."""
    found = _all_strays(answer, watched)
    return tuple(
        each
        for each in found
        if each.named_pane is None or each.may_write_for or _is_of_test(each.named_pane.socket)
    )


strays.find_strays = our_strays
tmux_servers.servers_of = ours
tmux_servers.sees_the_host = lambda: True
sys.exit(main())
