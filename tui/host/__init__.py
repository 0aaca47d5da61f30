"""Access to the host: its tmux servers, its processes, and changes of its files."""

from __future__ import annotations

import os


def host_name() -> str:
    """Returns the host name without its domain."""
    return os.uname().nodename.split(".")[0]
