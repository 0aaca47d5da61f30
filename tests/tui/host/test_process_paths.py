"""Workspaces in command lines, however these are written."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest

from tui.host.process_paths import directories_touched, workspaces_in

HERE = Path("/here")


@pytest.mark.parametrize(
    ("word", "found"),
    [
        ("/w/.agent-workspace/T1/logs/a.jsonl", {"/w/.agent-workspace"}),
        ("/w/.agent-workspace", {"/w/.agent-workspace"}),
        ("--log=/w/.agent-workspace/T1", {"/w/.agent-workspace"}),
        ("x | tee -a '/w/.agent-workspace/T1'>y", {"/w/.agent-workspace"}),
        ("x >/w/.agent-workspace/T1;y", {"/w/.agent-workspace"}),
        ("/v/.agent-workspace:/v", {"/v/.agent-workspace"}),
        ("../w/.agent-workspace/T1", {"/here/../w/.agent-workspace"}),
        ("/w/.agent-workspaces/T1", set()),
        ("/w/my.agent-workspace/T1", set()),
        ("no path", set()),
        ("/" + "x" * 300 + "/.agent-workspace", set()),
    ],
)  # fmt: skip
def test_a_path_is_found_in_a_word(word: str, found: set[str]) -> None:
    assert set(workspaces_in(word, HERE)) == {Path(each) for each in found}


@pytest.mark.parametrize("written", ["'{}/T1'", "x '{}/T1' y", "echo /a/b; cat {}"])
@pytest.mark.parametrize("escaped", [True, False])
def test_a_path_with_a_blank_is_found_if_it_is_there(
    tmp_path: Path, written: str, escaped: bool
) -> None:
    path = tmp_path / "a b c" / ".agent-workspace"
    path.mkdir(parents=True)
    word = written.format(str(path).replace(" ", "\\ ") if escaped else path)
    assert path in set(workspaces_in(word, HERE))


def test_a_huge_command_line_is_looked_into_only_so_far() -> None:
    word = "".join(f" /w{number}/.agent-workspace" for number in range(1000))
    assert len(set(workspaces_in(word, HERE))) <= 32


@pytest.mark.skipif(not os.access("/dev/shm", os.W_OK), reason="no /dev/shm to write to")
def test_files_in_memory_are_files_and_devices_are_not() -> None:
    with (
        tempfile.TemporaryDirectory(dir="/dev/shm") as there,
        open(f"{there}/open", "w"),
        open("/dev/null", "rb"),
        open("/proc/self/stat", "rb"),
    ):
        touched = directories_touched(os.getpid())
    assert Path(there) in touched
    assert not {Path("/dev"), Path("/proc/self"), Path(f"/proc/{os.getpid()}")} & touched


def test_of_a_process_that_is_gone_nothing_is_known(tmp_path: Path) -> None:
    pid = os.fork()
    if not pid:
        os._exit(0)
    os.waitpid(pid, 0)
    assert directories_touched(pid) == frozenset()
    with open(tmp_path / "open", "w"):
        assert {tmp_path, Path.cwd()} <= directories_touched(os.getpid())
