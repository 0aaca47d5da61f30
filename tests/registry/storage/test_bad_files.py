"""What is no registry is named, never written to, and never waited for."""

from __future__ import annotations

import errno
import json
import os
import re
import socket
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from registry import (
    CorruptRegistryError,
    InaccessibleRegistryError,
    LinkedRegistryError,
    NotARegularFileError,
    RegistryError,
    RegistryNotFoundError,
    atomic_add_agent,
    clean_up_task,
)
from registry.snapshots import read_task
from registry.storage.codec import MAX_BYTES
from tests.support.everyone import WRITERS, Use, everyone
from tests.support.other_users import prepare
from tests.support.registries import agent, task_registry, write
from tests.support.selection import case

GOOD = json.dumps(task_registry(agent("busy"))).encode()

# Nothing here may hang; a hang fails long before the suite's own limit.
pytestmark = pytest.mark.timeout(30)


@contextmanager
def untouched(path: Path) -> Iterator[None]:
    """Asserts that a file is left exactly as it is."""
    before = path.read_bytes(), path.stat()
    yield
    after = path.read_bytes(), path.stat()
    assert after[0] == before[0]
    assert (after[1].st_ino, after[1].st_mtime_ns) == (before[1].st_ino, before[1].st_mtime_ns)
    assert os.listdir(path.parent) == [path.name]


def write_long_ago(path: Path, text: bytes) -> None:
    """Makes a file that nobody can be writing just now, which all would wait for."""
    path.write_bytes(text)
    an_hour_ago = time.time() - 3600
    os.utime(path, (an_hour_ago, an_hour_ago))


def in_directory(directory: Path) -> Path:
    """Makes a directory; returns the path of the registry in it."""
    directory.mkdir()
    return directory / "AGENT_REGISTRY.json"


CORRUPT: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "empty"),
    "blank": (b" \n\t ", "empty"),
    "cut short": (GOOD[:-20], "line 1"),
    "text after the end": (GOOD + b"}", "Extra data"),
    "half written": (b"\0" + GOOD[1:], "line 1 column 1"),
    "no JSON": (b"\x7fELF\x01\x01\x01", "line 1 column 1"),
    "an array": (b"[" + GOOD + b"]", "an array"),
    "a string": (b'"registry"', "a string"),
    "a number": (b"42", "a number"),
    "true": (b"true", "a boolean"),
    "null": (b"null", "null"),
    "not UTF-8": (GOOD.replace(b"busy", b"b\xffsy"), "not UTF-8 at byte"),
    "UTF-16": (GOOD.decode().encode("utf-16"), "not UTF-8"),
    "a raw surrogate": (GOOD.replace(b"busy", b"\xed\xa0\x80"), "not UTF-8 at byte"),
    "a byte order mark": (b"\xef\xbb\xbf" + GOOD, "BOM"),
    "deep arrays": (b'{"agents":' + b"[" * 200_000, "too deep"),
    "deep objects": (b'{"a":' * 200_000, "too deep"),
    "a huge integer": (b'{"total_spawned": ' + b"9" * 5000 + b"}", "digits"),
}


@everyone
def test_a_corrupt_registry_is_a_decode_error_with_its_place(tmp_path: Path, use: Use) -> None:
    for name, (text, what) in CORRUPT.items():
        path = in_directory(tmp_path / name)
        write_long_ago(path, text)
        with case(name), untouched(path):
            with pytest.raises(json.JSONDecodeError) as caught:
                use(path)
            assert isinstance(caught.value, CorruptRegistryError)
            assert str(caught.value).startswith(f"{path}: ")
            assert what in str(caught.value)
            assert len(str(caught.value)) < len(str(path)) + 300


TWICE = {
    "at the top": (b'{"task_id": "x",' + GOOD[1:], "task_id"),
    "in an agent": (GOOD.replace(b'{"id"', b'{"type": 1, "id"'), "type"),
    "deep inside": (GOOD[:-1] + b', "u": [[{"k": 1, "\\u006b": 2}]]}', "k"),
}


@everyone
def test_a_key_that_is_there_twice_is_refused_by_everyone(tmp_path: Path, use: Use) -> None:
    for name, (text, key) in TWICE.items():
        path = in_directory(tmp_path / name)
        write_long_ago(path, text)
        with case(name), untouched(path):
            with pytest.raises(CorruptRegistryError, match=f"'{key}' twice") as caught:
                use(path)
            assert str(path) in str(caught.value)


@pytest.mark.parametrize("use", [WRITERS["LockedRegistryFile"], WRITERS["add"], read_task])
def test_what_is_larger_than_the_limit_is_refused_and_left(tmp_path: Path, use: Use) -> None:
    path = tmp_path / "AGENT_REGISTRY.json"
    path.write_bytes(GOOD)
    os.truncate(path, 1 << 40)
    with pytest.raises(CorruptRegistryError, match="larger than 64 MB"):
        use(path)
    assert path.stat().st_size == 1 << 40


