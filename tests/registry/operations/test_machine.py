"""All operations in any order on a task's registry and the global one, a model beside them.

After every step the counters say what they count, in both files, and the two files
say what the model says: the same, but for what was done to the task's alone.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from unittest import mock

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from registry import (
    AgentNotFoundError,
    LimitReachedError,
    SessionEnd,
    WrongShapeError,
    atomic_add_agent,
    clean_up_task,
    clean_up_workspace,
    create_global_registry,
    create_task_registry,
    register_agent,
    registering,
    report_progress,
    terminate_agents,
    withdraw_agent,
)
from registry.schema import zombies
from tests.support.registries import (
    ACTIVE,
    TERMINAL,
    agent,
    assert_agree,
    assert_counters_match,
    is_counted,
    load,
)

_TYPES = st.sampled_from(["fixer", "tester"])
# Agents by the order in which they came; some are not there any more, or never were.
_WHO = st.integers(0, 9)
_SOME = st.lists(_WHO, max_size=6, unique=True)

_MAX_AGENTS, _MAX_CONCURRENT, _MAX_DEPTH = 8, 5, 3


class _Machine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        # Otherwise the global registry catches up ten seconds after an agent's own end.
        self._delay = mock.patch.object(zombies, "END_DELAY", 0.0)
        self._delay.start()
        self._directory = tempfile.TemporaryDirectory(prefix="muster-machine-")
        self.root = Path(self._directory.name) / ".agent-workspace"
        self.global_ = self.root / "registry" / "GLOBAL_REGISTRY.json"
        self.task = self.root / "TASK-1" / "AGENT_REGISTRY.json"
        # The model: by agent its status, in the task's registry and as the global one
        # lists it, None where that has none; its depth; and by parent its children.
        self.status: dict[str, str] = {}
        self.listed: dict[str, str | None] = {}
        self.type: dict[str, str] = {}
        self.depth: dict[str, int] = {}
        self.children: dict[str, list[str]] = {}
        self.ids: list[str] = []
        self.alone = False

    def teardown(self) -> None:
        self._delay.stop()
        self._directory.cleanup()

    @initialize(odd=st.booleans())
    def create(self, odd: bool) -> None:
        create_task_registry(
            self.root,
            "TASK-1",
            "x",
            max_agents=_MAX_AGENTS,
            max_concurrent=_MAX_CONCURRENT,
            max_depth=_MAX_DEPTH,
        )
        if odd:
            # Somebody else's, of a status that is neither active nor terminal.
            atomic_add_agent(self.task, agent("odd", "paused", depth=1), "orchestrator")
            atomic_add_agent(
                self.global_, agent("odd", "paused", task_id="TASK-1"), "orchestrator"
            )
            self.status["odd"] = self.listed["odd"] = "paused"
            self.type["odd"], self.depth["odd"] = "tester", 1
            self.children["orchestrator"] = ["odd"]
            self.ids.append("odd")

    def _id(self, who: int) -> str:
        return self.ids[who] if who < len(self.ids) else f"nobody-{who}"

    def _works(self, agent_id: str) -> bool:
        return self.status.get(agent_id) in ACTIVE

    def _is_listed_as_active(self, agent_id: str) -> bool:
        status = self.listed.get(agent_id, "not there")
        return status is None or status in ACTIVE

    def _refused(self, parent: str) -> str | None:
        """What keeps an agent of this parent from being registered."""
        if parent != "orchestrator" and parent not in self.status:
            return parent
        if len(self.status) >= _MAX_AGENTS:
            return "max_agents"
        if sum(map(is_counted, self.status.values())) >= _MAX_CONCURRENT:
            return "max_concurrent"
        if self.depth.get(parent, 0) >= _MAX_DEPTH:
            return "max_depth"
        return None

    def _add(self, agent_id: str, agent_type: str, parent: str, status: str) -> None:
        assert agent_id not in self.ids
        self.ids.append(agent_id)
        self.status[agent_id] = status
        self.type[agent_id] = agent_type
        self.depth[agent_id] = self.depth.get(parent, 0) + 1
        self.children.setdefault(parent, []).append(agent_id)

    @rule(
        agent_type=_TYPES,
        above=st.none() | _WHO,
        status=st.sampled_from(ACTIVE),
        alone=st.integers(0, 9).map(lambda number: number == 0),
    )
    def register(self, agent_type: str, above: int | None, status: str, alone: bool) -> None:
        parent = "orchestrator" if above is None else self._id(above)
        where = None if alone else self.global_
        refused = self._refused(parent)
        if refused is not None:
            with pytest.raises((LimitReachedError, AgentNotFoundError), match=refused):
                register_agent(self.task, where, agent_type, parent=parent, status=status)
            return
        found = register_agent(self.task, where, agent_type, parent=parent, status=status)
        self._add(found.agent_id, agent_type, parent, status)
        assert found.depth == self.depth[found.agent_id]
        self.alone |= alone
        if not alone:
            self.listed[found.agent_id] = None

    @rule(agent_type=_TYPES)
    def register_or_take(self, agent_type: str) -> None:
        there = [id_ for id_ in self.status if self._works(id_) and self.type[id_] == agent_type]
        refused = self._refused("orchestrator")
        if not there and refused:
            with pytest.raises(LimitReachedError, match=refused):
                register_agent(self.task, self.global_, agent_type, reuse=True)
            return
        found = register_agent(self.task, self.global_, agent_type, reuse=True)
        assert found.existing == bool(there)
        if there:
            assert found.agent_id == there[0]
        else:
            self._add(found.agent_id, agent_type, "orchestrator", "running")
            self.listed[found.agent_id] = None

    @rule(agent_type=_TYPES)
    def fail_to_deploy(self, agent_type: str) -> None:
        if self._refused("orchestrator"):
            return
        before = self.task.read_bytes(), self.global_.read_bytes()
        with pytest.raises(ZeroDivisionError), registering(self.task, self.global_, agent_type):
            assert self.task.read_bytes() != before[0]
            raise ZeroDivisionError
        assert (self.task.read_bytes(), self.global_.read_bytes()) == before

    @rule(who=_WHO, alone=st.integers(0, 4).map(lambda number: number == 0))
    def withdraw(self, who: int, alone: bool) -> None:
        agent_id = self._id(who)
        done = withdraw_agent(self.task, None if alone else self.global_, agent_id)
        assert done.was_there == (agent_id in self.status)
        self.alone |= alone and done.was_there
        self.status.pop(agent_id, None)
        if not alone:
            self.listed.pop(agent_id, None)
        if done.was_there:
            for parent in [each for each, ids in self.children.items() if agent_id in ids]:
                self.children[parent].remove(agent_id)
                if not self.children[parent]:
                    del self.children[parent]

    @rule(
        who=_WHO,
        status=st.none() | st.sampled_from([*ACTIVE, *TERMINAL]),
        progress=st.none() | st.integers(0, 100),
        alone=st.integers(0, 4).map(lambda number: number == 0),
    )
    def report(self, who: int, status: str | None, progress: int | None, alone: bool) -> None:
        agent_id = self._id(who)
        where = None if alone else self.global_
        if agent_id not in self.status:
            with pytest.raises(AgentNotFoundError):
                report_progress(self.task, where, agent_id, status=status, progress=progress)
            return
        done = report_progress(self.task, where, agent_id, status=status, progress=progress)
        assert done.previous == self.status[agent_id]
        self.alone |= alone
        self.status[agent_id] = status or self.status[agent_id]
        if agent_id in self.listed and not alone:
            self.listed[agent_id] = self.status[agent_id]
        assert bool(done.problems) == (agent_id not in self.listed and not alone)

    @rule(who=_WHO, progress=st.sampled_from([-1, 101, float("nan"), True]))
    def report_nonsense(self, who: int, progress: float) -> None:
        with pytest.raises(WrongShapeError, match="progress"):
            report_progress(self.task, self.global_, self._id(who), progress=progress)

    @rule(some=_SOME, end=st.sampled_from(SessionEnd), alone=st.booleans())
    def terminate(self, some: list[int], end: SessionEnd, alone: bool) -> None:
        ids = [self._id(who) for who in some]
        where = None if alone else self.global_
        report = terminate_agents(self.task, where, dict.fromkeys(ids, end), reason="x")
        assert {each.agent_id for each in report.changed} | set(report.untouched) == set(ids)
        if end is SessionEnd.STILL_THERE:
            return
        self.alone |= alone
        for agent_id in ids:
            # A status that nobody knows is counted, and never cleaned up, but can be ended.
            if self._works(agent_id) or self.status.get(agent_id) == "paused":
                self.status[agent_id] = "terminated"
            if not alone and self.listed.get(agent_id) == "paused":
                self.listed[agent_id] = self.status[agent_id]
            elif not alone:
                self._follow(agent_id, gone=True)

    @rule(some=_SOME, whole=st.booleans(), status=st.sampled_from(["completed", "terminated"]))
    def clean_up(self, some: list[int], whole: bool, status: str) -> None:
        live = {self._id(who) for who in some}
        sessions = {f"agent_{agent_id}" for agent_id in live}
        dead = [id_ for id_ in self.status if self._works(id_) and id_ not in live]
        if whole:
            done = clean_up_workspace(self.root, sessions, status=status, grace=-1)  # type: ignore[arg-type]
        else:
            done = clean_up_task(self.task, self.global_, sessions, status=status, grace=-1)  # type: ignore[arg-type]
        assert [*done.ended.values()] == ([tuple(dead)] if dead else [])
        assert not done.problems
        self.status |= dict.fromkeys(dead, status)
        for agent_id in self.listed:
            self._follow(agent_id, gone=agent_id not in live, status=status)
        # Who is through in the task's registry is at work in neither now.
        in_global = load(self.global_)["agents"]
        for agent_id, now in self.status.items():
            if now in TERMINAL and agent_id in in_global:
                assert in_global[agent_id].get("status", "running") not in ACTIVE

    def _follow(self, agent_id: str, *, gone: bool, status: str = "terminated") -> None:
        if not self._is_listed_as_active(agent_id):
            return
        if agent_id not in self.status:
            if gone:
                self.listed[agent_id] = status
        elif self.status[agent_id] in TERMINAL:
            self.listed[agent_id] = self.status[agent_id]

    @rule()
    def create_again(self) -> None:
        assert not create_task_registry(self.root, "TASK-1", "again").new
        assert not create_global_registry(self.root).new

    @invariant()
    def the_files_say_what_the_model_says(self) -> None:
        if not self.task.exists():
            return
        task, global_ = load(self.task), load(self.global_)
        assert_counters_match(task)
        assert_counters_match(global_)
        assert {each["id"]: each["status"] for each in task["agents"]} == self.status
        assert {id_: each.get("status") for id_, each in global_["agents"].items()} == self.listed
        assert task["agent_hierarchy"] == self.children
        assert (global_["total_tasks"], list(global_["tasks"])) == (1, ["TASK-1"])
        if not self.alone:
            assert_agree(global_, task)


TestOperations = _Machine.TestCase
TestOperations.settings = settings(stateful_step_count=30)
