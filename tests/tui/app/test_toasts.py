"""Log records as toasts."""

from __future__ import annotations

from registry.storage import recovery
from tui.app.widgets.toasts import RECOVERY


def test_recoveries_are_known_by_the_name_of_their_logger() -> None:
    assert recovery.__name__ == RECOVERY
