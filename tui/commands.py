"""The commands without a screen: the roll, and what is done about it."""

from __future__ import annotations

import argparse
import difflib
import shutil
import sys
import time
from collections.abc import Callable, Iterable
from typing import Any

from tui.actions import Outcome, carry_out
from tui.choosing import rows_of
from tui.console import (
    DONE,
    NOT_ALL_DONE,
    UsageError,
    confirmed,
    find,
    safe,
    say,
    tmux_of,
)
from tui.host.sessions import TmuxState
from tui.host.tmux import Tmux
from tui.listing import (
    as_json,
    outcome_json,
    outcome_lines,
    plan_json,
    proposal_lines,
    roll_json,
    roll_table,
)
from tui.live import take_roll
from tui.planning import Plan, plan_complete, plan_kill
from tui.proposal import Proposal
from tui.publishing import publish_quietly
from tui.roll import Policy, RollCall, Verdict


def show_list(options: argparse.Namespace) -> int:
    """`muster list`."""
    roll = take_roll(find(options), tmux_of(options), Policy())
    if options.json:
        print(as_json(roll_json(roll)))
        return DONE
    columns = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    say(roll_table(roll, time.time(), columns))
    return DONE


def kill(options: argparse.Namespace) -> int:
    """`muster kill`."""
    tmux = tmux_of(options)
    roll = take_roll(find(options), tmux, Policy())
    orphans = {session.name: session for session in roll.orphans}
    ids = [each for each in options.agents if each not in orphans]
    rows, problems = rows_of(roll, ids)
    if problems:
        raise UsageError("\n".join(problems) + _nearest(roll, ids, problems))
    chosen = [orphans[each] for each in dict.fromkeys(options.agents) if each in orphans]
    return _carry_out(plan_kill(roll, rows, chosen), tmux, options)


def complete(options: argparse.Namespace) -> int:
    """`muster complete`."""
    if bool(options.agents) == options.zombies:
        raise UsageError("complete takes either agents' ids or --zombies")
    tmux = tmux_of(options)
    roll = take_roll(find(options), tmux, Policy())
    if options.zombies:
        rows = [row for row in roll.agents() if row.verdict is Verdict.ZOMBIE]
    else:
        rows, problems = rows_of(roll, options.agents)
        if problems:
            raise UsageError("\n".join(problems) + _nearest(roll, options.agents, problems))
    done = _carry_out(plan_complete(roll, rows, options.status), tmux, options)
    unread = _unread(roll)
    if not rows and roll.answer.state is TmuxState.UNKNOWN:
        print(f"muster: no zombie can be told; tmux: {safe(roll.answer.detail)}", file=sys.stderr)
        return NOT_ALL_DONE
    if options.zombies and unread:
        print(f"muster: {safe(unread)}", file=sys.stderr)
        return NOT_ALL_DONE
    if not rows and not options.json:
        print("No zombies.")
    return done


def _unread(roll: RollCall) -> str:
    """Which registries could not be read, and so may hold whom nobody found."""
    return "\n".join(
        f"{task.state.registry} cannot be read: {task.state.error}"
        for task in roll.tasks()
        if task.state.error is not None
    )


def _nearest(roll: RollCall, ids: Iterable[str], problems: Iterable[str]) -> str:
    """What may have been meant by ids that nobody has."""
    if not any(problem.startswith("no agent") for problem in problems):
        return ""
    known = [row.key.id for row in roll.agents()]
    known += [session.name for session in roll.orphans]
    unread = _unread(roll)
    if unread:
        return f"\n{unread}\nThe agent may be in there."
    near = {each for id_ in ids for each in difflib.get_close_matches(id_, known, 3)}
    return f"\nmeant: {', '.join(sorted(near - set(ids)))}?" if near - set(ids) else ""


def _carry_out(plan: Plan, tmux: Tmux, options: argparse.Namespace) -> int:
    return propose(
        plan.proposal(),
        plan_json(plan),
        lambda: carry_out(plan, tmux, options.reason),
        options,
    )


def propose(
    proposal: Proposal,
    as_object: dict[str, Any],
    do: Callable[[], Outcome],
    options: argparse.Namespace,
) -> int:
    """Shows what will be done, asks unless told not to, does it and says what was done.

    Args:
        proposal: What will be done.
        as_object: The same for ``--json``.
        do: Does it.
        options: Of the command line.
    """
    if options.dry_run or not proposal.steps:
        if options.json:
            print(as_json(as_object))
        elif proposal.steps or proposal.refused:
            say(proposal_lines(proposal))
        return NOT_ALL_DONE if proposal.refused else DONE
    if not options.yes:
        say(proposal_lines(proposal), to_stderr=options.json)
        if not confirmed():
            print("Nothing was done.", file=sys.stderr)
            return NOT_ALL_DONE
    outcome = do()
    if options.json:
        print(as_json(outcome_json(outcome)))
    else:
        say(outcome_lines(outcome))
    publish_quietly({path.parent.parent for path in outcome.written})
    return DONE if outcome.complete and not proposal.refused else NOT_ALL_DONE
