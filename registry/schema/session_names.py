"""The names of agents' sessions, as registries and tmux spell them. Pure.

tmux 3.2 to 3.6 replace ``.`` and ``:`` in the name of a session by ``_``. tmux 3.7a and later keep
these characters. So a name with one of these characters has two spellings: the name itself and the
replaced spelling.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

SESSION_PREFIX = "agent_"
"""The usual name of an agent's tmux session is this prefix, followed by the agent's id."""

_REPLACED = str.maketrans(".:", "__")


def replaced_spelling(name: str) -> str:
    """Returns a name with the replacements that tmux 3.2 to 3.6 make when a session is created.

    These versions replace ``.`` and ``:``, because both characters have a meaning in tmux targets
    (see session_check_name in the source of tmux).
    """
    return name.translate(_REPLACED)


def spellings(name: str) -> frozenset[str]:
    """Returns the names under which tmux may list a session that was created with this name."""
    return frozenset({name, replaced_spelling(name)})


def with_two_spellings(names: Iterable[str]) -> frozenset[str]:
    """Returns the names that have two spellings."""
    return frozenset(name for name in names if "." in name or ":" in name)


def all_spellings(names: Iterable[str]) -> frozenset[str] | None:
    """Returns all spellings of all names; None if the spellings of any name are not certain."""
    every = frozenset(names)
    if not all(map(is_tmux_name_certain, every)):
        return None
    return every.union(map(replaced_spelling, every))


def replaced_spellings(names: Collection[str]) -> tuple[Mapping[str, str], Mapping[str, str]]:
    """Returns the replaced spellings of the names that have two spellings.

    Args:
        names: All known names of sessions, as registries spell them.

    Returns:
        Two mappings from a name to the name's replaced spelling. The first mapping has the
        spellings that belong to a single name. The second mapping has the spellings that several
        names share; a session with such a spelling may belong to any of these names.
    """
    users: dict[str, set[str]] = {}
    for name in names:
        users.setdefault(replaced_spelling(name), set()).add(name)
    own: dict[str, str] = {}
    shared: dict[str, str] = {}
    for spelling, its in users.items():
        target = own if len(its) == 1 else shared
        target.update(dict.fromkeys(its - {spelling}, spelling))
    return own, shared


def is_tmux_name_certain(name: str) -> bool:
    """Returns whether `spellings` certainly contains the name that tmux gives to a session.

    tmux expands formats (``#``) in the name of a new session. tmux also escapes backslashes, some
    dollar signs and unprintable characters. The escapes depend on the version of tmux and on the C
    library.
    """
    plain = "#" not in name and "\\" not in name and "$" not in name
    return plain and name.isprintable()
