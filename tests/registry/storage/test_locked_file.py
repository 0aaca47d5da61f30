"""The block of `LockedRegistryFile`: what is given, what is written, what is refused."""

from __future__ import annotations

import io
import json
import logging
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from registry import LockedRegistryFile
from registry.storage.hot_journal import is_hot
from registry.storage.journal import journal_path
from tests.support.registries import load, rewrite


def test_it_gives_the_registry_and_a_file_to_rewrite_it_with(task: Path) -> None:
    with LockedRegistryFile(task) as (registry, file):
        assert registry["task_id"] == "TASK-1"
        file.seek(0)
        assert json.loads(file.read()) == registry
        registry["agents"].append({"id": "new"})
        registry["total_spawned"] += 1
        file.seek(0)
        file.write(json.dumps(registry, indent=2))
        file.truncate()

    assert load(task) == registry


@pytest.mark.parametrize("kind", [str, Path])
def test_the_path_may_be_text_or_a_path(task: Path, kind: type) -> None:
    with LockedRegistryFile(kind(task)) as (registry, _):
        assert registry["task_id"] == "TASK-1"


def test_what_is_written_is_there_as_it_was_written(task: Path) -> None:
    text = '{"agents": [],\r\n\t"total_spawned": 0, "é": "\\ud800", "n": 1e2}\n'
    with LockedRegistryFile(task) as (_, file):
        file.seek(0)
        file.write(text)
        file.truncate()

    assert task.read_bytes() == text.encode()


def test_nobody_sees_what_is_written_before_the_block_ends(task: Path) -> None:
    before = task.read_bytes()
    with LockedRegistryFile(task) as (registry, file):
        rewrite(file, registry | {"status": "DONE"})
        file.flush()
        os.fsync(file.fileno())
        assert task.read_bytes() == before
    assert load(task)["status"] == "DONE"


def test_a_block_that_writes_nothing_does_not_touch_the_file(task: Path) -> None:
    before = task.stat()
    with LockedRegistryFile(task) as (registry, _):
        registry["status"] = "never written"
    after = task.stat()

    assert (after.st_mtime_ns, after.st_size) == (before.st_mtime_ns, before.st_size)
    assert load(task)["status"] == "INITIALIZED"


def test_a_write_keeps_inode_mode_and_owner(task: Path) -> None:
    task.chmod(0o640)
    before = task.stat()
    for status in ("a much longer status than there was " * 500, "short"):
        with LockedRegistryFile(task) as (registry, file):
            rewrite(file, registry | {"status": status})
        assert load(task)["status"] == status

    after = task.stat()
    assert after.st_ino == before.st_ino
    assert stat.S_IMODE(after.st_mode) == 0o640
    assert (after.st_uid, after.st_gid) == (before.st_uid, before.st_gid)


def test_a_write_leaves_no_more_than_its_journal_in_the_directory(task: Path) -> None:
    with LockedRegistryFile(task) as (registry, file):
        rewrite(file, registry | {"status": "DONE"})

    assert set(task.parent.iterdir()) == {task, journal_path(task)}
    assert not is_hot(task)


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit, GeneratorExit])
def test_a_block_that_raises_leaves_every_byte_and_lets_the_lock_go(
    task: Path, error: type[BaseException]
) -> None:
    before = task.read_bytes()
    with pytest.raises(error), LockedRegistryFile(task) as (registry, file):
        rewrite(file, registry | {"status": "half done"})
        raise error

    assert task.read_bytes() == before
    assert_free(task)


def assert_free(path: Path) -> None:
    with LockedRegistryFile(path, timeout=0):
        pass


def test_the_lock_is_let_go_on_return_break_and_a_closed_generator(task: Path) -> None:
    def returns() -> None:
        with LockedRegistryFile(task):
            return

    def yields() -> Iterator[None]:
        with LockedRegistryFile(task):
            yield

    returns()
    assert_free(task)
    for _ in range(1):
        with LockedRegistryFile(task):
            break
    assert_free(task)
    generator = yields()
    next(generator)
    generator.close()  # type: ignore[attr-defined]
    assert_free(task)


