"""Runs muster's commands as a user runs them."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.support.prepared import run_prepared
from tests.support.terminal import MUSTER
from tests.support.workspaces import Files

Done = subprocess.CompletedProcess[str]


def muster(files: Files, *arguments: object, cwd: Path | None = None) -> Done:
    """Runs muster in the directory that contains the workspace."""
    return run_prepared([*map(str, arguments)], cwd or files.path.parent, os.environ)


def decoded(done: Done, code: int = 0) -> Any:
    assert done.returncode == code, done.stderr
    return json.loads(done.stdout)


@contextmanager
def running(files: Files, *arguments: object) -> Iterator[subprocess.Popen[str]]:
    """Runs muster until the block ends, and then kills it."""
    process = subprocess.Popen(
        [*MUSTER, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=files.path.parent,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def lines_until(process: subprocess.Popen[str], text: str) -> list[str]:
    """Returns the printed lines up to a line with a text; the test's timeout limits the wait."""
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        lines.append(line.rstrip("\n"))
        if text in line:
            return lines
    raise AssertionError(f"{text!r} did not come: {lines}")


def run_muster(*arguments: object, **environment: str) -> Done:
    """Runs muster with these environment variables, and none of the user's for tmux or muster."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("TMUX", "MUSTER"))}
    return run_prepared([*map(str, arguments)], os.getcwd(), clean | environment)
