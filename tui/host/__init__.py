"""Access to the host: tmux servers, processes, and changes of files."""

from __future__ import annotations

import os


def host_name() -> str:
    """Returns the name of this host without the domain."""
    return os.uname().nodename.split(".")[0]
