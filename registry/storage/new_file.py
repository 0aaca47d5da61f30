"""New files and folders, which have their name only once they are as they should be.

A process may be killed between any two steps. A file that had its name before it had its
owner and mode would stay in the way of everybody else then. So a file is made without a name,
prepared, and linked; a folder is prepared under another name, and renamed.

What root makes in a folder is given to the owner of that folder, as if that user had made it:
`sudo muster` must not keep that user out of its own workspace.
"""

from __future__ import annotations

import errno
import os
import secrets
import stat
from collections.abc import Callable
from typing import TypeAlias

from registry.storage.descriptor import Descriptor, close_read, open_owned
from registry.storage.interruption import hand_on, tolerating

Prepare: TypeAlias = Callable[[int], None]
"""Makes a new file, which is open for reading and writing, what it should be."""

# Where a file system has no files without a name, or they cannot be linked; each system says
# it in its own way. ENOENT: also without /proc.
_NO_NAMELESS_FILES = (
    errno.EOPNOTSUPP,
    errno.EISDIR,
    errno.EINVAL,
    errno.ENOENT,
    errno.EPERM,
)
_NOREPLACE = 1  # RENAME_NOREPLACE of renameat2(2)


def give_away(fd: int, folder: int) -> None:
    """Gives what root made to the owner of the folder that it is made in.

    Args:
        fd: What was made.
        folder: A descriptor of the folder, of any kind.
    """
    owner = _new_owner(folder)
    if owner is not None:
        # Root of a container may not give to every user.
        with tolerating(OSError):
            os.fchown(fd, owner, -1)


def _new_owner(folder: int) -> int | None:
    """The user that a thing of root's in a folder is to be given to; None for nobody."""
    if os.geteuid() != 0:
        return None
    owner = os.fstat(folder).st_uid
    return None if owner == 0 else owner


def make_file(name: str, folder: int, mode: int, prepare: Prepare) -> Descriptor:
    """Makes a file, if nothing has its name.

    Where the file system has no files without a name, it has its name from the start.

    Args:
        name: Its name.
        folder: A descriptor of the folder that it is to lie in, of any kind.
        mode: Its permission bits, as the umask leaves them.
        prepare: Called before it has its name.

    Returns:
        It, open for reading and writing.

    Raises:
        FileExistsError: Something has its name.
        OSError: It cannot be made.
    """
    file = make_nameless(name, folder, mode, prepare)
    if file is not None:
        return file
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
    file = open_owned(name, flags, mode, dir_fd=folder)
    try:
        prepare(file.fileno())
    except BaseException:
        close_read(file)
        with tolerating(FileNotFoundError):
            os.unlink(name, dir_fd=folder)
        raise
    return file


def make_nameless(name: str, folder: int, mode: int, prepare: Prepare) -> Descriptor | None:
    """As `make_file`; returns None where the file system has no files without a name."""
    try:
        file = open_owned(".", os.O_RDWR | os.O_TMPFILE, mode, dir_fd=folder)
        try:
            prepare(file.fileno())
            here = f"/proc/self/fd/{file.fileno()}"
            os.link(here, name, dst_dir_fd=folder, follow_symlinks=True)
        except BaseException:
            close_read(file)
            raise
    except OSError as error:
        hand_on(error)
        if error.errno not in _NO_NAMELESS_FILES:
            raise
        return None
    return file


def make_folder(name: str, folder: int) -> None:
    """Makes a folder in another, if nothing has its name.

    Raises:
        FileExistsError: Something has its name.
        OSError: It cannot be made.
    """
    if _new_owner(folder) is None or not _make_renamed(name, folder):
        os.mkdir(name, dir_fd=folder)
        _give_folder_away(name, folder)


def _make_renamed(name: str, folder: int) -> bool:
    """As `make_folder`; False where nothing can be renamed without replacing what is there.

    A process that is killed in between leaves an empty folder whose name ends in ``.new``.
    """
    with tolerating(FileNotFoundError):
        os.stat(name, dir_fd=folder, follow_symlinks=False)
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), name)
    beside = f".{name}.{secrets.token_hex(6)}.new"
    os.mkdir(beside, dir_fd=folder)
    try:
        _give_folder_away(beside, folder)
        return _rename(beside, name, folder)
    finally:
        with tolerating(OSError):
            os.rmdir(beside, dir_fd=folder)


def _give_folder_away(name: str, folder: int) -> None:
    if _new_owner(folder) is None:
        return
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
    with open_owned(name, flags, dir_fd=folder) as made:
        status = os.fstat(made.fileno())
        # Whoever may write the folder may have put another of root's there: with something in it.
        if status.st_uid == 0 and stat.S_ISDIR(status.st_mode) and not os.listdir(made.fileno()):
            give_away(made.fileno(), folder)


def _rename(old: str, new: str, folder: int) -> bool:
    """Renames a folder; False where the system cannot do that without replacing what is there.

    Raises:
        FileExistsError: Something has its new name.
        OSError: It cannot be renamed.
    """
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    if not hasattr(libc, "renameat2"):
        return False
    if libc.renameat2(folder, os.fsencode(old), folder, os.fsencode(new), _NOREPLACE) == 0:
        return True
    number = ctypes.get_errno()
    if number in (errno.ENOSYS, errno.EINVAL):
        return False
    raise OSError(number, os.strerror(number), new)
