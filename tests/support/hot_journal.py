"""Makes interrupted commits: kills a process in the middle of a commit."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

_KILLED = """
import os, signal, sys
from registry import atomic_update_agent_status; from registry.storage import commit
place = commit._place
def cut_off(fd, text):
    os.pwrite(fd, b"\\0" + text[1:len(text) // 2], 0)
    os.kill(os.getpid(), signal.SIGKILL)
commit._place = cut_off
atomic_update_agent_status(sys.argv[1], sys.argv[2], "blocked", progress=77)
"""


def cut_off_update(registry: Path, agent_id: str) -> None:
    """Interrupts the update of an agent to "blocked" and 77 %; the journal remains."""
    done = subprocess.run([sys.executable, "-c", _KILLED, str(registry), agent_id], check=False)
    assert done.returncode == -signal.SIGKILL
