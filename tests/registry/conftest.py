"""Files that the tests of `registry` work on."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.crowd import Crowd
from tests.registries import agent, global_registry, task_registry, write
from tests.registry.two_tasks import two_tasks


@pytest.fixture
def task(tmp_path: Path) -> Path:
    """A task's registry: one agent at work, one completed."""
    directory = tmp_path / ".agent-workspace" / "TASK-1"
    return write(
        directory / "AGENT_REGISTRY.json",
        task_registry(agent("busy"), agent("done", "completed")),
    )


@pytest.fixture
def global_(tmp_path: Path) -> Path:
    """The global registry that lists the same agents as `task`."""
    directory = tmp_path / ".agent-workspace" / "registry"
    return write(
        directory / "GLOBAL_REGISTRY.json",
        global_registry(agent("busy", None), agent("done", "completed")),
    )


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    """A workspace of two tasks with three agents at work."""
    return two_tasks(tmp_path)


@pytest.fixture
def empty_task(tmp_path: Path) -> Path:
    """A task's registry before its first agent."""
    return write(tmp_path / "AGENT_REGISTRY.json", task_registry())


@pytest.fixture
def crowd() -> Iterator[Crowd]:
    """Processes to start; all are gone after the test."""
    with Crowd() as started:
        yield started


@pytest.fixture
def quiet() -> Iterator[None]:
    """Thousands of failures are not to be logged, nor kept as records."""
    log = logging.getLogger("registry")
    before = log.level
    log.setLevel(logging.CRITICAL + 1)
    yield
    log.setLevel(before)
