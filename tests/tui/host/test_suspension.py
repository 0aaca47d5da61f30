"""Ctrl-Z never stops muster in the middle of a reading, which would keep its locks for days."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
from contextlib import closing

import psutil
import pytest

from tests.support.databases import Database
from tests.support.one_agent import built as built
from tests.support.terminal import until

_SCRIPT = """
import asyncio, contextlib, os, signal, sys, threading, time, types
from pathlib import Path

from registry.database import writing
from registry.database.connection import reading
from tui.app.terminal import job_control
from tui.host import suspension

path = Path(sys.argv[2])
suspension._WAIT_AT_MOST = 60.0


def press_ctrl_z():
    with writing(path, 60.0) if sys.argv[3] == "write" else reading(path):
        print("reads", flush=True)
        sys.stdin.readline()
        os.kill(os.getpid(), signal.SIGTSTP)
        # Time for the handler, which runs in the main thread.
        time.sleep(0.1)


def in_another_thread():
    reader = threading.Thread(target=press_ctrl_z)
    reader.start()
    reader.join()


async def in_the_monitor():
    app = types.SimpleNamespace(is_running=True, suspend=contextlib.nullcontext)
    job_control.take_stops(app)
    await asyncio.to_thread(press_ctrl_z)
    await asyncio.to_thread(sys.stdin.readline)


if sys.argv[1] == "monitor":
    asyncio.run(in_the_monitor())
else:
    suspension.stop_between_readings()
    press_ctrl_z() if sys.argv[1] == "main" else in_another_thread()
    sys.stdin.readline()
print("went on", flush=True)
"""


@pytest.mark.parametrize("use", ["read", "write"])
@pytest.mark.parametrize("where", ["main", "thread", "monitor"])
def test_ctrl_z_stops_no_use_of_a_database(built: Database, where: str, use: str) -> None:
    with closing(sqlite3.connect(built.path, isolation_level=None)) as writer:
        writer.execute("UPDATE agents SET progress = 77")
        process = subprocess.Popen(
            [sys.executable, "-c", _SCRIPT, where, str(built.path), use],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            # The kernel ignores the signal in a process group that nobody can continue.
            process_group=0,
        )
        try:
            assert process.stdin is not None and process.stdout is not None
            assert process.stdout.readline() == "reads\n"
            process.stdin.write("\n")
            process.stdin.flush()
            status = psutil.Process(process.pid).status
            until(lambda: status() == psutil.STATUS_STOPPED, "it is stopped")
            checkpoint = writer.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            assert checkpoint == (0, 0, 0)
            process.send_signal(signal.SIGCONT)
            process.stdin.write("\n")
            process.stdin.flush()
            assert process.stdout.readline() == "went on\n"
            assert process.wait(60) == 0
        finally:
            process.kill()
            process.communicate()
