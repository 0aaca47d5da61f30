"""The commands for agents and scripts: register, and report. They ask no tmux."""

from __future__ import annotations

import argparse
import dataclasses

from registry.errors import LimitReachedError
from registry.operations.register import register_agent, withdraw_agent
from registry.operations.report import report_progress
from tui.cli.context import DONE, NOT_ALL_DONE, complain, find, lines_of
from tui.cli.lookup import task_place, task_with
from tui.text.sanitize import as_json


def register(options: argparse.Namespace) -> int:
    """`muster register`."""
    place = task_place(find(options), options.task)
    try:
        agent = register_agent(
            place.registry,
            place.global_registry,
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
            withdraw_agent(place.registry, place.global_registry, agent.agent_id)
        raise
    return _said(agent.problems)


def report(options: argparse.Namespace) -> int:
    """`muster report`."""
    workspaces = find(options)
    place = task_with(workspaces, options.agent, options.task)
    done = report_progress(
        place.registry,
        place.global_registry,
        options.agent,
        status=options.status,
        progress=options.progress,
        message=" ".join(options.message),
    )
    if options.json:
        print(as_json(dataclasses.asdict(done)))
    return _said(done.problems)


def _said(problems: tuple[str, ...]) -> int:
    for problem in problems:
        complain(problem)
    return NOT_ALL_DONE if problems else DONE
