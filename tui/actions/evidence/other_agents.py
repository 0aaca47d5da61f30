"""Finds agents without a session that a kill of another agent or session would end. Blocks.

The registry names the process of such an agent by a pid. The process may have been started by
another agent, in that agent's session or terminal.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

from registry.dataclass import dataclass
from registry.schema import Workspace, is_terminal
from registry.text import shown_name
from tui.actions.evidence.origins import origins_of
from tui.actions.plan import Plan, Step
from tui.host.process import process_tree, procfs
from tui.host.process.descriptors import terminals_held
from tui.host.tmux_types import Session, TmuxSnapshot
from tui.live.nearby_workspaces import NearbyWorkspaces


@dataclass(frozen=True, slots=True)
class _Listed:
    """An active agent without a session.

    Attributes:
        id: The id of the agent.
        pid: The pid of the agent's process.
        registry: The registry that lists the agent.
    """

    id: str
    pid: int
    registry: Path

    def __str__(self) -> str:
        registry = shown_name(self.registry)
        return f"process {self.pid} of agent {shown_name(self.id)} (listed in {registry})"


def why_others_would_end(
    plan: Plan, sessions: Mapping[Step, Session], answer: TmuxSnapshot, nearby: NearbyWorkspaces
) -> dict[Step, str]:
    """Returns why steps of a kill would also end agents that the plan does not end.

    A kill spares the processes in `Plan.spared`, which certainly belong to other agents. A step
    must not be executed in these two cases:

    - A process that the step ends has the pid of an active agent, and is not among the spared
      ones: the agent is unknown, was registered after the roll call, or belongs to a workspace
      near the session.
    - The step ends the leader of a process session, and a spared process runs in the terminal of
      this process session; or it ends a process that holds the other end of such a terminal. The
      kernel would hang up the terminal.

    Args:
        plan: The plan to kill.
        sessions: The present session of each step.
        answer: The latest snapshot of tmux.
        nearby: The workspaces that may list such agents, already read for these sessions.
    """
    started = _sessions_of_processes(plan)
    if started:
        nearby.read_around([*sessions.values(), *started.values()], answer, frozenset())
    listed = _listed(nearby, plan)
    if not listed and not plan.spared:
        return {}
    by_step = {**sessions, **started}
    families = process_tree.families_of(tuple(by_step.values()), answer)
    ended = {step: families[session] for step, session in by_step.items()}
    # Of sessions that have ended, processes may be left.
    left = {
        step: origin
        for step, origin in origins_of(plan, answer, frozenset()).items()
        if step not in ended
    }
    for step, held in process_tree.processes_of(left).items() if left else ():
        ended[step] = frozenset(process.pid for process in held.processes)
    spared = process_tree.look().of_agents(plan.spared) if plan.spared else set()
    terminals = dict(_terminals(spared))
    whys: dict[Step, str] = {}
    for step, pids in ended.items():
        if others := pids & listed.keys():
            whys[step] = (
                f"{listed[min(others)]} would end with it; first end or complete that agent"
            )
        if (pid := _hung_up(pids - spared, terminals)) is not None:
            whys[step] = (
                f"process {pid} of another agent runs in a terminal that would be closed; first "
                "end that agent, or kill both together"
            )
    return whys


def _sessions_of_processes(plan: Plan) -> dict[Step, Session]:
    """Returns a stand-in for the session of each agent without a session that the plan ends."""
    return {
        step: Session(f"process {step.process.pid}", "", 0, 0, 0, (), (step.process.pid,))
        for step in plan.ending
        if step.process is not None
    }


def _listed(nearby: NearbyWorkspaces, plan: Plan) -> dict[int, _Listed]:
    """Maps pids to the agents whose processes the plan neither ends nor spares."""
    spared = {pid for pid, _ in plan.spared}
    own = {(place, step.label) for step in plan.ending for place in _places(step)}
    # An agent may be lost from its task's registry.
    of_globals = {
        pid: _Listed(agent_id, pid, Workspace(path).global_registry)
        for path, reading in nearby.readings.items()
        for pid, agent_id in reading.processes.items()
        if pid not in spared and agent_id not in {step.label for step in plan.ending}
    }
    return of_globals | {
        agent.pid: _Listed(agent.id, agent.pid, state.registry)
        for reading in nearby.readings.values()
        for state in reading.states
        for agent in (state.record.agents if state.record is not None else ())
        if agent.pid is not None
        and agent.pid not in spared
        and not is_terminal(agent.meaning)
        and own.isdisjoint({(state.registry, agent.id), (state.identity, agent.id)})
    }


def _places(step: Step) -> Iterator[object]:
    """Yields the path and the identity of a step's registry; another path may lead to it."""
    if step.row is not None:
        yield step.row.key.registry
    if step.identity is not None:
        yield step.identity


def _terminals(pids: Collection[int]) -> Iterator[tuple[int, procfs.Stat]]:
    """Yields the processes that have a terminal."""
    for pid in pids:
        stat = procfs.stat_of(pid)
        if stat is not None and stat.terminal and not stat.is_ended:
            yield pid, stat


def _hung_up(ended: Collection[int], spared: Mapping[int, procfs.Stat]) -> int | None:
    """Returns a spared process whose terminal is closed when other processes end, or None."""
    if not spared:
        return None
    held = frozenset[int]().union(*map(terminals_held, ended))
    for pid, stat in spared.items():
        if stat.session in ended or stat.terminal in held:
            return pid
    return None
