"""Hides the tmux servers and processes of this machine that belong to no test."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from pathlib import Path

from tests.support.own_processes import OwnProcesses, start_of_this
from tests.support.real_tmux import RealTmux
from tests.support.terminal import PREFIX
from tui.actions.evidence import leftovers
from tui.host.output_writers import Watched
from tui.host.process import procfs
from tui.host.strays import Stray, find_strays
from tui.host.tmux_servers import Server, servers_of
from tui.host.tmux_types import TmuxSnapshot

PRIVATE: set[Path] = set()
"""The directories of tests in which sockets of tmux servers may lie at any depth."""

PROCESSES = OwnProcesses(start_of_this())


def separate() -> None:
    """Makes muster in this process see only the processes of tests."""
    procfs.all_stats = PROCESSES.all_stats
    # Nothing depends on whether the tests run in a container.
    procfs.sees_the_host = lambda: True
    leftovers.find_strays = _own_strays  # type: ignore[attr-defined]


def own_servers(owners: Collection[int] | None) -> Iterator[Server]:
    """Yields the tmux servers of tests. Replaces `servers_of`, which some tests call."""
    for server in servers_of(owners):
        socket = server.socket or Path()
        if socket.parent in RealTmux.directories or not PRIVATE.isdisjoint(socket.parents):
            yield server


def _own_strays(answer: TmuxSnapshot, watched: Watched) -> tuple[Stray, ...]:
    """Leaves out the survivors of the user's own tmux servers."""
    private = answer.socket.parent in RealTmux.directories
    found = find_strays(answer, watched) if private else ()
    return tuple(
        each
        for each in found
        if not each.is_hidden
        and (each.named_pane is None or each.may_write_for or _is_of_test(each.named_pane.socket))
    )


def _is_of_test(socket: str) -> bool:
    # The directory of an earlier test is gone, although its processes may still run.
    return PREFIX in socket and os.path.isdir(os.path.dirname(socket))
