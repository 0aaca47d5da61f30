"""An agent of the example orchestrator: works, reports through the library, and ends.

``python -m tests.support.example_agent TASK_REGISTRY GLOBAL_REGISTRY ID``
"""

from __future__ import annotations

import random
import sys
import time

from registry import report_progress


def main(task: str, global_: str, agent_id: str) -> None:
    dice = random.Random(agent_id)
    if dice.random() < 0.2:
        # Ends without a report, as some agents do.
        report_progress(task, global_, agent_id, status="working", progress=10)
        return
    for progress in range(0, 100, 20):
        report_progress(
            task, global_, agent_id, status="working", progress=progress, message="at it"
        )
        time.sleep(dice.uniform(0.05, 0.2))
    report_progress(task, global_, agent_id, status="completed", progress=100, message="done")


if __name__ == "__main__":
    main(*sys.argv[1:])
