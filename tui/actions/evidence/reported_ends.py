"""Reads the ends that agents themselves reported; for plans, and again before actions. Blocks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from registry.schema import Deployment, parse_time
from tui.actions.plan import Step
from tui.model.roll import AgentKey, AgentRow, RollCall, Verdict

if TYPE_CHECKING:
    from registry.agent_output import ReportedEnd
    from registry.sources import TaskSource


def ends_of(roll: RollCall, rows: Iterable[AgentRow]) -> Mapping[AgentKey, ReportedEnd]:
    """Returns the ends that agents reported; only for agents whose session or process is gone."""
    gone = [row for row in rows if row.verdict is Verdict.ZOMBIE or _is_missing(row)]
    wanted = {(row.key.registry, row.key.id) for row in gone}
    deployments: dict[tuple[TaskSource, str], list[Deployment]] = {}
    for task in roll.tasks():
        for agent in task.agents:
            if (agent.key.registry, agent.key.id) in wanted:
                of_agent = deployments.setdefault((task.state.source, agent.key.id), [])
                of_agent.append(agent.record.deployment)
    ends = {(source.path, agent_id): end for (source, agent_id), end in _read(deployments).items()}
    return {
        row.key: ends[row.key.registry, row.key.id]
        for row in gone
        if (row.key.registry, row.key.id) in ends
    }


def ends_now(steps: Iterable[Step]) -> Mapping[Step, ReportedEnd | None]:
    """Maps the step of each agent to the end that the agent's files prove now, or to None."""
    agents = {step: (step.source, step.label) for step in steps if step.source is not None}
    deployments: dict[tuple[TaskSource, str], list[Deployment]] = {}
    for step, agent in agents.items():
        deployments.setdefault(agent, []).extend(step.judged)
    ends = _read(deployments)
    return {step: ends.get(agent) for step, agent in agents.items()}


def _is_missing(row: AgentRow) -> bool:
    return row.verdict is Verdict.UNKNOWN and row.session is None


def _read(
    deployments: Mapping[tuple[TaskSource, str], Iterable[Deployment]],
) -> dict[tuple[TaskSource, str], ReportedEnd]:
    """Maps agents to the ends that they reported after their start.

    An agent is left out if its start is not known, or if several starts are listed for its id:
    then its report may be that of another deployment.
    """
    started: dict[TaskSource, dict[str, float]] = {}
    for (source, agent_id), of_agent in deployments.items():
        starts = {parse_time(deployment.started_at) for deployment in of_agent}
        start = starts.pop() if len(starts) == 1 else None
        if start is not None:
            started.setdefault(source, {})[agent_id] = start
    return {
        (source, agent_id): end
        for source, starts_of in started.items()
        for agent_id, end in source.reported_ends(starts_of).items()
    }
