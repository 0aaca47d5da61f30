"""Looks up the processes of agents that run without a tmux session, for roll calls. Blocks."""

from __future__ import annotations

import time
from collections.abc import Collection

from tui.model.evidence import ProcessEvidence, note_processes


def noted_processes(before: ProcessEvidence, pids: Collection[int]) -> ProcessEvidence:
    """Returns the evidence about processes, updated with a new look.

    Args:
        before: The previous result of this function.
        pids: The pids in the registries.
    """
    if not pids:
        return ProcessEvidence()
    # Imported late, because most workspaces have no such agents.
    from tui.host.process.agent_processes import look_up

    looked_at = time.monotonic()
    return note_processes(before, look_up(pids, before.seen), looked_at)
