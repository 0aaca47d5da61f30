"""Creates workspaces with many agents, and sessions for some of them."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.support.real_tmux import RealTmux
from tests.support.workspaces import Files, entry, stamp
from tui.host.tmux import Tmux

_AT_A_TIME = 50
_SESSIONS_AT_MOST = 500


@dataclass(frozen=True)
class Crew:
    """A workspace, and the tmux server of its agents' sessions.

    Attributes:
        files: The workspace: ``TASK-000`` and so on, with agents ``bench-000-0000``.
        server: The tmux server.
        tasks: The number of tasks.
        per_file: The number of agents in each task.
    """

    files: Files
    server: RealTmux
    tasks: int
    per_file: int

    def registry(self, task: int) -> Path:
        """Returns the path of a task's registry."""
        return self.files.registry(f"TASK-{task:03}")


def agent_id(task: int, number: int) -> str:
    """Returns an agent's id."""
    return f"bench-{task:03}-{number:04}"


@contextmanager
def crew(size: int, tasks: int, *, live: int | None = None) -> Iterator[Crew]:
    """Creates a workspace and sessions until the block ends.

    Args:
        size: The number of agents.
        tasks: The number of tasks.
        live: The number of active agents, each with a session, at most 500; None for half of the
            agents. The other agents are completed.
    """
    live = min(size // 2 if live is None else live, _SESSIONS_AT_MOST)
    tasks = max(1, min(tasks, size))
    per_file = size // tasks
    directory = Path(tempfile.mkdtemp(prefix="msb"))
    last_activity = stamp(7200)
    working: list[str] = []
    agents: dict[str, list[dict[str, object]]] = {}
    for task in range(tasks):
        listed = agents.setdefault(f"TASK-{task:03}", [])
        for number in range(per_file):
            id_ = agent_id(task, number)
            works = len(working) < live
            status = "working" if works else "completed"
            if works:
                working.append(id_)
            prompt = f"Find out why {id_} is slow, and mend it. " * 4
            listed.append(entry(id_, status, prompt=prompt, last_update=last_activity))
    try:
        with RealTmux() as server:
            server.start("keeper")
            client = Tmux(server.socket, 60.0)
            for at in range(0, len(working), _AT_A_TIME):
                some = working[at : at + _AT_A_TIME]
                problem = client.start_sessions(
                    {f"agent_{each}": ("sleep", "36000") for each in some}
                )
                if problem:
                    raise SystemExit(problem)
            yield Crew(Files(directory, agents), server, tasks, per_file)
    finally:
        shutil.rmtree(directory, ignore_errors=True)
