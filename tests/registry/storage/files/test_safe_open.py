"""Opening what lies beneath a task's directory."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry import (
    InaccessibleRegistryError,
    LinkedRegistryError,
    NotARegularFileError,
    RegistryNotFoundError,
)
from registry.storage.files.safe_open import is_safe_name, open_beneath, open_regular, read_all

PARTS = ("progress", "one_progress.jsonl")

SAFE = ["a", "code_fixer-215911-8c90c7", "TASK-1", "x.y", "-", "_", "x" * 128]
UNSAFE = [
    "",
    ".",
    "..",
    ".hidden",
    "a/b",
    "/",
    "a\0",
    "a\n",
    "a b",
    "é",
    "a\u0661",
    "x" * 129,
    "$",
]


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A task's directory with one agent's progress."""
    (tmp_path / "TASK-1" / "progress").mkdir(parents=True)
    (tmp_path / "TASK-1").joinpath(*PARTS).write_text("progress\n")
    return tmp_path / "TASK-1"


def text_of(directory: Path, parts: tuple[str, ...]) -> bytes:
    with open_beneath(directory, parts) as file:
        assert not os.get_inheritable(file.fileno())
        return read_all(file.fileno(), directory.joinpath(*parts), 1000)


@pytest.mark.parametrize("name", SAFE)
def test_the_names_of_real_agents_are_safe(name: str) -> None:
    assert is_safe_name(name)


@pytest.mark.parametrize("name", UNSAFE)
def test_a_name_that_could_lead_elsewhere_is_not_safe_and_is_not_opened(
    directory: Path, name: str
) -> None:
    assert not is_safe_name(name)
    for parts in ((name,), (name, "file"), ("progress", name)):
        with pytest.raises(ValueError, match="name"):
            open_beneath(directory, parts)


@given(st.text())
def test_a_safe_name_is_one_part_of_a_path_and_not_hidden(name: str) -> None:
    if is_safe_name(name):
        assert Path("/x", name).parts == ("/", "x", name)
        assert not name.startswith(".")
        assert name.isascii()


def test_a_file_beneath_a_directory_is_opened(directory: Path) -> None:
    assert text_of(directory, PARTS) == b"progress\n"


@pytest.mark.parametrize("what", ["file", "folder", "directory"])
def test_what_is_not_there_is_not_found_and_named_whole(directory: Path, what: str) -> None:
    parts = {"file": ("progress", "gone"), "folder": ("gone", "file"), "directory": PARTS}[what]
    start = directory / "gone" if what == "directory" else directory
    with pytest.raises(RegistryNotFoundError) as caught:
        open_beneath(start, parts)
    assert str(start.joinpath(*parts)) in str(caught.value)


def test_a_symlink_in_place_of_the_file_is_refused_and_named_whole(
    directory: Path, tmp_path: Path
) -> None:
    (tmp_path / "secret").write_text("secret")
    planted = directory / "progress" / "planted"
    planted.symlink_to(tmp_path / "secret")
    with pytest.raises(NotARegularFileError, match="symlink") as caught:
        open_beneath(directory, ("progress", "planted"))
    assert str(planted) in str(caught.value)


def test_a_symlink_in_place_of_the_folder_is_refused(directory: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "file").write_text("secret")
    (directory / "logs").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(LinkedRegistryError) as caught:
        open_beneath(directory, ("logs", "file"))
    assert str(directory / "logs" / "file") in str(caught.value)


@pytest.mark.timeout(30)
def test_a_fifo_in_place_of_the_file_is_refused_at_once(directory: Path) -> None:
    os.mkfifo(directory / "progress" / "fifo")
    with pytest.raises(NotARegularFileError, match="FIFO"):
        open_beneath(directory, ("progress", "fifo"))


def test_a_refused_file_leaves_no_descriptor_open(directory: Path) -> None:
    os.mkfifo(directory / "progress" / "fifo")
    before = len(os.listdir("/proc/self/fd"))
    for parts in (("progress", "fifo"), ("progress", "gone"), ("gone", "x")):
        with pytest.raises(OSError, match=parts[-1]):
            open_beneath(directory, parts)
    assert len(os.listdir("/proc/self/fd")) == before


def test_no_more_is_read_than_the_limit_and_one_byte(tmp_path: Path) -> None:
    path = tmp_path / "long"
    path.write_bytes(b"x" * 5000)
    with open_regular(path, os.O_RDONLY) as file:
        assert len(read_all(file.fileno(), path, 100)) == 101
        assert len(read_all(file.fileno(), path, 5000)) == 5000


def test_a_lease_of_a_peer_is_waited_for_but_not_for_long(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # While a lease is held the kernel answers EAGAIN to an open that does not wait.
    path = directory.joinpath(*PARTS)
    answers = iter([BlockingIOError(), BlockingIOError(), None])
    real = os.open

    def leased(*arguments: object, **more: object) -> int:
        answer = next(answers) if arguments[0] == path.name else None
        if answer is not None:
            raise answer
        return real(*arguments, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "open", leased)
    open_regular(path, os.O_RDONLY).close()

    def always(*arguments: object, **more: object) -> int:
        if arguments[0] == path.name:
            raise BlockingIOError(11, "Resource temporarily unavailable")
        return real(*arguments, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "open", always)
    begin = time.monotonic()
    with pytest.raises(InaccessibleRegistryError, match="progress"):
        open_regular(path, os.O_RDONLY)
    assert time.monotonic() - begin < 10


def test_a_file_beneath_that_has_a_second_name_is_refused(directory: Path) -> None:
    path = directory.joinpath(*PARTS)
    os.link(path, directory / "elsewhere")
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(LinkedRegistryError, match="second name"):
        open_beneath(directory, PARTS)
    assert len(os.listdir("/proc/self/fd")) == before
