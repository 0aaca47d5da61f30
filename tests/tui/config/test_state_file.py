"""Tests of the state file: nothing in it and nothing about it stops muster."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from tui.config.state_file import StateFile, state_path


def path_in(folder: Path) -> Path:
    return folder / "state" / "muster" / "state.json"


def test_the_place_of_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    assert state_path({"XDG_STATE_HOME": "/s"}) == Path("/s/muster/state.json")
    monkeypatch.setenv("HOME", "/home/ann")
    expected = Path("/home/ann/.local/state/muster/state.json")
    assert state_path({}) == state_path({"XDG_STATE_HOME": "relative"}) == expected
    monkeypatch.delenv("HOME")
    monkeypatch.setattr("pwd.getpwuid", lambda _: dict[str, str]()["no entry"])
    assert state_path({}) is None


def test_what_is_saved_is_loaded_and_private(tmp_path: Path) -> None:
    path, values = path_in(tmp_path), {"filter": "ü \ud800", "panel_wider": 3}
    umask = os.umask(0)
    try:
        StateFile(path).save(values)
    finally:
        os.umask(umask)
    assert StateFile(path).load() == values
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert os.listdir(path.parent) == ["state.json"]


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"\xff\xfe",
        b"[" * 60_000,
        b'{"a": ' + b"9" * 5000 + b"}",
        b'{"filter": "' + b"x" * 70_000 + b'"}',
    ],
)
def test_a_broken_file_counts_as_empty_and_is_replaced(tmp_path: Path, text: bytes) -> None:
    path = path_in(tmp_path)
    path.parent.mkdir(parents=True)
    path.write_bytes(text)
    file = StateFile(path)
    assert file.load() == {}
    file.save({"a": 1})
    assert file.load() == {"a": 1}


def test_a_fifo_a_folder_or_a_loop_in_its_place(tmp_path: Path) -> None:
    makers: list[Callable[[Path], None]] = [
        os.mkfifo,
        Path.mkdir,
        lambda path: os.symlink(path, path),
    ]
    for number, make in enumerate(makers):
        path = path_in(tmp_path / str(number))
        path.parent.mkdir(parents=True)
        make(path)
        assert StateFile(path).load() == {}
        StateFile(path).save({"a": 1})


def test_without_a_home_directory_nothing_is_created(tmp_path: Path) -> None:
    path = tmp_path / "home" / "ann" / ".local" / "state" / "muster" / "state.json"
    StateFile(path).save({"a": 1})
    assert not list(tmp_path.iterdir()) and StateFile(path).load() == {}
    (tmp_path / "home").mkdir()
    StateFile(path).save({"a": 1})
    assert not list((tmp_path / "home").iterdir())


def test_a_place_that_is_not_a_folder(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("")
    StateFile(path_in(tmp_path)).save({"a": 1})
    assert StateFile(path_in(tmp_path)).load() == {}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can change to another user")
def test_of_another_user_nothing_is_read_and_nothing_written(tmp_path: Path) -> None:
    path = path_in(tmp_path)
    StateFile(path).save({"a": 1})
    os.chown(path, 64101, 64101)
    assert StateFile(path).load() == {}
    os.chown(path.parent, 64101, 64101)
    StateFile(path).save({"a": 2})
    assert json.loads(path.read_bytes()) == {"a": 1}
    assert os.listdir(path.parent) == ["state.json"]


def test_a_file_system_that_does_not_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = threading.Event()
    monkeypatch.setattr("tui.config.state_file._PATIENCE", 0.01)
    monkeypatch.setattr("tui.config.state_file._read", lambda _: answers.wait())
    file = StateFile(path_in(tmp_path))
    try:
        assert file.load() == {}
        file.save({"a": 1})
        assert not list(tmp_path.iterdir())
    finally:
        answers.set()


def test_of_several_monitors_the_last_wins_and_none_tears(tmp_path: Path) -> None:
    path, code = (
        path_in(tmp_path),
        (
            "import sys; from pathlib import Path; from tui.config.state_file import StateFile\n"
            "file = StateFile(Path(sys.argv[1]))\n"
            "for n in range(40): file.save({'who': [sys.argv[2]] * 2000})"
        ),
    )
    StateFile(path).save({"who": ["0"] * 2000})
    writers = [
        subprocess.Popen([sys.executable, "-c", code, str(path), name]) for name in ("1", "2", "3")
    ]
    seen = set()
    while any(writer.poll() is None for writer in writers):
        (content,) = json.loads(path.read_bytes()).values()
        assert len(content) == 2000 and len(set(content)) == 1
        seen.add(content[0])
    assert [writer.wait() for writer in writers] == [0, 0, 0]
    assert json.loads(path.read_bytes())["who"][0] in {"1", "2", "3"}
    assert os.listdir(path.parent) == ["state.json"]
