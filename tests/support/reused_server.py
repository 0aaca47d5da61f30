"""Kills an agent of a tmux server that has the pid of an earlier server, whose agent still runs.

Run this as the first process of a new PID namespace, like `tests.support.reused_pids`.
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
from tui.host.process import procfs
from tui.host.process.usage import Meter


def restart_at(server: RealTmux, pid: int) -> None:
    """Starts a tmux server whose process has the given pid, which must be free."""
    for before in range(1, 40):
        LAST_PID.write_text(str(pid - before))
        # A client that comes while a server ends may fail, so the socket is removed first.
        server.socket.unlink(missing_ok=True)
        server.start("agent_new")
        if server.server_pid() == pid:
            return
        server.kill_server()
    raise SystemExit(f"no server could be given the pid {pid}")


def main(directory: Path) -> None:
    """Kills the agent of the new server, and checks that the earlier server's agent is alive."""
    files = Files(directory, {"TASK-1": [entry("old"), entry("new")]})
    ready, go, note = directory / "ready", directory / "go", directory / "note"
    # `restart_at` needs a pid with many smaller pids.
    LAST_PID.write_text("1000")
    with RealTmux() as server:
        hardy = f"trap '' HUP; echo > {ready}; exec sleep 1000"
        server.start("agent_old", hardy)
        until(ready.exists, "the trap")
        pid, (old,) = server.server_pid(), server.pane_pids()
        # This agent starts a process only when the test creates a file, and then ends.
        waiting = f"while [ ! -e {go} ]; do sleep 0.05; done"
        hands_over = f"sleep 1000 > /dev/null 2>&1 < /dev/null & echo $! > {note}"
        server.start("agent_older", f"trap '' HUP; echo > {ready}2; {waiting}; {hands_over}")
        until(Path(f"{ready}2").exists, "the trap of the other one")
        os.kill(pid, signal.SIGKILL)
        # This process, the first one of the namespace, is now the parent of the server's process.
        os.waitpid(pid, 0)
        LAST_PID.write_text(str(pid + 1000))
        restart_at(server, pid)
        answer = server.client().ask()
        assert answer.server_pid == pid
        go.touch()
        late = int(until(lambda: note.exists() and note.read_text().strip(), "the late process"))
        until(lambda: (found := procfs.stat_of(late)) and found.parent == 1, "us to have it")
        if procfs.session_order_of(late) is None:
            # This kernel does not show that the process session is older than the server.
            os.kill(late, signal.SIGKILL)
            late = old
        assert Meter[str]().measure(answer.sessions, answer)["agent_new"].processes == 1
        roll = take(files, server.client())
        plan = weighed_kill(roll, [row_of(roll, "new")])
        assert plan.footprint is not None and plan.footprint.processes == 1, plan.footprint
        # The agent may stay active, because the earlier server's processes may be the agent's.
        carry_out(plan, server.client(), "")
        assert server.names() == set()
        for pid in {old, late}:
            assert runs(pid), "a process of the former server was ended with the new agent"
            os.kill(pid, signal.SIGKILL)
        sys.stdout.write("the other one lives\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
