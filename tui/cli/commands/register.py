"""`muster register`: adds an agent to the registries before it starts. Does not query tmux."""

from __future__ import annotations

import argparse
import dataclasses

from registry.errors import LimitReachedError
from registry.schema import ORCHESTRATOR
from tui.cli.context import find_all
from tui.cli.help import Page
from tui.cli.output import NOT_ALL_DONE, complain, exit_code_after, lines_of
from tui.cli.parser import add_json, add_settings, add_socket, add_workspace_option
from tui.text.sanitize import as_json

PAGE = Page(
    """\
Adds an agent to its task's registry and to the global registry, as one change, and prints
its id. Checks the task's limits (max_agents, max_concurrent, max_depth). Start the
agent's session directly after this command. The session's name must be `agent_`
followed by the id. Without --task, muster uses the only task.""",
    (("id=$(muster register fixer --task TASK-1 --prompt 'Repair it')", "in a script"),),
    "0 done; 1 a limit is reached; 2 wrong usage or no such task",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments."""
    add_settings(parser)
    add_socket(parser)
    add_workspace_option(parser)
    parser.add_argument("--task", metavar="ID", help="the task")
    parser.add_argument("type", metavar="TYPE", help="the agent's type, for example fixer")
    parser.add_argument(
        "--parent",
        default=ORCHESTRATOR,
        metavar="AGENT",
        help="the agent that starts the new agent",
    )
    parser.add_argument(
        "--id", metavar="ID", help="the id of the new agent (default: a generated id)"
    )
    parser.add_argument("--prompt", default="", metavar="TEXT", help="the prompt of the new agent")
    parser.add_argument(
        "--reuse",
        action="store_true",
        help="if an active agent of this type exists, only print its id",
    )
    add_json(parser)


def run(options: argparse.Namespace) -> int:
    """Runs `muster register`."""
    from tui.cli.lookup import find_task

    task = find_task(find_all(options), options.task)
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
    record = {
        name: value for name, value in dataclasses.asdict(agent).items() if name != "registries"
    }
    output = as_json(record) if options.json else agent.agent_id
    try:
        print(output, flush=True)
    except OSError:
        # The caller cannot learn the id, so it cannot start the agent.
        if not agent.existing:
            task.withdraw(agent.agent_id)
        raise
    return exit_code_after(agent.problems)
