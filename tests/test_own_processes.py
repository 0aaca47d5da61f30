"""Tests do not see the processes that are older than they are."""

from __future__ import annotations

import os
import subprocess

from tests.support.own_processes import OwnProcesses, start_of_this
from tui.host.process import procfs


def test_an_older_process_is_hidden_but_no_ancestor_and_no_child() -> None:
    with subprocess.Popen(["sleep", "1000"]) as child:
        try:
            stat = procfs.stat_of(child.pid)
            assert stat is not None
            line = {os.getpid(), os.getppid(), procfs.INIT}
            assert {child.pid, *line} <= OwnProcesses(start_of_this()).all_stats().keys()
            later = OwnProcesses(stat.started + 1)
            for _ in range(2):
                seen = later.all_stats().keys()
                assert line <= seen and child.pid not in seen
                later.forget()
        finally:
            child.kill()
