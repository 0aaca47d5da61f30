"""Kills an agent of a tmux server that has the pid of a former one, whose agent runs on.

To be run as the first process of a PID namespace of its own, as `tests.support.reused_pids`.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

from tests.support.real_tmux import RealTmux, runs
from tests.support.reused_pids import LAST_PID
from tests.support.waiting import until
from tests.support.workspaces import Files, entry, row_of, take
from tui.actions.execute import carry_out
from tui.actions.footprint import weighed_kill
from tui.host.usage import Meter


def restart_at(server: RealTmux, pid: int) -> None:
    """Starts a server whose process has a pid that is free."""
    for before in range(1, 40):
        LAST_PID.write_text(str(pid - before))
        # A client that comes while a server ends may be let down by that one.
        server.socket.unlink(missing_ok=True)
        server.start("agent_new")
        if server.server_pid() == pid:
            return
        server.kill_server()
    raise SystemExit(f"no server could be given the pid {pid}")


def main(directory: Path) -> None:
    """Kills the agent of the new server, and looks who lives."""
    files = Files(directory, {"TASK-1": [entry("old"), entry("new")]})
    ready = directory / "ready"
    with RealTmux() as server:
        hardy = f"trap '' HUP; echo > {ready}; exec sleep 1000"
        server.start("agent_old", hardy)
        until(ready.exists, "the trap")
        pid, (old,) = server.server_pid(), server.pane_pids()
        os.kill(pid, signal.SIGKILL)
        # The first process of this namespace is its parent now.
        os.waitpid(pid, 0)
        LAST_PID.write_text(str(pid + 1000))
        restart_at(server, pid)
        answer = server.client().ask()
        assert answer.server_pid == pid
        assert Meter[str]().measure(answer.sessions, answer)["agent_new"].processes == 1
        roll = take(files, server.client())
        plan = weighed_kill(roll, [row_of(roll, "new")])
        assert plan.footprint is not None and plan.footprint.processes == 1, plan.footprint
        outcome = carry_out(plan, server.client(), "")
        assert outcome.complete, outcome
        assert runs(old), "the agent of the former server was ended with that of the new one"
        os.kill(old, signal.SIGKILL)
        sys.stdout.write("the other one lives\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
