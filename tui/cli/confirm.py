"""Asking before something is changed, and saying what was done."""

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
"""Characters of an answer that are read; without an end it would fill the memory."""


def confirmed(question: str = "Go ahead?") -> bool:
    """Asks whether to go ahead.

    Args:
        question: What is asked.

    Raises:
        UsageError: There is nobody to ask.
    """
    if not (sys.stdin.isatty() and is_terminal(sys.stderr)):
        raise UsageError("there is no terminal to ask on; say --yes to go ahead")
    print(f"{harmless(question)} [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline(_ANSWER_AT_MOST).strip().lower() in ("y", "yes")


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


def carry_out_plan(plan: Plan, tmux: Tmux, options: argparse.Namespace) -> int:
    """Shows the plan of a kill or a completion, asks, and carries it out; the exit code."""
    return propose(
        plan.preview(),
        plan_json(plan),
        lambda: carry_out(plan, tmux, options.reason),
        options,
    )
