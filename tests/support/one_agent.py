"""A database with one agent, as a fixture."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.databases import Database


def _with_one_agent(workspace: Path) -> Database:
    database = Database(workspace)
    database.task()
    database.agent("one")
    return database


@pytest.fixture
def built(tmp_path: Path) -> Database:
    """A database with one agent."""
    return _with_one_agent(tmp_path / ".agent-workspace")


@pytest.fixture
def public() -> Iterator[Database]:
    """A database with one agent, which every user may read."""
    place = Path(tempfile.mkdtemp(prefix="mst"))
    place.chmod(0o755)
    yield _with_one_agent(place)
    shutil.rmtree(place)
