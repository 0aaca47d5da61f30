"""Tests that muster works equally in a fork of a prepared process and in a new process."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import prepared
from tests.support.prepared import run_prepared
from tests.support.terminal import MUSTER


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["--version"], 0),
        (["list", "-S", "none", "."], 2),
        (["show", "nobody", "-w", "."], 2),
        (["tail", "--help"], 0),
        (["no-such-command"], 2),
        (["config", "--path"], 0),
    ],
    ids=["version", "list", "show", "help", "mistaken", "config"],
)
def test_it_prints_and_returns_the_same(tmp_path: Path, words: list[str], code: int) -> None:
    environment = {**os.environ, "XDG_CONFIG_HOME": str(tmp_path / "settings")}
    done = run_prepared(words, tmp_path, environment)
    new = subprocess.run(
        [*MUSTER, *words],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        cwd=tmp_path,
        env=environment,
        check=False,
    )
    assert done.returncode == new.returncode == code
    assert (done.stdout, done.stderr) == (new.stdout, new.stderr)
    assert done.stdout or done.stderr


def test_nothing_of_one_run_is_left_for_the_next(tmp_path: Path) -> None:
    named = run_prepared(["config", "--path"], tmp_path, os.environ | {"MUSTER_CONFIG": "/mine"})
    assert named.stdout == "/mine\n"
    assert run_prepared(["config", "--path"], tmp_path, os.environ).stdout != "/mine\n"


def test_one_that_does_not_end_is_killed(tmp_path: Path) -> None:
    words = ["watch", "-S", str(tmp_path / "none"), str(tmp_path)]
    (tmp_path / ".agent-workspace").mkdir()
    with pytest.raises(subprocess.TimeoutExpired):
        run_prepared(words, tmp_path, os.environ, timeout=0.2)
    assert run_prepared(["--version"], tmp_path, os.environ).returncode == 0


def test_what_python_reads_at_its_start_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prepared, "MUSTER", [sys.executable, "-c", "import sys; print(sys.flags)"])
    done = run_prepared([], tmp_path, os.environ | {"PYTHONDONTWRITEBYTECODE": "1"})
    assert "dont_write_bytecode=1" in done.stdout
