"""`muster register`: writes an agent down before it is deployed. Asks no tmux."""

from __future__ import annotations

import argparse
import dataclasses

from registry.errors import LimitReachedError
from registry.schema import ORCHESTRATOR
from tui.cli.context import find
from tui.cli.help import Page
from tui.cli.output import NOT_ALL_DONE, complain, exit_code_after, lines_of
from tui.cli.parser import add_json, add_settings, add_socket, add_workspace_option
from tui.text.sanitize import as_json

PAGE = Page(
    """\
Writes an agent down in its task's registry and in the global one, as one change, and
prints its id. Checks the task's limits (max_agents, max_concurrent, max_depth).
Start the session, called `agent_` and the id, right afterwards. Without --task the
only task that there is.""",
    (("id=$(muster register fixer --task TASK-1 --prompt 'Mend it')", "in a script"),),
    "0 done; 1 there is no room; 2 wrong usage or no such task",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds what it takes."""
    add_settings(parser)
    add_socket(parser)
    add_workspace_option(parser)
    parser.add_argument("--task", metavar="ID", help="which task")
    parser.add_argument("type", metavar="TYPE", help="what the agent does")
    parser.add_argument("--parent", default=ORCHESTRATOR, metavar="AGENT", help="who starts it")
    parser.add_argument("--id", metavar="ID", help="its id (default: a new one)")
    parser.add_argument("--prompt", default="", metavar="TEXT", help="what it is told")
    parser.add_argument(
        "--reuse",
        action="store_true",
        help="take one of the type that the registry calls active, if there is one",
    )
    add_json(parser)


def run(options: argparse.Namespace) -> int:
    """`muster register`."""
    from tui.cli.lookup import find_task

    task = find_task(find(options), options.task)
    try:
        agent = task.register(
            options.type,
            parent=options.parent,
            agent_id=options.id,
            reuse=options.reuse,
            prompt=options.prompt,
        )
    except LimitReachedError as error:
        complain(*lines_of(error))
        return NOT_ALL_DONE
    said = as_json(dataclasses.asdict(agent)) if options.json else agent.agent_id
    try:
        print(said, flush=True)
    except OSError:
        # Whoever asked never hears of it, and could not start it.
        if not agent.existing:
            task.withdraw(agent.agent_id)
        raise
    return exit_code_after(agent.problems)
