"""Messages that say why a tmux server cannot be queried, and what the user can do."""

from __future__ import annotations

import os
from pathlib import Path

from registry.text import command_line, shown_name
from tui.host.process import descriptors, procfs
from tui.host.server_proof import Doubt
from tui.host.tmux_advice import OTHER_SOCKET, as_user, socket_option, user_name
from tui.host.tmux_types import TmuxSnapshot, TmuxState

OPTION = "--without-agents"
"""The option by which the operator says that a server has none of the agents."""


def why_unasked(pid: int, socket: Path, answer: TmuxSnapshot | None, doubt: Doubt | None) -> str:
    """Returns why a server cannot be queried, with a remedy.

    Args:
        pid: The pid of the server.
        socket: The path at which the server listens.
        answer: The result of a query at this path; None if no query was made.
        doubt: Why the server must not be queried, or None.
    """
    if doubt is not None:
        process = f"process {pid} on {shown_name(socket)}"
        return f"{process} may be another tmux server ({doubt.why}); {doubt.advice}"
    if answer is not None and answer.state is not TmuxState.UNKNOWN:
        return _of_lost_path(pid, socket, answer)
    why = "no time was left for this server" if answer is None else answer.detail
    advice = f"try {socket_option(socket)}"
    if answer is not None and answer.advice and OTHER_SOCKET not in answer.advice:
        advice = answer.advice
    return f"cannot query another tmux server, {pid} on {shown_name(socket)} ({why}); {advice}"


def why_unseen(pid: int, uid: int) -> str:
    """Returns why a server is not queried if muster cannot see its socket, with a remedy.

    Args:
        pid: The pid of the server.
        uid: The user id of the server's process.
    """
    if uid != os.getuid():
        return (
            f"tmux server {pid} of {user_name(uid)} may have the agent's session; query that "
            f"server as its user, with {as_user(uid)}, or, if you know that the server does not "
            "have this session, complete this agent alone"
        )
    if descriptors.may_see_files(pid):
        return (
            f"process {pid} may be a tmux server that has the agent's session, and listens at no "
            f"socket that muster can see; check what process {pid} is"
        )
    return (
        f"tmux server {pid} may have the agent's session, and muster is not permitted to see the "
        "socket of this server; run muster as root"
    )


def said_to_have_none(token: str | None) -> str:
    """Returns advice for the case that a server has none of the agents.

    The text continues a sentence about the server. The text is empty if there is no token.

    Args:
        token: The token of the server; None if the server cannot be identified by a token.
    """
    if token is None:
        return ""
    return (
        f"; if you know that the server has none of your agents, give the option {OPTION} {token}"
    )


def _of_lost_path(pid: int, socket: Path, answer: TmuxSnapshot) -> str:
    """Returns why a server cannot be queried at its path, with a remedy.

    The path leads to another server or to no server, for example because the socket was removed.
    """
    lost = f"{shown_name(socket)} does not lead to this server"
    if not procfs.numbers_are_ours():
        return (
            f"a tmux server runs outside of this container (PID namespace), but {lost}; "
            "run muster outside of the container"
        )
    create = command_line("kill", "-USR1", str(pid))
    prefix = f"tmux server {pid} runs, but"
    ending = f"or end the server and its sessions with: {command_line('kill', str(pid))}"
    other = answer.server_process or answer.listener
    if answer.state is TmuxState.ANSWERED and other is not None:
        # The signal removes the socket that lies at the path.
        return (
            f"{prefix} {lost}, and leads to tmux server {other}; take over the path for server "
            f"{pid} with: {create}; afterwards, give the path back to server {other} with: "
            f"{command_line('kill', '-USR1', str(other))}; {ending}"
        )
    if os.path.isdir(socket.parent):
        return f"{prefix} {lost}; recreate the socket with: {create}; {ending}"
    directory = shown_name(socket.parent)
    make = command_line("mkdir", "-p", "-m", "700", names=[str(socket.parent)])
    both = "make the directory, and then recreate the socket with"
    made = f"{both}: {create}" if make is None else f"{both}: {make} && {create}"
    return f"{prefix} the directory of its socket, {directory}, is gone; {made}; {ending}"
