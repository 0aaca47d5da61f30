"""Programs of orchestrators and agents that work on one workspace at once; `main` lists the roles.

Each program prints "ready", and waits for a line before it begins.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

from registry import create_task_registry, register_agent
from registry.schema.layout import Workspace


def create(workspace: str, task_id: str, number: str) -> None:
    """Creates a task and registers an agent; prints whether the task was new, and the id."""
    made = create_task_registry(workspace, task_id, f"made by {number}", timeout=60)
    global_ = Workspace(Path(workspace)).global_registry
    agent = register_agent(made.path, global_, f"maker_{number}", timeout=60)
    print(json.dumps([made.new, agent.agent_id]))


def register(task: str, global_: str, agent_type: str, how_many: str) -> None:
    """Registers agents of a type; prints their ids."""
    found = [register_agent(task, global_, agent_type, timeout=60) for _ in range(int(how_many))]
    assert not any(each.problems for each in found)
    print(json.dumps([each.agent_id for each in found]))


def main(arguments: list[str]) -> None:
    """Runs the role that the first argument names."""
    roles: tuple[Callable[..., None], ...] = (create, register)
    role, *rest = arguments
    print("ready", flush=True)
    sys.stdin.readline()
    {each.__name__: each for each in roles}[role](*rest)


if __name__ == "__main__":
    main(sys.argv[1:])
