"""A simple program for comparison: watchfiles, json, and a line for each change.

``python -m tests.benchmarks.follower DIRECTORY``
"""

from __future__ import annotations

import json
import sys

import watchfiles


def main(directory: str) -> None:
    """Follows a workspace until the process is killed."""
    known: dict[str, str] = {}
    print("ready", flush=True)
    for changes in watchfiles.watch(directory):
        for _, path in changes:
            if not path.endswith("AGENT_REGISTRY.json"):
                continue
            try:
                with open(path, encoding="utf-8") as file:
                    agents = json.load(file)["agents"]
            except ValueError:
                continue
            for agent in agents:
                if known.get(agent["id"]) != agent["type"]:
                    known[agent["id"]] = agent["type"]
                    print(agent["id"], agent["type"], flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
