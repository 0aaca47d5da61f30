"""A workspace of two tasks, and both ways to clean it up."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from registry import (
    clean_up_task,
    clean_up_workspace,
)
from registry.operations.clean_up import CleanUp
from tests.support.registries import agent, global_registry, task_registry, write


def two_tasks(tmp_path: Path) -> Path:
    """Creates a workspace of two tasks: TASK-1 with "one" and "two", TASK-2 with "three"."""
    root = tmp_path / ".agent-workspace"
    write(root / "TASK-1" / "AGENT_REGISTRY.json", task_registry(agent("one"), agent("two")))
    write(root / "TASK-2" / "AGENT_REGISTRY.json", task_registry(agent("three"), task_id="TASK-2"))
    write(
        root / "registry" / "GLOBAL_REGISTRY.json",
        global_registry(
            agent("one", None), agent("two", None), agent("three", None, task_id="TASK-2")
        ),
    )
    return root


def registries(root: Path) -> list[Path]:
    """Returns the registry of the first task, of the second task, and the global registry."""
    return [
        root / "TASK-1" / "AGENT_REGISTRY.json",
        root / "TASK-2" / "AGENT_REGISTRY.json",
        root / "registry" / "GLOBAL_REGISTRY.json",
    ]


def clean_up(root: Path, live: Sequence[str], how: str, **options: Any) -> list[CleanUp]:
    """Cleans up the workspace, as a whole or task by task."""
    one, two, global_ = registries(root)
    if how == "workspace":
        return [clean_up_workspace(root, live, **options)]
    return [clean_up_task(task, global_, live, **options) for task in (one, two)]


either = pytest.mark.parametrize("how", ["task", "workspace"])
