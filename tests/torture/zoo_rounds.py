"""Kills zoos while equal zoos run, and counts the processes that survive.

uv run --group dev python -m tests.torture.zoo_rounds --rounds 100
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.support.dialects import DatabaseFiles
from tests.support.real_tmux import RealTmux
from tests.support.seclusion import seclude
from tests.support.workspaces import Files, entry, row_of, take
from tests.support.zoo import Zoo, program_in
from tui.actions.execute import carry_out
from tui.actions.footprint import weighed_kill


@dataclass
class Count:
    """The result of some rounds.

    Attributes:
        rounds: The number of rounds.
        processes: The processes of the killed agents.
        survivors: The processes of killed agents that still run, with newly started processes.
        bystanders: The processes of other zoos with the same command lines; half of them run in a
            session of the same server, half outside tmux.
        bystanders_alive: The processes of other zoos that still run.
        complete: The rounds in which muster reported a complete kill.
    """

    rounds: int = 0
    processes: int = 0
    survivors: int = 0
    bystanders: int = 0
    bystanders_alive: int = 0
    complete: int = 0


def play(number: int, count: Count, kind: type[Files] = Files) -> None:
    """Kills an agent with a zoo, while two zoos with the same program run."""
    with tempfile.TemporaryDirectory() as name, RealTmux() as server:
        directory = Path(name)
        program = program_in(directory / "program")
        agent, beside, outside = (Zoo(directory / each, program) for each in "abc")
        files = kind(directory, {"TASK-1": [entry("x-1"), entry("x-10")]})
        with subprocess.Popen(outside.arguments, env=outside.environment) as bystander:
            try:
                server.start("agent_x-1", agent.command)
                server.start("agent_x-10", beside.command)
                bystanders = [zoo.alive() for zoo in (beside, outside)]
                count.processes += len(agent.alive())
                roll = take(files, server.client())
                plan = weighed_kill(roll, [row_of(roll, "x-1")])
                outcome = carry_out(plan, server.client(), f"round {number}")
                count.rounds += 1
                count.complete += outcome.complete
                count.survivors += len(agent.alive())
                count.bystanders += sum(map(len, bystanders))
                now = [zoo.alive() for zoo in (beside, outside)]
                count.bystanders_alive += sum(
                    len(before & after) for before, after in zip(bystanders, now, strict=True)
                )
            finally:
                for zoo in (agent, beside, outside):
                    zoo.close()
                bystander.wait()


def main() -> int:
    """Runs the rounds and prints the counts; returns 1 after a wrong kill or a survivor."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--sqlite", action="store_true", help="the agents are in a database")
    asked = parser.parse_args()
    rounds, kind = asked.rounds, DatabaseFiles if asked.sqlite else Files
    count, started = Count(), time.monotonic()
    for number in range(1, rounds + 1):
        play(number, count, kind)
        print(f"\r{number}/{rounds}", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    for word, value in asdict(count).items():
        print(f"{word:18} {value}")
    print(f"{'seconds':18} {time.monotonic() - started:.0f}")
    spared = count.bystanders == count.bystanders_alive
    return 0 if spared and not count.survivors and count.complete == rounds else 1


if __name__ == "__main__":
    seclude()
    sys.exit(main())
