"""Opens, locks, reads and commits JSON files; a commit writes the whole change or nothing."""

from typing import TYPE_CHECKING

from registry.exports import exports

if TYPE_CHECKING:
    from registry.storage.codec import MAX_BYTES as MAX_BYTES
    from registry.storage.codec import Json as Json
    from registry.storage.commit import durable_commits as durable_commits
    from registry.storage.files.anchor import status_of as status_of
    from registry.storage.files.descriptor import close_read as close_read
    from registry.storage.files.path_walk import is_open_to_others as is_open_to_others
    from registry.storage.files.path_walk import others_may_replace as others_may_replace
    from registry.storage.files.path_walk import others_may_replace_in as others_may_replace_in
    from registry.storage.files.path_walk import steps as steps
    from registry.storage.files.permissions import is_denied as is_denied
    from registry.storage.files.permissions import is_unmapped as is_unmapped
    from registry.storage.files.presence import may_exist as may_exist
    from registry.storage.files.safe_open import is_safe_name as is_safe_name
    from registry.storage.files.safe_open import open_regular as open_regular
    from registry.storage.files.whole_file import create_whole as create_whole
    from registry.storage.files.whole_file import replace_whole as replace_whole
    from registry.storage.files.writers import Writers as Writers
    from registry.storage.files.writers import is_believed as is_believed
    from registry.storage.files.writers import outsider_of as outsider_of
    from registry.storage.files.writers import writers_of as writers_of
    from registry.storage.hot_journal import is_hot as is_hot
    from registry.storage.locked_file import DEFAULT_TIMEOUT as DEFAULT_TIMEOUT
    from registry.storage.locked_file import LockedRegistryFile as LockedRegistryFile
    from registry.storage.metrics import WAIT_BOUNDS as WAIT_BOUNDS
    from registry.storage.metrics import LockMetrics as LockMetrics
    from registry.storage.metrics import total as total
    from registry.storage.recovery import recover_registry as recover_registry
else:
    __getattr__, __dir__ = exports(
        __name__,
        {
            "files.anchor": ("status_of",),
            "codec": (
                "Json",
                "MAX_BYTES",
            ),
            "files.descriptor": ("close_read",),
            "commit": ("durable_commits",),
            "hot_journal": ("is_hot",),
            "locked_file": (
                "DEFAULT_TIMEOUT",
                "LockedRegistryFile",
            ),
            "metrics": (
                "LockMetrics",
                "WAIT_BOUNDS",
                "total",
            ),
            "files.path_walk": (
                "is_open_to_others",
                "others_may_replace",
                "others_may_replace_in",
                "steps",
            ),
            "files.permissions": (
                "is_denied",
                "is_unmapped",
            ),
            "files.presence": ("may_exist",),
            "recovery": ("recover_registry",),
            "files.safe_open": (
                "is_safe_name",
                "open_regular",
            ),
            "files.whole_file": (
                "create_whole",
                "replace_whole",
            ),
            "files.writers": (
                "Writers",
                "is_believed",
                "outsider_of",
                "writers_of",
            ),
        },
    )
