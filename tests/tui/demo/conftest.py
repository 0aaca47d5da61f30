"""The terminals in which tests run the demo."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.demos import Bystander, Terminal


@pytest.fixture
def bystander(tmp_path: Path) -> Iterator[Bystander]:
    with tempfile.TemporaryDirectory(dir="/tmp") as sockets:
        (tmp_path / "home").mkdir()
        user = Bystander(tmp_path / "home", Path(sockets))
        yield user
        user.close()


@pytest.fixture
def terminal(tmp_path: Path, bystander: Bystander) -> Iterator[Callable[..., Terminal]]:
    opened: list[Terminal] = []

    def open_one(how: str, *words: str) -> Terminal:
        opened.append(Terminal(tmp_path / "note.json", how, bystander.environment, *words))
        return opened[-1]

    yield open_one
    for each in opened:
        each.close()
