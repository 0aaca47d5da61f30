"""Creates files and folders that get their name only after their owner and mode are set.

A process may be killed between any two steps. A file that has a name, but a wrong owner or mode,
would then block all other users. So a file is created without a name, prepared, and then linked to
its name. A folder is prepared under another name, and then renamed. A file is also prepared under
another name if the file system does not support files without a name.

A file that root creates gets the owner of its folder. So after `sudo muster`, a user can use their
own workspace.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from typing import TypeAlias

from registry.storage.files.descriptor import Descriptor, close_read, open_owned
from registry.storage.files.interruption import hand_on, tolerating

Prepare: TypeAlias = Callable[[int], None]
"""Sets the owner and mode of a new file, whose descriptor is the argument."""

# The errors of systems that do not support files without a name, or cannot link such files.
# ENOENT occurs if /proc is not mounted.
_NO_NAMELESS_FILES = (
    errno.EOPNOTSUPP,
    errno.EISDIR,
    errno.EINVAL,
    errno.ENOENT,
    errno.EPERM,
)
_NOREPLACE = 1  # RENAME_NOREPLACE of renameat2(2).


def give_away(fd: int, folder: int) -> None:
    """Gives a file to the owner of its folder, if this process runs as root.

    Args:
        fd: The descriptor of the file.
        folder: A descriptor of the folder; a descriptor with `O_PATH` is enough.
    """
    owner = _new_owner(folder)
    if owner is not None:
        # In a container, root may not be able to give files to every user.
        with tolerating(OSError):
            os.fchown(fd, owner, -1)


def _new_owner(folder: int) -> int | None:
    """Returns the id of the user to whom a new file in a folder is given; None for nobody."""
    if os.geteuid() != 0:
        return None
    owner = os.fstat(folder).st_uid
    return None if owner == 0 else owner


def make_file(name: str, folder: int, mode: int, prepare: Prepare) -> Descriptor:
    """Creates a file, unless the name is already used.

    Args:
        name: The name of the file.
        folder: A descriptor of the file's folder; a descriptor with `O_PATH` is enough.
        mode: The permission bits, to which the umask is applied.
        prepare: Called with the descriptor of the file before the file gets its name.

    Returns:
        A descriptor, open for reading and writing.

    Raises:
        FileExistsError: The name is already used.
        OSError: The file cannot be created.
    """
    file = make_nameless(name, folder, mode, prepare)
    return _make_under_other_name(name, folder, mode, prepare) if file is None else file


def _make_under_other_name(name: str, folder: int, mode: int, prepare: Prepare) -> Descriptor:
    """Creates a file like `make_file`, under another name first.

    If the process is killed before it renames the file, a file with a name that ends in ``.new``
    stays.
    """
    beside = f".{name}.{os.urandom(6).hex()}.new"
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
    file = open_owned(beside, flags, mode, dir_fd=folder)
    try:
        prepare(file.fileno())
        if not _rename(beside, name, folder):
            os.link(beside, name, src_dir_fd=folder, dst_dir_fd=folder, follow_symlinks=False)
    except BaseException:
        close_read(file)
        raise
    finally:
        with tolerating(FileNotFoundError):
            os.unlink(beside, dir_fd=folder)
    return file


def make_nameless(name: str, folder: int, mode: int, prepare: Prepare) -> Descriptor | None:
    """Creates a file like `make_file`. The file has no name until it is prepared.

    Returns:
        A descriptor; None if the file system does not support files without a name.

    Raises:
        OSError: See `make_file`.
    """
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
    """Creates a folder in another folder.

    Args:
        name: The name of the new folder.
        folder: A descriptor of the other folder.

    Raises:
        FileExistsError: The name is already used.
        OSError: The folder cannot be created.
    """
    if _new_owner(folder) is None or not _make_renamed(name, folder):
        os.mkdir(name, dir_fd=folder)
        _give_folder_away(name, folder)


def _make_renamed(name: str, folder: int) -> bool:
    """Creates a folder under another name, and then renames the folder.

    If the process is killed before it renames the folder, an empty folder with a name that ends in
    ``.new`` stays.

    Returns:
        Whether the folder was created; False if the system cannot rename a folder without
        replacing an existing file.
    """
    with tolerating(FileNotFoundError):
        os.stat(name, dir_fd=folder, follow_symlinks=False)
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), name)
    beside = f".{name}.{os.urandom(6).hex()}.new"
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
        # A user who can write the parent folder could have moved another folder of root to this
        # name. So only an empty folder is given away.
        if status.st_uid == 0 and stat.S_ISDIR(status.st_mode) and not os.listdir(made.fileno()):
            give_away(made.fileno(), folder)


def _rename(old: str, new: str, folder: int) -> bool:
    """Renames a file or folder without replacing an existing file.

    Returns:
        Whether the file or folder was renamed; False if the system does not support this.

    Raises:
        FileExistsError: The new name is already used.
        OSError: The file or folder cannot be renamed.
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
