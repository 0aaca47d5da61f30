"""What a user may set: when a verdict is sure enough."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import fields

from tui.console import UsageError
from tui.roll import Policy

# What an orchestrator needs until an agent is written down, with room to spare, bounds
# the graces from below; proof of a death is never had for less than the default.
_AT_LEAST = {
    "proof": Policy().proof,
    "start_grace": 3.0,
    "orphan_grace": 3.0,
    "made_after": 5.0,
    "made_before": 5.0,
}


def policy_from(environment: Mapping[str, str]) -> Policy:
    """The policy, with what the environment sets of it.

    Each field is set by a variable, in seconds: `start_grace` by
    ``MUSTER_START_GRACE``, and so on.

    Args:
        environment: The process's environment.

    Raises:
        UsageError: A value is no number, or less than is safe.
    """
    given: dict[str, float] = {}
    for each in fields(Policy):
        variable = f"MUSTER_{each.name.upper()}"
        text = environment.get(variable, "")
        if not text:
            continue
        least = _AT_LEAST.get(each.name, 0.0)
        try:
            given[each.name] = float(text)
        except ValueError:
            given[each.name] = math.nan
        if not least <= given[each.name] < math.inf:
            raise UsageError(f"{variable} must be {least:g} seconds or more, not {text!r}")
    return Policy(**given)
