"""Runs muster for a test, so that muster sees only the tmux servers and processes of the test run.

The first argument is the prefix of the directories in which tests start tmux servers. The second
argument is the start time of the test run: older processes are hidden. If ``--prepared`` is the
only other argument, the program imports everything that commands need. Then it forks a child for
each request on the socket at standard input, and the child runs muster.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import pkgutil
import socket
import sys
from collections.abc import Container, Iterator

from tests.support.own_processes import OwnProcesses
from tui.entry import main
from tui.host import strays, tmux_servers
from tui.host.output_writers import Watched
from tui.host.process import procfs
from tui.host.tmux_types import TmuxSnapshot

PREFIX = sys.argv.pop(1)
SINCE = int(sys.argv.pop(1))
_all_servers = tmux_servers.servers_of
_all_strays = strays.find_strays


def ours(owners: Container[int] | None) -> Iterator[tmux_servers.Server]:
    """Yields the tmux servers of this test run."""
    for server in _all_servers(owners):
        socket = server.socket
        if socket is not None and any(part.startswith(PREFIX) for part in socket.parts):
            yield server


def _is_of_test(socket: str) -> bool:
    return PREFIX in socket and os.path.isdir(os.path.dirname(socket))


def our_strays(answer: TmuxSnapshot, watched: Watched) -> tuple[strays.Stray, ...]:
    """Returns the survivors of this run's panes, and the writers of its agents' files."""
    found = _all_strays(answer, watched)
    return tuple(
        each
        for each in found
        if not each.is_hidden
        and (each.named_pane is None or each.may_write_for or _is_of_test(each.named_pane.socket))
    )


def import_commands() -> None:
    """Imports all modules that a command may import: all except the screen."""
    import registry
    import tui

    for package in (registry, tui):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if not module.name.startswith(("tui.app", "tui.demo", "tui.__main__")):
                importlib.import_module(module.name)


def answer_requests() -> None:
    """Forks a child for each request. Returns only in a child."""
    requests = socket.socket(fileno=os.dup(0))
    # Without this, the garbage collection of each child would copy all memory.
    gc.collect()
    gc.freeze()
    while True:
        _, files, _, _ = socket.recv_fds(requests, 1, 4)
        if not files:
            os._exit(0)
        if (child := os.fork()) == 0:
            requests.close()
            become(files)
            return
        for file in files:
            os.close(file)
        requests.send(child.to_bytes(4))
        requests.send((os.waitpid(child, 0)[1]).to_bytes(4))


def become(files: list[int]) -> None:
    """Gives this process the arguments, directory, environment and streams of a request."""
    with open(files[0], encoding="utf-8") as request:
        sys.argv[1:], directory, environment = json.load(request)
    for number, file in enumerate(files[1:]):
        os.dup2(file, number)
        os.close(file)
    os.chdir(directory)
    os.environ.clear()
    os.environ.update(environment)


strays.find_strays = our_strays
tmux_servers.servers_of = ours
procfs.sees_the_host = lambda: True
procfs.all_stats = OwnProcesses(SINCE).all_stats
if sys.argv[1:] == ["--prepared"]:
    import_commands()
    answer_requests()
sys.exit(main())
