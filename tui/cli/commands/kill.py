"""`muster kill`: ends the sessions and processes of agents."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING

from registry.text import quoted_name
from tui.cli.context import find_all, policy_of, refuse_if_read_only, tmux_of
from tui.cli.help import Page
from tui.cli.parser import (
    add_asking,
    add_json,
    add_settings,
    add_socket,
    add_workspace_option,
)
from tui.errors import UsageError

if TYPE_CHECKING:
    from tui.host.tmux_types import Session
    from tui.model.roll import AgentRow, RollCall

PAGE = Page(
    """\
Ends agents: kills their tmux sessions, then all processes of the sessions, and sets
the status `terminated` in both registries. Shows the plan and asks first.

  muster kill AGENT...         these agents, or orphaned sessions by their names
  muster kill --tree AGENT...  these agents and all agents that descend from them
  muster kill --task TASK...   all agents of these tasks
  muster kill --leaked         all leaked sessions
  muster kill --orphans        all orphaned sessions

An id must match exactly; a prefix or a pattern does not match.""",
    (
        ("muster kill --dry-run --tree architect-1", "what would that end?"),
        ("muster kill --yes --reason 'looped' fixer-215911-8c90c7", "without a question"),
    ),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments."""
    add_settings(parser)
    add_socket(parser)
    add_workspace_option(parser)
    parser.add_argument("names", nargs="*", metavar="NAME", help="complete ids; see above")
    many = parser.add_mutually_exclusive_group()
    many.add_argument("--tree", action="store_true", help="also all agents that descend from them")
    many.add_argument("--task", action="store_true", help="each NAME is the id of a task")
    many.add_argument("--leaked", action="store_true", help="all leaked sessions")
    many.add_argument("--orphans", action="store_true", help="all orphaned sessions")
    parser.add_argument(
        "--unusual-names",
        action="store_true",
        help="also end sessions that do not have the usual name of an agent's session; "
        "--yes alone does not end them",
    )
    parser.add_argument(
        "--foreign-registry",
        action="store_true",
        help="also end sessions whose registry other users may write; --yes alone does not end "
        "them",
    )
    add_asking(parser)
    add_json(parser)


def run(options: argparse.Namespace) -> int:
    """Runs `muster kill`."""
    from tui.actions.footprint import weighed_kill
    from tui.cli.confirm import carry_out_plan
    from tui.cli.lookup import exit_code_if_all_found
    from tui.live.once import take_roll
    from tui.model.roll import Verdict

    refuse_if_read_only(options)
    if bool(options.names) == (options.leaked or options.orphans):
        raise UsageError(
            "kill takes either names (also with --tree or --task), or --leaked, or --orphans"
        )
    tmux = tmux_of(options)
    roll = take_roll(find_all(options), tmux, policy_of(options))
    if options.orphans:
        plan = weighed_kill(roll, (), roll.orphans, all_orphans=True)
        done = carry_out_plan(plan, tmux, options)
        return max(done, exit_code_if_all_found(roll, plan.steps, "orphan", options))
    if options.leaked:
        leaked = [row for row in roll.agents() if row.verdict is Verdict.LEAKED]
        done = carry_out_plan(weighed_kill(roll, leaked, whole=True), tmux, options)
        return max(done, exit_code_if_all_found(roll, leaked, "leaked agent", options))
    rows, orphans = _named(roll, options)
    if not (rows or orphans or options.json):
        print("No agents.")
    plan = weighed_kill(roll, rows, orphans, whole=options.task or options.tree)
    return carry_out_plan(plan, tmux, options)


def _named(
    roll: RollCall, options: argparse.Namespace
) -> tuple[Sequence[AgentRow], Sequence[Session]]:
    """Returns the agents and the orphaned sessions that the arguments name.

    Raises:
        UsageError: A name matches no agent or session, or more than one.
    """
    from tui.cli.suggest import nearest, nearest_of
    from tui.model.select import rows_of, subtrees, tasks_of

    if options.task:
        tasks, problems = tasks_of(roll, options.names)
        if problems:
            known = [task.task_id for task in roll.tasks()]
            raise UsageError(*problems, *nearest_of(known, options.names, problems))
        return [row for task in tasks for row in task.agents], ()
    orphans = {} if options.tree else {session.name: session for session in roll.orphans}
    ids = [name for name in options.names if name not in orphans]
    rows, problems = rows_of(roll, ids)
    agents = {row.key.id for row in roll.agents()}
    problems += [
        f"{quoted_name(name)} is both an agent's id and the name of an orphaned session: "
        "kill the agent or the session in the monitor, or rename the agent's session"
        for name in dict.fromkeys(options.names)
        if name in orphans and name in agents
    ]
    if problems:
        if not {task.task_id for task in roll.tasks()}.isdisjoint(ids):
            problems.append("a task has this name; to kill the agents of a task, use --task")
        raise UsageError(*problems, *nearest(roll, ids, problems))
    chosen = [orphans[name] for name in dict.fromkeys(options.names) if name in orphans]
    return subtrees(roll, rows) if options.tree else rows, chosen
