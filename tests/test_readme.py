"""What the README says of the tests and of the commands is so."""

from __future__ import annotations

import re
from pathlib import Path

from tui.cli.main import _COMMANDS

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_every_test_that_the_readme_names_is_there() -> None:
    named = set(re.findall(r"`(test_\w+)`", README))
    assert len(named) > 15
    there = set()
    for path in (ROOT / "tests").rglob("test_*.py"):
        there |= set(re.findall(r"def (test_\w+)\(", path.read_text(encoding="utf-8")))
    assert named <= there, named - there


def test_every_command_is_in_the_readme() -> None:
    for command in filter(None, _COMMANDS):
        assert f"muster {command}" in README
