"""Asks for a confirmation before a change, and prints the outcome."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from typing import Any

from tui.actions.execute import carry_out
from tui.actions.outcome import Outcome
from tui.actions.plan import Plan
from tui.actions.preview import Preview
from tui.cli.format_plan import (
    outcome_json,
    outcome_lines,
    plan_json,
    proposal_lines,
    refused_lines,
)
from tui.cli.output import DONE, NOT_ALL_DONE, complain, is_terminal, say
from tui.errors import UsageError
from tui.host.tmux import Tmux
from tui.live.publish_metrics import publish_quietly
from tui.text.sanitize import as_json, harmless

_ANSWER_AT_MOST = 1000
"""How many characters of an answer are read, because an endless line would fill the memory."""


def confirmed(question: str = "Go ahead?") -> bool:
    """Asks a question on the terminal; returns whether the answer is yes.

    Args:
        question: The question.

    Raises:
        UsageError: Standard input or standard error is not a terminal.
    """
    if not (sys.stdin.isatty() and is_terminal(sys.stderr)):
        raise UsageError("cannot ask for a confirmation without a terminal; give --yes")
    print(f"{harmless(question)} [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline(_ANSWER_AT_MOST).strip().lower() in ("y", "yes")


def propose(
    preview: Preview,
    as_object: dict[str, Any],
    do: Callable[[], Outcome],
    options: argparse.Namespace,
) -> int:
    """Prints a plan, asks for a confirmation unless ``--yes`` is given, and executes the plan.

    Args:
        preview: The plan.
        as_object: The plan as a JSON object, for ``--json``.
        do: Executes the plan.
        options: The options of the command line.

    Returns:
        The exit code.
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
    unanswered = [
        question for question in preview.questions if not getattr(options, question.name)
    ]
    if options.yes:
        for question in unanswered:
            complain(question.asks, f"To answer yes, give {question.option} as well.")
    if unanswered and (
        options.yes or not all(confirmed(question.asks) for question in unanswered)
    ):
        print("Nothing was done.", file=sys.stderr)
        return NOT_ALL_DONE
    outcome = do()
    if options.json:
        print(as_json(outcome_json(outcome, preview)))
    else:
        say(outcome_lines(outcome))
        if options.yes:
            # Without --yes the plan showed these lines.
            say(refused_lines(preview))
    publish_quietly({path.parent.parent for path in outcome.written})
    return DONE if outcome.complete and not preview.refused else NOT_ALL_DONE


def carry_out_plan(plan: Plan, tmux: Tmux, options: argparse.Namespace) -> int:
    """Prints the plan of `kill` or `complete`, asks, executes the plan; returns the exit code."""
    return propose(
        plan.preview(),
        plan_json(plan),
        lambda: carry_out(plan, tmux, options.reason),
        options,
    )
