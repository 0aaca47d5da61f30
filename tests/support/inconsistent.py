"""Strategies for registries with contradictions, within one registry and between two."""

from __future__ import annotations

import copy

from hypothesis import strategies as st

from tests.support.json_values import statuses
from tests.support.registries import agent, task_registry

names = st.sampled_from(["a", "b", "c", "d", "e", "f"])
parents = st.one_of(st.just("orchestrator"), names, st.just("nobody"), st.none())
counts = st.one_of(st.integers(-1, 7), st.none(), st.just("three"))
_agents = st.lists(st.builds(lambda i, s, p: agent(i, s, parent=p), names, statuses, parents))
tasks = st.builds(
    lambda agents, hierarchy, counters: task_registry(*agents) | hierarchy | counters,
    _agents,
    st.fixed_dictionaries(
        {},
        optional={
            "agent_hierarchy": st.dictionaries(
                st.one_of(names, st.just("orchestrator"), st.just("ghost")),
                st.one_of(st.lists(st.one_of(names, st.just("ghost"))), st.none()),
            )
        },
    ),
    st.fixed_dictionaries(
        {}, optional=dict.fromkeys(("active_count", "completed_count", "total_spawned"), counts)
    ),
)
_listed = st.builds(
    lambda id_, status, task: agent(id_, status, **({"task_id": task} if task else {})),
    names,
    st.one_of(statuses, st.none()),
    st.sampled_from(["TASK-1", "TASK-1", "TASK-1", "TASK-2", ""]),
)
globals_ = st.builds(
    lambda agents, tasks, keyed, counters: (
        {"tasks": tasks}
        | {"agents": {each.pop("id"): each for each in agents} if keyed else agents}
        | counters
    ),
    st.lists(_listed).map(copy.deepcopy),
    st.sampled_from([{}, {"TASK-1": {"status": "INITIALIZED"}}, {"TASK-1": {"status": "?"}}]),
    st.booleans(),
    st.fixed_dictionaries(
        {},
        optional=dict.fromkeys(
            ("active_agents", "total_agents_spawned", "total_tasks", "active_tasks"), counts
        ),
    ),
)
