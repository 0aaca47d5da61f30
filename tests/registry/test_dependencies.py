"""Programs that use only the library load none of the monitor's dependencies."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

PROGRAM = """
import importlib.abc, sys
from pathlib import Path

class Refusing(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"libtmux", "prometheus_client", "rich", "textual",
                                      "tui", "watchfiles", "markdown_it", "pygments"}:
            raise ImportError(f"{name} is not installed")

sys.meta_path.insert(0, Refusing())
import asyncio
import registry as r

workspace = Path(sys.argv[1]) / ".agent-workspace"
global_ = workspace / "registry" / "GLOBAL_REGISTRY.json"
task = workspace / "TASK-1" / "AGENT_REGISTRY.json"
r.create_global_registry(workspace)
r.create_task_registry(workspace, "TASK-1", "a task")
def deploy(name):
    return r.register_agent(task, global_, name)
first, second = deploy("one"), deploy("two")
r.report_progress(task, global_, first.agent_id, status="working", progress=10)
context = r.AuditContext(r.Audit("complete", "done"))
r.finish_agents(task, global_, [first.agent_id], status="completed", on_record=context)
r.terminate_agents(task, global_, {second.agent_id: next(iter(r.SessionEnd))}, reason="r")
r.atomic_add_agent(task, {"id": "three-1", "status": "running"}, "orchestrator")
r.atomic_update_agent_status(task, "three-1", "blocked")
r.atomic_mark_agents_completed(task, ["three-1"])
r.atomic_increment_counts(global_, active=1)
r.atomic_decrement_active_count(global_)
r.registry_health_check(task, frozenset())
r.validate_and_repair_registry(task, frozenset())
r.recover_registry(task)
r.gone_sessions(["agent_x"], set, pause=0, sleep=lambda _: None)
r.clean_up_task(task, global_, set())
r.clean_up_workspace(workspace, set())
r.publish_metrics(workspace)
with r.LockedRegistryFile(task) as (content, _):
    assert len(content["agents"]) == 3
from registry import awaitable
asyncio.run(awaitable.read_registry(task))
for name in r.__all__:
    getattr(r, name)
print(*sorted({n.partition(".")[0] for n in sys.modules} & {"msgspec", "portalocker"}))
"""


def test_the_library_works_without_the_dependencies_of_the_monitor(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-P", "-c", PROGRAM, str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "msgspec portalocker"
