"""Which two registries one commit may change: those of one task and of its workspace.

A journal names the other file of its commit, and whoever follows it opens that
for writing. So no other file may be named there.
"""

from __future__ import annotations

import os
from pathlib import Path

from registry.storage.anchor import identity_of
from registry.storage.journal import Journal, Role
from registry.text import quoted_name

TASK_REGISTRY = "AGENT_REGISTRY.json"
GLOBAL_FOLDER = "registry"
GLOBAL_REGISTRY = "GLOBAL_REGISTRY.json"

_GLOBAL = (GLOBAL_FOLDER, GLOBAL_REGISTRY)


def workspace_of(registry: Path) -> Path:
    """The workspace that a registry lies in, by the path that the registry was named by.

    Its symlinks are not resolved: what they lead to now may be another workspace.
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
    """Whether two registries are a task's and the global one of the same workspace."""
    one, two = workspace_of(first), workspace_of(second)
    named = _is_task(_parts(first)) and _parts(second) == _GLOBAL
    return named and (one == two or identity_of(one) == identity_of(two))


def name_for_partner(registry: Path) -> str:
    """What the journal of its partner calls a registry."""
    return "/".join(("..", *_parts(registry)))


def partner_of(journal: Journal, registry: Path) -> Path | None:
    """The other file of a journal's commit; None where the commit is of one file.

    Args:
        journal: What was found beside the registry.
        registry: Its path.

    Raises:
        ValueError: The journal names anything but the other registry of the same
            workspace, or has the part in the commit that is the other file's.
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
        f"names {quoted_name(journal.partner, 200)} as the {journal.role.value} commit's other "
        "file, which is not the other registry of its workspace"
    )