def test_nothing_makes_a_registry_too_large_to_be_read_again(tmp_path: Path) -> None:
    path = tmp_path / "AGENT_REGISTRY.json"
    filler = "x" * (MAX_BYTES - 600)
    write(path, task_registry(agent("busy"), prompt=filler))
    assert path.stat().st_size <= MAX_BYTES
    before = path.stat().st_mtime_ns
    with pytest.raises(CorruptRegistryError, match="become larger than 64 MB") as caught:
        atomic_add_agent(path, agent("new", prompt="y" * 600), "orchestrator")

    assert str(path) in str(caught.value)
    assert path.stat().st_mtime_ns == before


@everyone
def test_nothing_there_is_file_not_found(tmp_path: Path, use: Use) -> None:
    for path in (tmp_path / "gone.json", tmp_path / "no" / "directory" / "gone.json"):
        with pytest.raises(FileNotFoundError, match=re.escape(str(path))) as caught:
            use(path)
        assert isinstance(caught.value, RegistryNotFoundError)
    assert os.listdir(tmp_path) == []


@everyone
def test_a_file_in_place_of_the_directory_is_file_not_found(tmp_path: Path, use: Use) -> None:
    (tmp_path / "TASK-1").write_text("not a directory")
    with pytest.raises(FileNotFoundError):
        use(tmp_path / "TASK-1" / "AGENT_REGISTRY.json")


@everyone
def test_a_dangling_symlink_is_refused_and_its_target_is_not_made(
    tmp_path: Path, use: Use
) -> None:
    path = tmp_path / "AGENT_REGISTRY.json"
    path.symlink_to(tmp_path / "target")
    with pytest.raises(LinkedRegistryError):
        use(path)
    assert os.listdir(tmp_path) == [path.name]


def _fifo(path: Path) -> None:
    os.mkfifo(path)


def _socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listening:
        # Beneath a descriptor, for a socket's path may have but 108 bytes.
        directory = os.open(path.parent, os.O_RDONLY)
        listening.bind(f"/proc/self/fd/{directory}/{path.name}")
        os.close(directory)


IRREGULAR: dict[str, tuple[Use, str]] = {
    "a FIFO": (_fifo, "FIFO"),
    "a directory": (Path.mkdir, "directory"),
    "a socket": (_socket, "socket"),
    "a symlink to a device": (lambda path: path.symlink_to("/dev/zero"), "symlink"),
    "a symlink to a terminal": (lambda path: path.symlink_to("/dev/ptmx"), "symlink"),
    "a device": (
        lambda path: os.mknod(path, stat.S_IFCHR | 0o600, os.makedev(1, 5)),
        "device",
    ),
    "a symlink to itself": (lambda path: path.symlink_to(path), "symlink"),
}


@everyone
@pytest.mark.parametrize("made", ["anything", "a device"])
def test_what_is_no_regular_file_is_refused_at_once_and_named(
    tmp_path: Path, use: Use, made: str
) -> None:
    if made == "a device" and os.geteuid() != 0:
        pytest.skip("needs root, to make a device")
    for name, (make, what) in IRREGULAR.items():
        if (name == "a device") != (made == "a device"):
            continue
        path = in_directory(tmp_path / name)
        make(path)
        with case(name):
            with pytest.raises(NotARegularFileError, match=what) as caught:
                use(path)
            assert str(path) in str(caught.value)
            assert isinstance(caught.value, OSError)
            assert len(os.listdir("/proc/self/fd")) < 200


def test_a_refused_file_leaves_no_descriptor_open(tmp_path: Path) -> None:
    path = tmp_path / "AGENT_REGISTRY.json"
    os.mkfifo(path)
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(5):
        with pytest.raises(NotARegularFileError):
            read_task(path)
        with pytest.raises(NotARegularFileError):
            atomic_add_agent(path, agent("new"), "orchestrator")
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.fixture
def unreadable(task: Path) -> Iterator[Path]:
    """A registry that the test may not open, whoever runs it."""
    prepare()
    task.parent.chmod(0)
    root = os.geteuid() == 0
    if root:
        os.seteuid(65534)
    yield task
    if root:
        os.seteuid(0)
    task.parent.chmod(0o755)


@everyone
def test_what_may_not_be_opened_is_an_os_error_that_says_so(unreadable: Path, use: Use) -> None:
    if use is WRITERS["clean up"]:
        # It looks for a database first, and of that it cannot know.
        (problem,) = clean_up_task(unreadable, None, []).problems.values()
        assert problem.startswith("no agent was changed: ") and "Permission denied" in problem
        return
    with pytest.raises(OSError, match="Permission denied") as caught:
        use(unreadable)
    assert isinstance(caught.value, InaccessibleRegistryError)
    assert caught.value.errno == errno.EACCES
    assert str(unreadable) in str(caught.value)


@everyone
def test_one_bad_registry_leaves_the_others_at_work(task: Path, use: Use) -> None:
    bad = task.with_name("bad.json")
    write_long_ago(bad, b"{")
    with pytest.raises(RegistryError):
        use(bad)
    use(task)
