"""muster's changes of a database in any order with those of the orchestrator's processes."""

from __future__ import annotations

import pytest
from hypothesis import Phase, settings

from tests.support.database_machine import DatabaseMachine

TestDatabase = DatabaseMachine.TestCase
TestDatabase.settings = settings(max_examples=8, stateful_step_count=12)


class _Longer(DatabaseMachine):
    pass


TestDatabaseForLong = pytest.mark.torture(_Longer.TestCase)
TestDatabaseForLong.settings = settings(
    max_examples=150,
    stateful_step_count=30,
    # Each step takes some milliseconds, so a shorter example would take minutes.
    phases=(Phase.explicit, Phase.reuse, Phase.generate),
)
