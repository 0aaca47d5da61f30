"""Workspaces in command lines, however these are written."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tests.support.other_user import OTHER, needs_another_user
from tests.support.selection import TESTS
from tests.support.waiting import until
from tui.host.process import process_paths, procfs
from tui.host.process.process_paths import Touched, directories_touched, workspaces_in

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
        ("x /.agent-workspace/T1", {"/.agent-workspace"}),
        ("/" + "x" * 300 + "/.agent-workspace", set()),
    ],
)  # fmt: skip
def test_a_path_is_found_in_a_word(word: str, found: set[str]) -> None:
    assert set(workspaces_in([word], HERE)) == {Path(each) for each in found}


@pytest.mark.parametrize("written", ["'{}/T1'", "x '{}/T1' y", "echo /a/b; cat {}"])
@pytest.mark.parametrize("escaped", [True, False])
def test_a_path_with_a_blank_is_found_if_it_is_there(
    tmp_path: Path, written: str, escaped: bool
) -> None:
    path = tmp_path / "a b c" / ".agent-workspace"
    path.mkdir(parents=True)
    word = written.format(str(path).replace(" ", "\\ ") if escaped else path)
    assert path in set(workspaces_in([word], HERE))


def test_a_workspace_after_many_other_paths_is_found() -> None:
    """As in a long prompt."""
    word = "".join(f" /w{number}/.agent-workspace /x/TASK-{number}" for number in range(200))
    word += " into /own/.agent-workspace/TASK-1"
    assert Path("/own/.agent-workspace") in set(workspaces_in([word], HERE))


def test_a_huge_command_line_is_looked_into_only_so_far_which_is_said(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(process_paths, "_AT_MOST", 100)
    word = "".join(f" /w{number}/.agent-workspace" for number in range(1000))
    found = set()
    with pytest.raises(ValueError, match="more than 100 possible paths"):
        for path in workspaces_in([word], HERE):
            found.add(path)
    assert 0 < len(found) <= 100


@pytest.mark.parametrize("name", ["cmdline", "environ"])
def test_what_is_not_read_of_a_process_is_told(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    own = os.getpid()
    assert directories_touched(own).is_whole
    really = procfs.words

    def cut(pid: int, asked: str) -> procfs.Words:
        return really(pid, asked)._replace(is_whole=asked != name)

    monkeypatch.setattr(procfs, "words", cut)
    assert not directories_touched(own).is_whole


_TOUCHED = """
import sys
from tui.host.process.process_paths import directories_touched
print(directories_touched(int(sys.argv[1])))
"""


@needs_another_user
def test_what_muster_may_not_read_of_a_process_is_told(tmp_path: Path) -> None:
    with subprocess.Popen(["sleep", "1000"]) as ours:
        try:
            words = [sys.executable, "-c", _TOUCHED, str(ours.pid)]
            done = subprocess.run(
                words,
                user=OTHER,
                group=OTHER,
                extra_groups=[],
                cwd=TESTS.parent,
                capture_output=True,
                text=True,
                check=False,
            )
        finally:
            ours.kill()
    assert "is_whole=False" in done.stdout, done.stderr


def test_nothing_is_unknown_of_a_process_that_was_not_reaped() -> None:
    with subprocess.Popen(["true"]) as ended:
        until(lambda: (found := procfs.stat_of(ended.pid)) and found.is_ended, "its end")
        assert directories_touched(ended.pid) == Touched(frozenset(), is_whole=True)


@pytest.mark.parametrize("written", ["{}/T1", "file://{}/T1", "see /x /y:{}/T1"])
def test_a_path_with_many_blanks_or_in_an_address_is_found(tmp_path: Path, written: str) -> None:
    path = tmp_path / "a b c d e f g h i j k" / ".agent-workspace"
    path.mkdir(parents=True)
    name = str(path)
    if "file" in written:
        name = name.replace(" ", "%20")
    assert path in set(workspaces_in([written.format(name)], HERE))


@pytest.mark.skipif(not os.access("/dev/shm", os.W_OK), reason="no /dev/shm to write to")
def test_files_in_memory_are_files_and_devices_are_not() -> None:
    with (
        tempfile.TemporaryDirectory(dir="/dev/shm") as there,
        open(f"{there}/open", "w"),
        open("/dev/null", "rb"),
        open("/proc/self/stat", "rb"),
    ):
        touched = directories_touched(os.getpid()).directories
    assert Path(there) in touched
    assert not {Path("/dev"), Path("/proc/self"), Path(f"/proc/{os.getpid()}")} & touched


def test_of_a_process_that_is_gone_nothing_is_known(tmp_path: Path) -> None:
    pid = os.fork()
    if not pid:
        os._exit(0)
    os.waitpid(pid, 0)
    assert directories_touched(pid) == Touched(frozenset(), is_whole=True)
    with open(tmp_path / "open", "w"):
        assert {tmp_path, Path.cwd()} <= directories_touched(os.getpid()).directories
