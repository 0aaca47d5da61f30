"""The commands without a screen: the roll, and what is done about it."""

from __future__ import annotations

import argparse
import difflib
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from registry.text import quoted_name, shown_name, typed_word
from tui.actions.execute import Outcome, carry_out
from tui.actions.footprint import weighed_kill
from tui.actions.plan import Plan
from tui.actions.plan_complete import checked_complete
from tui.actions.preview import Preview
from tui.cli.context import DONE, NOT_ALL_DONE, complain, confirmed, find, say, tmux_of
from tui.cli.format_plan import (
    outcome_json,
    outcome_lines,
    plan_json,
    proposal_lines,
    refused_lines,
)
from tui.config.load import policy_of
from tui.errors import UsageError
from tui.host.tmux import Tmux
from tui.host.tmux_types import Session, TmuxState
from tui.live.collector import take_roll
from tui.live.publish_metrics import publish_quietly
from tui.model.roll import AgentRow, RollCall, Verdict
from tui.model.select import rows_of, subtrees, tasks_of
from tui.model.warnings import notices
from tui.text.sanitize import as_json

_COMPARED_AT_MOST = 256
"""Characters of the longest name that is looked for among similar ones: it takes their square."""


def kill(options: argparse.Namespace) -> int:
    """`muster kill`."""
    if bool(options.names) == (options.leaked or options.orphans):
        raise UsageError("kill takes either names, or --leaked or --orphans")
    tmux = tmux_of(options)
    roll = take_roll(find(options), tmux, policy_of(options))
    if options.orphans:
        plan = weighed_kill(roll, (), roll.orphans, all_orphans=True)
        done = _carry_out(plan, tmux, options)
        return max(done, _nobody_missed(roll, plan.steps, "orphan", options))
    if options.leaked:
        leaked = [row for row in roll.agents() if row.verdict is Verdict.LEAKED]
        done = _carry_out(weighed_kill(roll, leaked), tmux, options)
        return max(done, _nobody_missed(roll, leaked, "leaked agent", options))
    rows, orphans = _named(roll, options)
    if not (rows or orphans or options.json):
        print("No agents.")
    plan = weighed_kill(roll, rows, orphans, whole=options.task or options.tree)
    return _carry_out(plan, tmux, options)


def _named(
    roll: RollCall, options: argparse.Namespace
) -> tuple[Sequence[AgentRow], Sequence[Session]]:
    """Whom the words of `muster kill` name.

    Raises:
        UsageError: One of them names nobody, or more than one.
    """
    if options.task:
        tasks, problems = tasks_of(roll, options.names)
        if problems:
            known = [task.task_id for task in roll.tasks()]
            raise UsageError(*problems, *_meant(known, options.names, problems))
        return [row for task in tasks for row in task.agents], ()
    orphans = {} if options.tree else {session.name: session for session in roll.orphans}
    ids = [each for each in options.names if each not in orphans]
    rows, problems = rows_of(roll, ids)
    agents = {row.key.id for row in roll.agents()}
    problems += [
        f"{quoted_name(each)} is an agent's id and an orphaned session's name: "
        "choose in the monitor, or give the agent's session another name"
        for each in dict.fromkeys(options.names)
        if each in orphans and each in agents
    ]
    if problems:
        raise UsageError(*problems, *nearest(roll, ids, problems))
    chosen = [orphans[each] for each in dict.fromkeys(options.names) if each in orphans]
    return subtrees(roll, rows) if options.tree else rows, chosen


def complete(options: argparse.Namespace) -> int:
    """`muster complete`."""
    if bool(options.agents) == options.zombies:
        raise UsageError("complete takes either agents' ids or --zombies")
    tmux = tmux_of(options)
    roll = take_roll(find(options), tmux, policy_of(options))
    if options.zombies:
        rows = [row for row in roll.agents() if row.verdict is Verdict.ZOMBIE]
    else:
        rows, problems = rows_of(roll, options.agents)
        if problems:
            raise UsageError(*problems, *nearest(roll, options.agents, problems))
    plan = checked_complete(roll, rows, options.status, by_verdict=options.zombies)
    done = _carry_out(plan, tmux, options)
    if options.zombies:
        return max(done, _nobody_missed(roll, rows, "zombie", options))
    return done


