"""Checks the processes of agents that run without a tmux session, before actions. Blocks.

A registry names the process of such an agent only by a pid. Before muster ends the process, or
records the agent's death, the process itself is examined.
"""

from __future__ import annotations

import time
from collections.abc import Iterable

from registry.agent_output import output_files
from registry.errors import RegistryError
from tui.actions.plan import Step
from tui.host.output_writers import Watched, written_by
from tui.host.process import descriptors, process_tree, procfs
from tui.host.process.agent_processes import NO_PROC, look_up
from tui.host.tmux_advice import user_name
from tui.model.evidence import ProcessEvidence
from tui.model.policy import Policy
from tui.model.process_verdict import ProcessState, judge_process
from tui.model.roll import Verdict


def why_not_as_planned(steps: Iterable[Step]) -> dict[Step, str]:
    """Returns why steps on agents without a session must not be executed.

    - A process is ended only if it certainly belongs to the agent; see `_why_not_its_own`.
    - An agent counts as dead only if its process is still gone.

    Args:
        steps: The steps of a plan.

    Returns:
        Maps each step that must not be executed to the reason.
    """
    whys: dict[Step, str] = {}
    for step in steps:
        if step.process is not None:
            why = _why_not_its_own(step)
        elif step.row is not None and step.row.verdict is Verdict.ZOMBIE:
            why = why_not_gone(step)
        else:
            continue
        if why is not None:
            whys[step] = why
    return whys


def why_not_gone(step: Step) -> str | None:
    """Returns why the process that a registry names for an agent may run; None if it is gone."""
    record = step.row.record if step.row is not None else None
    if record is None or record.cursor_pid is None:
        return None
    pid = record.cursor_pid
    process = look_up([pid], {})[pid]
    # The process was missing when the plan was made, so one more look is enough.
    evidence = ProcessEvidence({pid: process}, {pid: 0.0}, time.monotonic())
    state = judge_process(record, evidence, Policy(), time.time())
    if state.state is ProcessState.RUNS:
        return f"its process {pid} runs"
    if state.state is ProcessState.UNKNOWN:
        return state.why
    return None


def _why_not_its_own(step: Step) -> str | None:
    """Returns why the process of a step must not be ended; None if it may be ended.

    A registry can name any process. So all of these are required:

    - The process is the one that the roll call has judged, by its pid and start time.
    - It is not muster, an ancestor of muster, or a tmux server.
    - All its users are the owner of the registry.
    - It writes the output of the agent, or its command line contains the id of the agent.
    """
    process = step.process
    if process is None or process.identity is None:
        return None
    pid = process.pid
    if not procfs.numbers_are_ours():
        return NO_PROC
    stat = procfs.stat_of(pid)
    if stat is None or stat.is_ended or stat.identity != process.identity:
        return f"its process {pid} has ended meanwhile; repeat the action"
    if process_tree.holds_us((pid,)):
        return f"muster itself runs below its process {pid}"
    try:
        if pid in process_tree.look().servers:
            return f"process {pid} is a tmux server, or looks like one"
    except OSError as error:
        return f"cannot list the processes: {error}"
    users = procfs.users_of(pid)
    if users is None or set(users) != {step.owner}:
        user = "another user" if users is None else user_name(users.effective)
        return f"process {pid} belongs to {user}, who is not the owner of the agent's registry"
    if look_up([pid], {})[pid].names(step.label) or _writes_output(step, pid):
        return None
    return (
        f"it is not certain that process {pid} belongs to the agent: the process does not write "
        "the agent's output, and its command line does not name the agent. If it belongs to the "
        "agent, end it by hand"
    )


def _writes_output(step: Step, pid: int) -> bool:
    if step.source is None:
        return False
    agent = step.source.directory, step.label
    try:
        output = output_files(*agent)
        watched = Watched(
            frozenset({agent}), dict.fromkeys(output.files, agent), {output.folder: agent[0]}
        )
        return agent in written_by(pid, watched, descriptors.open_files(pid))[0]
    except (RegistryError, OSError):
        return False
