"""Ends agents of a database on disks that are full or read-only.

Run as ``python -m tests.support.small_disk_databases WHAT DIRECTORY``; see `small_disk`.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from registry import Audit, AuditContext, RegistryError
from registry.database import files
from registry.schema import Workspace
from registry.sources import SqliteWorkspace, TaskSource
from tests.support.databases import Database, agent_row
from tests.support.small_disk import Ballast


def _made(directory: Path) -> Database:
    # The kept descriptor of a deleted database would occupy the disk until the next use.
    files._kept.clear()
    shutil.rmtree(directory / "disk", ignore_errors=True)
    built = Database(directory / "disk" / ".agent-workspace")
    built.task()
    built.agent("a")
    return built


def _task_of(built: Database) -> TaskSource:
    (task,) = SqliteWorkspace(Workspace(built.workspace)).tasks({})
    return task


def _finish(built: Database) -> tuple[str, ...]:
    on_record = AuditContext(Audit("complete", "r" * 3000))
    return (
        _task_of(built)
        .finish(["a"], status="completed", reason="m" * 900, on_record=on_record)
        .problems
    )


def full(directory: Path) -> dict[str, int]:
    """Ends an agent with each number of free pages; counts the cases."""
    room = Ballast(directory)
    found = {"refused": 0, "part": 0, "whole": 0}
    pages = 0
    while not found["whole"]:
        room.leave(-1)
        built = _made(directory)
        before = agent_row(built, "agents", "a")
        room.leave(pages)
        pages += 1
        why = _task_of(built).why_unwritable()
        if pages == 1:
            assert "No space left" in (why or ""), why
        try:
            problems = _finish(built)
        except RegistryError as error:
            assert "free space on the disk" in str(error), repr(error)
            assert "othing was changed" in str(error) or "not made" in str(error), error
            # The database can be read on the full disk, and no file is left beside it.
            assert [agent.status for agent in _task_of(built).read().record.agents] == ["running"]
            assert not [*built.path.parent.glob(built.path.name + "-*")]
            room.leave(-1)
            assert agent_row(built, "agents", "a") == before
            found["refused"] += 1
            # The database is whole, and can be written again.
            assert not _finish(built)
        else:
            room.leave(-1)
            found["part" if problems else "whole"] += 1
            assert all("free space on the disk" in problem for problem in problems), problems
        assert agent_row(built, "agents", "a")["status"] == "completed"
    room.remove()
    return found


def read_only(directory: Path) -> dict[str, int]:
    """Ends an agent on a disk that is mounted read-only."""
    built = _made(directory)
    task = _task_of(built)
    subprocess.run(["mount", "-o", "remount,bind,ro", directory], check=True)
    assert "Read-only file system" in (task.why_unwritable() or "")
    try:
        task.finish(["a"], status="completed")
    except RegistryError as error:
        assert "mount it for writing" in str(error), repr(error)
    else:
        raise AssertionError("a read-only disk was written")
    assert [agent.status for agent in task.read().record.agents] == ["running"]
    return {"refused": 1}


SCENARIOS: dict[str, Callable[[Path], dict[str, int]]] = {"full": full, "read-only": read_only}


if __name__ == "__main__":
    print(json.dumps(SCENARIOS[sys.argv[1]](Path(sys.argv[2]))))
