"""`muster show`: everything about one agent."""

from __future__ import annotations

import argparse
import dataclasses
import time

from tui.cli.context import DONE, find, say, tmux_of
from tui.cli.format_agent import about_json, about_lines, gather
from tui.cli.kill import nearest
from tui.config.load import policy_of
from tui.errors import UsageError
from tui.live.collector import take_roll
from tui.model.roll import RollCall
from tui.model.select import rows_of
from tui.text.sanitize import as_json


def show(options: argparse.Namespace) -> int:
    """`muster show`."""
    roll = take_roll(find(options), tmux_of(options), policy_of(options))
    rows, problems = rows_of(_of_task(roll, options.task), [options.agent])
    if problems:
        raise UsageError(*problems, *nearest(roll, [options.agent], problems))
    about = gather(roll, rows[0])
    if options.json:
        print(as_json(about_json(about)))
    else:
        say(about_lines(about, time.time()))
    return DONE


def _of_task(roll: RollCall, task_id: str | None) -> RollCall:
    """The part of a roll call that is one task's, if one is named."""
    if task_id is None:
        return roll
    workspaces = tuple(
        dataclasses.replace(
            each,
            tasks=tuple(
                task
                for task in each.tasks
                if task_id in (task.task_id, task.state.registry.parent.name)
            ),
        )
        for each in roll.workspaces
    )
    return dataclasses.replace(roll, workspaces=workspaces)
