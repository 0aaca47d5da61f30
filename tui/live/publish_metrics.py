"""Publishes the lock metrics of this process; ignores errors."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from registry.errors import RegistryError
from registry.metrics_file import publish_metrics


def publish_quietly(workspaces: Iterable[Path]) -> None:
    """Adds the lock metrics of this process to the metrics files of workspaces."""
    for workspace in workspaces:
        with suppress(RegistryError, OSError):
            publish_metrics(workspace)
