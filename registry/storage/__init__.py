"""Opens, locks, reads and commits JSON files; a commit writes the whole change or nothing."""

from typing import TYPE_CHECKING

from registry.exports import exports

if TYPE_CHECKING:
    from registry.storage.anchor import status_of as status_of
    from registry.storage.codec import MAX_BYTES as MAX_BYTES
    from registry.storage.codec import Json as Json
    from registry.storage.descriptor import close_read as close_read
    from registry.storage.durability import durable_commits as durable_commits
    from registry.storage.hot_journal import is_hot as is_hot
    from registry.storage.instant import Instant as Instant
    from registry.storage.locked_file import DEFAULT_TIMEOUT as DEFAULT_TIMEOUT
    from registry.storage.locked_file import LockedRegistryFile as LockedRegistryFile
    from registry.storage.metrics import WAIT_BOUNDS as WAIT_BOUNDS
    from registry.storage.metrics import LockMetrics as LockMetrics
    from registry.storage.metrics import total as total
    from registry.storage.path_walk import is_open_to_others as is_open_to_others
    from registry.storage.path_walk import others_may_replace as others_may_replace
    from registry.storage.path_walk import others_may_replace_in as others_may_replace_in
    from registry.storage.path_walk import steps as steps
    from registry.storage.permissions import is_unmapped as is_unmapped
    from registry.storage.presence import may_exist as may_exist
    from registry.storage.recovery import recover_registry as recover_registry
    from registry.storage.safe_open import is_safe_name as is_safe_name
    from registry.storage.safe_open import open_regular as open_regular
    from registry.storage.writers import Writers as Writers
    from registry.storage.writers import is_believed as is_believed
    from registry.storage.writers import outsider_of as outsider_of
    from registry.storage.writers import writers_of as writers_of
else:
    __getattr__, __dir__ = exports(
        __name__,
        {
            "anchor": ("status_of",),
            "codec": (
                "Json",
                "MAX_BYTES",
            ),
            "descriptor": ("close_read",),
            "durability": ("durable_commits",),
            "hot_journal": ("is_hot",),
            "instant": ("Instant",),
            "locked_file": (
                "DEFAULT_TIMEOUT",
                "LockedRegistryFile",
            ),
            "metrics": (
                "LockMetrics",
                "WAIT_BOUNDS",
                "total",
            ),
            "path_walk": (
                "is_open_to_others",
                "others_may_replace",
                "others_may_replace_in",
                "steps",
            ),
            "permissions": ("is_unmapped",),
            "presence": ("may_exist",),
            "recovery": ("recover_registry",),
            "safe_open": (
                "is_safe_name",
                "open_regular",
            ),
            "writers": (
                "Writers",
                "is_believed",
                "outsider_of",
                "writers_of",
            ),
        },
    )
