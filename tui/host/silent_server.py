"""Says why a tmux server may not answer, and what the user can do."""

from __future__ import annotations

import os
from pathlib import Path

from registry.text import command_line, shown_name
from tui.host.process import procfs
from tui.host.tmux_advice import RIGHT_TMUX
from tui.host.tmux_socket import Listener, TmuxError

STOPPED = ("T", "t")
"""The states of a process that a signal or a debugger stopped; see proc_pid_stat(5)."""


def silence(
    listener: Listener | None, client: int, program: str | None, timeout: float
) -> TmuxError:
    """Returns the error for a server that did not answer in time.

    Args:
        listener: The process that started to listen at the server's socket.
        client: The pid of the tmux client, which has not been reaped.
        program: The path of the first tmux on PATH, or None.
        timeout: The seconds for which muster waited.
    """
    late = f"tmux did not answer within {timeout:g} s"
    server = listener.pid if listener is not None and procfs.numbers_are_ours() else 0
    stat = procfs.stat_of(server) if server else None
    if stat is None or stat.is_ended:
        return TmuxError(
            late, "try again; if this does not help, examine the process of the server"
        )
    if stat.state in STOPPED:
        advice = f"continue the server with: {command_line('kill', '-CONT', str(server))}"
        return TmuxError(f"{late}; its server, process {server}, is stopped", advice)
    difference = _other_program(server, client, program)
    if difference:
        why = f"{late}; its server, process {server}, {difference}, so their versions may differ"
        return TmuxError(why, f"compare `tmux -V` with `/proc/{server}/exe -V`; {RIGHT_TMUX}")
    why = f"{late}; its server, process {server}, is not stopped"
    return TmuxError(why, f"try again; if this does not help, examine process {server}")


def _other_program(server: int, client: int, program: str | None) -> str:
    """Returns how the programs of server and client differ; empty if no difference is known."""
    try:
        link = os.readlink(f"/proc/{server}/exe")
        if link.endswith(" (deleted)"):
            return "runs a program that was removed or replaced after the server's start"
        used = _program_of(client) or program
        if used is None or os.path.samefile(f"/proc/{server}/exe", used):
            return ""
    except OSError:
        return ""
    return f"runs {shown_name(Path(link))}, and the client runs {shown_name(Path(used))}"


def _program_of(client: int) -> str | None:
    """Returns the path of a client's program; None if the client has ended already."""
    try:
        return os.readlink(f"/proc/{client}/exe")
    except OSError:
        return None
