"""The host: its tmux server, its processes, its files' changes. I/O, no screen."""

from __future__ import annotations

import os


def host_name() -> str:
    """This host's name, without its domain."""
    return os.uname().nodename.split(".")[0]
