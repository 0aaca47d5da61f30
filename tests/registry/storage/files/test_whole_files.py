"""Files that are never there without their whole content."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from registry.storage.files import new_file, whole_file
from registry.storage.files.whole_file import create_whole, replace_whole
from tests.support.other_users import only_root

NEW = "0123456789ab.new"


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[int]:
    fd = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    yield fd
    os.close(fd)


@pytest.fixture(params=[True, False], ids=["nameless", "named"])
def system(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """File systems with and without files that have no name."""
    if not request.param:
        monkeypatch.setattr(new_file, "make_nameless", lambda *_: None)


def replaced(folder: int, text: bytes = b"new", owners: tuple[int, ...] = (os.geteuid(),)) -> None:
    replace_whole("f", folder, text, lambda fd: os.fchmod(fd, 0o640), owners)


@pytest.mark.usefixtures("system")
@pytest.mark.parametrize("write", ["create", "replace"])
def test_the_content_is_on_the_disk_before_the_name_and_the_name_before_the_end(
    tmp_path: Path, folder: int, monkeypatch: pytest.MonkeyPatch, write: str
) -> None:
    flushed: list[tuple[str, list[str]]] = []

    def seen(fd: int) -> None:
        is_folder = os.path.samestat(os.fstat(fd), os.fstat(folder))
        content = "folder" if is_folder else os.pread(fd, 9, 0).decode()
        flushed.append((content, [name for name in os.listdir(tmp_path) if name == "f"]))

    monkeypatch.setattr(os, "fsync", seen)
    if write == "create":
        create_whole("f", folder, b"new", lambda fd: os.fchmod(fd, 0o640))
    else:
        replaced(folder)
    assert flushed == [("new", []), ("folder", ["f"])]
    assert os.listdir(tmp_path) == ["f"]
    assert (tmp_path / "f").read_bytes() == b"new"
    assert (tmp_path / "f").stat().st_mode & 0o777 == 0o640


@pytest.mark.usefixtures("system")
@pytest.mark.parametrize("failing", ["fsync", "rename", "pwrite"])
def test_what_cannot_be_written_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, folder: int, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    (tmp_path / "f").write_bytes(b"old")

    def fail(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, failing, fail)
    with pytest.raises(OSError):
        replaced(folder)
    assert os.listdir(tmp_path) == ["f"]
    assert (tmp_path / "f").read_bytes() == b"old"


def test_what_killed_writers_left_is_removed_by_the_next(
    tmp_path: Path, folder: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = [f"f.{NEW}", f".f.{NEW}.{NEW[:12]}.new"]
    others = [f"g.{NEW}", f"f.{NEW}.old", "f.0123.new", f"..f.{NEW}", ".f.new", f"xf.{NEW}"]
    for name in (*left, *others):
        (tmp_path / name).write_bytes(b"")
    replaced(folder)
    assert sorted(os.listdir(tmp_path)) == sorted(["f", *left, *others]), "they may be in use"
    monkeypatch.setattr(whole_file, "_LEFT_FOR", 0.0)
    replaced(folder)
    assert sorted(os.listdir(tmp_path)) == sorted(["f", *others])


@only_root
def test_what_others_gave_such_a_name_is_left(
    tmp_path: Path, folder: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(whole_file, "_LEFT_FOR", 0.0)
    names = [f"f.{number}{NEW[1:]}" for number in range(4)]
    (tmp_path / "target").write_bytes(b"ours")
    (tmp_path / names[0]).symlink_to(tmp_path / "target")
    os.link(tmp_path / "target", tmp_path / names[1])
    os.mkfifo(tmp_path / names[2])
    (tmp_path / names[3]).write_bytes(b"theirs")
    os.chown(tmp_path / names[3], 64101, 64101)
    replaced(folder)
    assert sorted(os.listdir(tmp_path)) == sorted(["f", "target", *names])
    replaced(folder, owners=(64101,))
    assert names[3] not in os.listdir(tmp_path)
