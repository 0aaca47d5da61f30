"""A real workspace of 5 tasks and 27 agents, one of them a zombie, which tests copy and change."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "fixtures" / "workspace" / ".agent-workspace"
ZOMBIE = "jsonl_architecture_planner-215640-c3f469"
ZOMBIE_TASK = "TASK-20251017-215604-df6a3cbd"
NESTED = "simple_test_agent-212031-9d5ba0"
PARENT_OF_NESTED = "integration_tester_agent-211955-98a8f6"


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    """Copies the workspace; returns the directory that contains the copy."""
    shutil.copytree(SOURCE, tmp_path / "project" / SOURCE.name)
    return tmp_path / "project"


def task_registry(holder: Path, task: str = ZOMBIE_TASK) -> Path:
    return holder / SOURCE.name / task / "AGENT_REGISTRY.json"


def global_registry(holder: Path) -> Path:
    return holder / SOURCE.name / "registry" / "GLOBAL_REGISTRY.json"
