"""Checks that a commit of two files changes a task's registry and its workspace's global registry.

A journal names the other file of its commit, and recovery opens that file for writing. So a
journal must not be able to name any other file.
"""

from __future__ import annotations

import os
from pathlib import Path

from registry.storage.files.anchor import identity_of
from registry.storage.journal import Journal, Role
from registry.text import quoted_name

TASK_REGISTRY = "AGENT_REGISTRY.json"
GLOBAL_FOLDER = "registry"
GLOBAL_REGISTRY = "GLOBAL_REGISTRY.json"

_GLOBAL = (GLOBAL_FOLDER, GLOBAL_REGISTRY)


def workspace_of(registry: Path) -> Path:
    """Returns the path of a registry's workspace, derived from the path of the registry.

    Symlinks in the path are not resolved, because another user could have changed them.
    """
    folder = registry.parent
    return folder / ".." if folder.name in ("", "..") else folder.parent


def _parts(registry: Path) -> tuple[str, str]:
    folder = registry.parent
    named = folder.name not in ("", "..")
    return folder.name if named else os.path.basename(os.path.realpath(folder)), registry.name


def _is_task(parts: tuple[str, str]) -> bool:
    folder, name = parts
    return name == TASK_REGISTRY and folder not in ("", ".", "..", GLOBAL_FOLDER)


def are_partners(first: Path, second: Path) -> bool:
    """Returns whether the paths are of a task's registry and its workspace's global registry."""
    one, two = workspace_of(first), workspace_of(second)
    named = _is_task(_parts(first)) and _parts(second) == _GLOBAL
    return named and (one == two or identity_of(one) == identity_of(two))


def name_for_partner(registry: Path) -> str:
    """Returns the path of a registry, relative to the directory of the commit's other file."""
    return "/".join(("..", *_parts(registry)))


def partner_of(journal: Journal, registry: Path) -> Path | None:
    """Returns the other file of a journal's commit; None if the commit has one file.

    Args:
        journal: The journal of the registry.
        registry: The path of the registry.

    Raises:
        ValueError: The role of the registry in the commit, or the other file, is wrong. The only
            right pair is a task's registry, which is first, and the global registry of its
            workspace.
    """
    if journal.role is Role.ALONE:
        return None
    ours = _parts(registry)
    above, *rest = (journal.partner or "").split("/")
    named = (rest[0], rest[1]) if above == ".." and len(rest) == 2 else ("", "")
    first = journal.role is Role.FIRST and _is_task(ours) and named == _GLOBAL
    second = journal.role is Role.SECOND and ours == _GLOBAL and _is_task(named)
    if (first or second) and "\0" not in named[0]:
        return workspace_of(registry).joinpath(*named)
    raise ValueError(
        f"names {quoted_name(journal.partner, 200)} as the other file of its commit (role of this "
        f"file: {journal.role.value}), which is not the other registry of its workspace"
    )