def _nobody_missed(
    roll: RollCall, found: Sequence[object], what: str, options: argparse.Namespace
) -> int:
    """Says whether these were all of their kind; an exit code."""
    if not found and roll.answer.state is TmuxState.UNKNOWN:
        complain(f"no {what} can be told; tmux: {roll.answer.why}")
        return NOT_ALL_DONE
    unread = _unread(roll, nearby=what == "orphan")
    if unread:
        complain(*unread)
        return NOT_ALL_DONE
    if what == "zombie" and roll.evidence.doubts:
        for said in notices(roll):
            complain(said)
        return NOT_ALL_DONE
    if what == "orphan" and not roll.orphans_known:
        complain("orphans cannot be told: not all registries that may list them are seen")
        return NOT_ALL_DONE
    if not found and not options.json:
        print(f"No {what}s.")
    return DONE


def _unread(roll: RollCall, *, nearby: bool) -> list[str]:
    """What could not be read, and so may hold whom nobody found.

    Args:
        roll: The roll call.
        nearby: Also what may hold orphans of other workspaces.
    """
    said = [
        f"{shown_name(task.state.registry)} cannot be read: {task.state.error}"
        for task in roll.tasks()
        if task.state.error is not None
    ]
    databases = (*roll.databases, *(roll.nearby_databases if nearby else ()))
    return [*said, *map(str, dict.fromkeys(databases))]


def nearest(roll: RollCall, ids: Iterable[str], problems: Iterable[str]) -> list[str]:
    """What may have been meant by ids that nobody has."""
    unread = _unread(roll, nearby=True)
    if unread and any(problem.startswith("no ") for problem in problems):
        return [*unread, "The agent may be in there."]
    known = [row.key.id for row in roll.agents()]
    return _meant([*known, *(session.name for session in roll.orphans)], ids, problems)


def _meant(known: Sequence[str], ids: Iterable[str], problems: Iterable[str]) -> list[str]:
    if not any(problem.startswith("no ") for problem in problems):
        return []
    short = [each for each in known if len(each) <= _COMPARED_AT_MOST]
    near = {
        each
        for id_ in ids
        if len(id_) <= _COMPARED_AT_MOST
        for each in difflib.get_close_matches(id_, short, 3)
    }
    # Each of them is to be typed, so as a shell takes it.
    meant = [typed_word(each) for each in sorted(near - set(ids))]
    said = ", ".join(each for each in meant if each is not None)
    return [f"meant: {said}?"] if said else []


def _carry_out(plan: Plan, tmux: Tmux, options: argparse.Namespace) -> int:
    return propose(
        plan.preview(),
        plan_json(plan),
        lambda: carry_out(plan, tmux, options.reason),
        options,
    )


def propose(
    preview: Preview,
    as_object: dict[str, Any],
    do: Callable[[], Outcome],
    options: argparse.Namespace,
) -> int:
    """Shows what will be done, asks unless told not to, does it and says what was done.

    Args:
        preview: What will be done.
        as_object: The same for ``--json``.
        do: Does it.
        options: Of the command line.
    """
    if options.dry_run or not preview.steps:
        if options.json:
            print(as_json(as_object))
        elif preview.steps or preview.refused:
            say(proposal_lines(preview))
        return NOT_ALL_DONE if preview.refused else DONE
    if not options.yes:
        say(proposal_lines(preview), to_stderr=options.json)
        if not confirmed():
            print("Nothing was done.", file=sys.stderr)
            return NOT_ALL_DONE
    open_ = [each for each in preview.questions if not getattr(options, each.name)]
    if options.yes:
        for each in open_:
            complain(each.asks, f"If so, say {each.option} as well.")
    if open_ and (options.yes or not all(confirmed(each.asks) for each in open_)):
        print("Nothing was done.", file=sys.stderr)
        return NOT_ALL_DONE
    outcome = do()
    if options.json:
        print(as_json(outcome_json(outcome, preview)))
    else:
        say(outcome_lines(outcome))
        if options.yes:
            # Who was asked has seen it.
            say(refused_lines(preview))
    publish_quietly({path.parent.parent for path in outcome.written})
    return DONE if outcome.complete and not preview.refused else NOT_ALL_DONE
