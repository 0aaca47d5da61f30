"""What a file system that a user has mounted says of the owners of its files."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from registry.schema import why_foreign
from registry.storage import outsider_of
from registry.storage.files.mounts import owner_of
from registry.storage.files.path_walk import is_ours_alone, steps
from tests.support.fuse import needs_fuse, passed_through

OTHER = 64101

pytestmark = needs_fuse


@pytest.fixture
def source(tmp_path: Path) -> Path:
    task = tmp_path / "source" / ".agent-workspace" / "TASK-1"
    task.mkdir(parents=True)
    (task / "AGENT_REGISTRY.json").write_text("{}")
    return tmp_path / "source"


@pytest.fixture
def place(tmp_path: Path) -> Path:
    place = tmp_path / "place"
    place.mkdir()
    return place


def told(place: Path) -> dict[str, object]:
    workspace = place / ".agent-workspace"
    registry = workspace / "TASK-1" / "AGENT_REGISTRY.json"
    return {
        "status": os.stat(workspace).st_uid,
        "walk": [step.owner for step in steps(workspace)][-2:],
        "ours": is_ours_alone(workspace, os.stat(workspace)),
        "foreign": why_foreign(workspace),
        "outsider": outsider_of(registry, ()),
    }


def test_all_of_another_users_file_system_is_that_users(source: Path, place: Path) -> None:
    with passed_through(source, place, OTHER):
        found = told(place)
    assert found == {
        "status": 0,
        "walk": [OTHER, OTHER],
        "ours": False,
        "foreign": f"belongs to user {OTHER}",
        "outsider": f"user {OTHER}",
    }


def test_what_root_has_mounted_is_believed(source: Path, place: Path) -> None:
    with passed_through(source, place):
        found = told(place)
    assert found == {
        "status": 0,
        "walk": [0, 0],
        "ours": True,
        "foreign": None,
        "outsider": None,
    }


def test_what_is_not_mounted_any_more_has_no_known_owner(source: Path, place: Path) -> None:
    """As when the user unmounts it while its program delays an answer."""
    with passed_through(source, place, OTHER):
        fd = os.open(place, os.O_PATH)
        try:
            assert owner_of(fd) == OTHER
            subprocess.run(["umount", "--lazy", place], check=True)
            with pytest.raises(OSError, match="not mounted any more"):
                owner_of(fd)
        finally:
            os.close(fd)
