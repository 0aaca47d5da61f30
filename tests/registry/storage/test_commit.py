"""A write is whole or it is not made."""

from __future__ import annotations

from pathlib import Path

import pytest

from registry import LockedRegistryFile, RegistryError
from registry.snapshots import read_task
from registry.storage.journal import journal_path
from tests.support.everyone import WRITERS, Use, every_writer
from tests.support.kept_journals import without_kept
from tests.support.limits import no_file_longer_than
from tests.support.registries import agent, load, rewrite, task_registry, write


@every_writer
def test_a_disk_without_room_is_an_os_error_and_leaves_every_byte(
    tmp_path: Path, use: Use
) -> None:
    # Written tightly, so that every rewrite with an indent needs more room.
    path = tmp_path / "AGENT_REGISTRY.json"
    tight = str(task_registry(agent("busy"))).replace("'", '"').replace(": ", ":")
    path.write_text(tight)
    with no_file_longer_than(len(tight) + 10), pytest.raises(OSError, match="AGENT") as caught:
        use(path)

    assert isinstance(caught.value, RegistryError)
    assert path.read_text() == tight
    assert list(tmp_path.iterdir()) == [path]
    use(path)
    assert load(path) != task_registry(agent("busy"))


@pytest.mark.parametrize("sizes", [(10, 100_000, 10), (0, 1, 0), (70_000, 69_999, 70_001)])
def test_a_registry_may_grow_and_shrink(task: Path, sizes: tuple[int, ...]) -> None:
    for size in sizes:
        with LockedRegistryFile(task) as (registry, file):
            rewrite(file, registry | {"prompt": "p" * size})
        assert load(task)["prompt"] == "p" * size
        assert task.read_text().endswith("}")
        assert read_task(task).signature.size == task.stat().st_size


def test_text_that_is_what_was_there_is_not_written_again(task: Path) -> None:
    before = task.stat().st_mtime_ns
    with LockedRegistryFile(task) as (_, file):
        file.seek(0)
        text = file.read()
        file.seek(0)
        file.write(text)
        file.truncate()
    assert task.stat().st_mtime_ns == before


@every_writer
def test_a_write_leaves_only_a_finished_journal_behind(task: Path, use: Use) -> None:
    use(task)
    there = {each: each.read_bytes() for each in task.parent.iterdir() if each.is_file()}
    assert there.keys() == {task, journal_path(task)}
    assert without_kept(there).keys() == {task}


def test_what_our_writers_write_is_what_the_peers_write(tmp_path: Path) -> None:
    # The same text to the byte, so that a diff shows what was changed.
    first = write(tmp_path / "a.json", task_registry(agent("busy"), note="é\ud800 \x7f /", n=1e22))
    before = first.read_bytes()
    WRITERS["increment"](first)
    changed = first.read_bytes()
    assert changed == before.replace(b'"total_spawned": 1', b'"total_spawned": 2')
