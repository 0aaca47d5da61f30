"""Puts the manual pages into the wheel. Hatchling runs this hook; see `pyproject.toml`."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class ManualPages(BuildHookInterface):  # type: ignore[type-arg]
    """Makes the manual pages from the help pages, for each wheel that is not editable."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Makes the pages before the build."""
        self._directory = tempfile.mkdtemp()
        if version == "editable":
            return
        sys.path.insert(0, self.root)
        from tui.cli.manual import pages

        for name, text in pages().items():
            path = os.path.join(self._directory, name)
            with open(path, "w", encoding="ascii") as file:
                file.write(text)
            build_data["shared_data"][path] = f"share/man/man1/{name}"

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """Removes the pages after the build."""
        shutil.rmtree(self._directory)
