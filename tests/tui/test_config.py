"""What a user may set."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tui.config import policy_from
from tui.console import UsageError
from tui.roll import Policy


def test_nothing_set_is_the_default() -> None:
    assert policy_from({"MUSTER_WORKSPACES": "/x", "MUSTER_PROOF": ""}) == Policy()


@pytest.mark.parametrize(
    ("variable", "field", "value"),
    [
        ("MUSTER_PROOF", "proof", 2.5),
        ("MUSTER_START_GRACE", "start_grace", 30.0),
        ("MUSTER_STALL_AFTER", "stall_after", 60.0),
        ("MUSTER_ORPHAN_GRACE", "orphan_grace", 20.0),
        ("MUSTER_MADE_AFTER", "made_after", 600.0),
        ("MUSTER_MADE_BEFORE", "made_before", 10.0),
    ],
)
def test_each_is_set_by_its_variable(variable: str, field: str, value: float) -> None:
    assert policy_from({variable: str(value)}) == replace(Policy(), **{field: value})


@pytest.mark.parametrize("text", ["0", "0.7", "-1", "nan", "inf", "soon", "1e999"])
def test_no_death_is_proven_for_less(text: str) -> None:
    with pytest.raises(UsageError, match=r"MUSTER_PROOF must be 0.75 seconds or more"):
        policy_from({"MUSTER_PROOF": text})
