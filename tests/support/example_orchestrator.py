"""A small orchestrator on the library alone: deploys agents into tmux and looks after them.

``python -m tests.support.example_orchestrator WORKSPACE SOCKET AGENTS`` deploys so many agents,
some at a time, and ends when all of them are through. It may be killed at any moment
and started again: what it had in hand is finished, taken out, or cleaned up.

All that it knows lies in the registries. Where it keeps no record of its own, there is
none that could differ from them.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

from registry import (
    ACTIVE_STATUSES,
    LimitReachedError,
    Registration,
    agent_entries,
    clean_up_workspace,
    create_global_registry,
    create_task_registry,
    find_existing_agent,
    read_registry,
    registering,
)

TASK = "TASK-20260101-120000-0a0b0c0d"

# Seconds between two queries of tmux that together prove that a session is gone.
PROOF = 0.75

# Seconds after the registration of an agent in which its session may still be missing.
GRACE = 2.0

_AGENT = "tests.support.example_agent"


class Orchestrator:
    """Starts the agents of one task, a few at a time.

    Args:
        workspace: The `.agent-workspace`, which is created if it is missing.
        socket: The socket of the tmux server.
        wanted: How many agents must be completed at the end.
    """

    def __init__(self, workspace: Path, socket: Path, wanted: int) -> None:
        self.workspace = workspace
        self.socket = socket
        self.wanted = wanted
        self.global_ = create_global_registry(workspace).path
        created = create_task_registry(workspace, TASK, "An example", max_concurrent=4)
        self.task = created.path

    def run(self) -> None:
        """Starts agents and cleans up until all agents are completed."""
        before = self.sessions()
        while not self.is_done():
            self.deploy()
            time.sleep(PROOF)
            now = self.sessions()
            if before is not None and now is not None:
                # A session in neither answer is gone. A new agent is protected by `grace`.
                clean_up_workspace(self.workspace, before | now, grace=GRACE)
            before = now

    def is_done(self) -> bool:
        """Whether enough agents are completed, and no agent is active."""
        statuses = [entry.get("status") for _, entry in agent_entries(read_registry(self.task))]
        return statuses.count("completed") >= self.wanted and ACTIVE_STATUSES.isdisjoint(statuses)

    def deploy(self) -> None:
        """Starts agents until a limit is reached, or enough agents are listed."""
        while True:
            registry = read_registry(self.task)
            entries = [entry for _, entry in agent_entries(registry)]
            useful = [e for e in entries if e["status"] in {*ACTIVE_STATUSES, "completed"}]
            if len(useful) >= self.wanted:
                return
            lead = find_existing_agent(TASK, "lead", registry)
            kind, parent = ("worker", lead["id"]) if lead else ("lead", "orchestrator")
            try:
                with registering(self.task, self.global_, kind, parent=parent) as agent:
                    self.start(agent)
            except (LimitReachedError, subprocess.CalledProcessError):
                # A limit is reached, or tmux failed: the agent is not in the registries.
                return

    def start(self, agent: Registration) -> None:
        """Starts an agent's session.

        Raises:
            subprocess.CalledProcessError: tmux did not start the session.
        """
        command = (sys.executable, "-m", _AGENT, str(self.task), str(self.global_), agent.agent_id)
        self.tmux("new-session", "-d", "-s", agent.tmux_session, *command)

    def sessions(self) -> set[str] | None:
        """Returns the names of all sessions, or None if they are unknown."""
        try:
            return set(self.tmux("list-sessions", "-F", "#{session_name}").splitlines())
        except subprocess.CalledProcessError as error:
            nobody = ("no server running", "No such file")
            return set() if any(each in error.stderr for each in nobody) else None

    def tmux(self, *words: str) -> str:
        """Runs a tmux command; returns its output."""
        done = subprocess.run(
            ["tmux", "-S", str(self.socket), "-f", "/dev/null", *words],
            capture_output=True,
            text=True,
            check=True,
            timeout=10,
        )
        return done.stdout


def main(workspace: str, socket: str, agents: str) -> None:
    Orchestrator(Path(workspace), Path(socket), int(agents)).run()


if __name__ == "__main__":
    main(*sys.argv[1:])
