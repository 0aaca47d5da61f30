"""Commands of the user's."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import psutil
import pytest

from tests.support.terminal import until
from tui.host.hooks import run_hook

_WRITE = (
    "import json, os, sys;"
    "json.dump([sys.argv[2:], sys.stdin.read(), os.isatty(1), os.getsid(0) == os.getpid()],"
    "open(sys.argv[1], 'w'))"
)


@pytest.mark.parametrize("word", ["$(touch x)", "; rm -rf /", "a b", "", "'\"", "*", "%s\n", "日"])
def test_arguments_arrive_as_they_are_and_no_shell_runs(tmp_path: Path, word: str) -> None:
    out = tmp_path / "out"
    assert run_hook([sys.executable, "-c", _WRITE, str(out), word], 30.0) is None
    assert json.loads(out.read_text()) == [[word], "", False, True]
    assert os.listdir(tmp_path) == ["out"]


def test_a_nul_in_a_value_is_left_out(tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert run_hook([sys.executable, "-c", _WRITE, str(out), "a\0b"], 30.0) is None
    assert json.loads(out.read_text())[0] == ["ab"]


def test_one_that_goes_on_is_ended_with_what_it_started(tmp_path: Path) -> None:
    out = tmp_path / "pids"
    script = f"sleep 300 & echo $! $$ > {out}; wait"
    assert run_hook(["/bin/sh", "-c", script], 1.0) == "/bin/sh was killed after 1 s"
    pids = [int(word) for word in out.read_text().split()]

    def gone() -> bool:
        return all(
            not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
            for pid in pids
        )

    until(gone, "both are gone")


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (["/nonexistent/program"], "cannot run /nonexistent/program: No such file"),
        (["/bin/sh", "-c", "exit 3"], "/bin/sh failed with exit code 3"),
        (["/bin/sh", "-c", "kill -9 $$"], "/bin/sh failed with signal 9"),
        (["/"], "cannot run /: Permission denied"),
    ],
)
def test_an_error_is_described(command: list[str], said: str) -> None:
    assert (run_hook(command, 30.0) or "").startswith(said)
