"""Finds the steps of a plan that this user has no permission to record."""

from __future__ import annotations

import functools
from pathlib import Path

from registry.audit import denial, log_in
from registry.storage import is_denied
from registry.text import shown_name
from tui.actions.plan import Plan, Step


def denied_records(plan: Plan) -> dict[Step, str]:
    """Maps the steps of a plan that this user may not record to the reasons. Blocks.

    This user needs permission to write the audit log, and each registry that a step changes.
    """
    cached = functools.cache(why_denied)
    whys = {step: cached(log_of_step(plan, step), registry_of_step(step)) for step in plan.steps}
    return {step: why for step, why in whys.items() if why is not None}


def why_denied(log: Path | None, registry: Path | None) -> str | None:
    """Returns why this user has no permission to record a change; None if the user has it.

    Args:
        log: The path of the audit log; None if the change is not logged.
        registry: The path of the changed registry; None if no registry is changed.
    """
    if registry is not None and (why := why_not_written(registry)) is not None:
        return why
    error = denial(log) if log is not None else None
    return None if error is None else f"it cannot be logged: {error.brief}"


def log_of_step(plan: Plan, step: Step) -> Path | None:
    """Returns the path of the audit log that receives the entries of a step, or None."""
    if step.source is not None:
        return step.source.audit_log
    return log_in(plan.home) if plan.home is not None else None


def registry_of_step(step: Step) -> Path | None:
    """Returns the path of the registry that a step changes, or None."""
    return step.source.files[0].path if step.writes and step.source is not None else None


def why_not_written(registry: Path) -> str | None:
    """Returns why this user has no permission to write a registry; None if the user has it."""
    if not is_denied(registry):
        return None
    return (
        f"this user cannot write {shown_name(registry)}; make the file writable for this user, or "
        "run muster as its owner"
    )