def test_one_object_can_be_used_again(task: Path) -> None:
    locked = LockedRegistryFile(task)
    for number in range(3):
        with locked as (registry, file):
            rewrite(file, registry | {"max_agents": number})
    assert load(task)["max_agents"] == 2


def test_a_second_block_inside_the_first_times_out_and_the_first_goes_on(task: Path) -> None:
    locked = LockedRegistryFile(task, timeout=0)
    with locked as (registry, file):
        with pytest.raises(TimeoutError), locked:
            pass
        rewrite(file, registry | {"status": "DONE"})
    assert load(task)["status"] == "DONE"


REFUSED = {
    "not JSON": ("{'single': 'quotes'}", "line 1 column 2"),
    "broken in its third line": ('{\n"a": 1,\n"b": }', "line 3 column 6"),
    "nothing at all": ("", "empty"),
    "an array": ("[1, 2]", "an array"),
    "null": ("null", "null"),
    "a key twice": ('{"a": 1, "a": 2}', "'a' twice"),
    "a lone surrogate": ('{"a": "\ud800"}', "surrogate"),
    "nested too deep": ('{"a":' * 100_000, "too deep"),
}


@pytest.mark.parametrize(("text", "where"), REFUSED.values(), ids=REFUSED)
def test_text_that_is_no_registry_is_refused_with_where_and_never_written(
    task: Path, text: str, where: str
) -> None:
    before = task.read_bytes()
    with pytest.raises(json.JSONDecodeError) as caught, LockedRegistryFile(task) as (_, file):
        file.seek(0)
        file.write(text)
        file.truncate()

    assert str(task) in str(caught.value)
    assert where in str(caught.value)
    assert task.read_bytes() == before
    assert_free(task)


def test_a_forgotten_truncate_is_refused_and_not_written(task: Path) -> None:
    before = task.read_bytes()
    refused = pytest.raises(json.JSONDecodeError, match="Extra data")
    with refused, LockedRegistryFile(task) as (_, file):
        file.seek(0)
        file.write('{"agents": []}')
    assert task.read_bytes() == before


def test_the_file_behaves_like_one_that_was_read_to_its_end(task: Path) -> None:
    with LockedRegistryFile(task) as (_, file):
        assert isinstance(file, io.TextIOBase)
        assert file.read() == ""
        assert file.name == str(task)
        assert os.fstat(file.fileno()).st_ino == task.stat().st_ino


def test_a_missing_file_is_file_not_found_and_is_named(tmp_path: Path) -> None:
    path = tmp_path / "gone.json"
    with pytest.raises(FileNotFoundError, match=r"gone\.json"), LockedRegistryFile(path):
        pass
    assert not path.exists()


def test_a_corrupt_file_is_a_decode_error_that_names_file_and_place(task: Path) -> None:
    task.write_text('{\n  "agents": [,]\n}')
    with pytest.raises(json.JSONDecodeError) as caught, LockedRegistryFile(task):
        pass

    assert str(caught.value).startswith(f"{task}: ")
    assert "line 2 column 14" in str(caught.value)
    assert (caught.value.lineno, caught.value.colno) == (2, 14)
    task.write_text("{}")
    assert_free(task)


def test_it_says_that_a_registry_was_locked_and_loaded(
    task: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG), LockedRegistryFile(task):
        pass
    assert f"Registry locked and loaded: {task}" in caplog.messages


def test_no_log_handler_runs_while_the_lock_is_held(task: Path) -> None:
    class TakesTheLock(logging.Handler):
        took = 0

        def emit(self, record: logging.LogRecord) -> None:
            if self.took == 0:
                self.took = 1
                assert_free(task)
                self.took = 2

    handler = TakesTheLock()
    log = logging.getLogger("registry")
    level = log.level
    log.addHandler(handler)
    log.setLevel(logging.DEBUG)
    try:
        with LockedRegistryFile(task):
            pass
    finally:
        log.setLevel(level)
        log.removeHandler(handler)
    assert handler.took == 2
