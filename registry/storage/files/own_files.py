"""Opens and creates muster's own files in a workspace, and checks their owners.

The directory of a workspace is trusted, because the user named it. The directory must stay the
same (`files.anchor`). The content of the directory may come from another user. That user must not
be able to make root write to another place, or to forge a file of root. So the `registry` folder
and muster's files in it must not be links. The files must belong to this user, to root or to the
folder's owner.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from registry.errors import NotARegularFileError, UntrustedFileError
from registry.storage.files.anchor import checked, open_anchor
from registry.storage.files.descriptor import Descriptor, close_read, open_owned
from registry.storage.files.interruption import hand_on, tolerating
from registry.storage.files.new_file import give_away, make_file, make_folder
from registry.storage.files.permissions import is_unmapped
from registry.storage.files.safe_open import kind_name, open_past_lease
from registry.storage.partner import GLOBAL_FOLDER
from registry.text import shown_name


@contextmanager
def own_folder(path: Path) -> Iterator[int]:
    """Yields a descriptor of a file's folder, which must not be a symlink.

    The path above the folder may contain symlinks, but must always lead to the same directory
    (`files.anchor`). The folder must also stay the same, unless it is the `registry` folder of a
    workspace.

    Raises:
        FileNotFoundError: The folder does not exist.
        UntrustedFileError: The folder is a symlink, or is not a directory.
        ReplacedWorkspaceError: The path leads to another directory than at its first use.
        OSError: The folder cannot be opened.
    """
    folder = _open_folder(path)
    try:
        yield folder.fileno()
    finally:
        close_read(folder)


def _open_folder(path: Path) -> Descriptor:
    directory = path.parent
    above = open_anchor(directory.parent)
    try:
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
        folder = open_owned(directory.name or ".", flags, dir_fd=above.fileno())
    except NotADirectoryError as error:
        hand_on(error)
        raise UntrustedFileError(
            path, f"{shown_name(directory)} is a link or a file, not a folder; move it aside"
        ) from None
    finally:
        close_read(above)
    return folder if directory.name == GLOBAL_FOLDER else checked(directory, folder)


def check_folder(path: Path, folder: int) -> None:
    """Checks that the path of a file leads to a folder that is already open.

    Args:
        path: The path of the file.
        folder: The descriptor of the folder.

    Raises:
        UntrustedFileError: The path leads to another folder, or the folder does not exist.
        OSError: The folder cannot be opened.
    """
    try:
        with own_folder(path) as present:
            if os.path.samestat(os.fstat(present), os.fstat(folder)):
                return
    except FileNotFoundError as error:
        hand_on(error)
    raise UntrustedFileError(
        path, f"{shown_name(path.parent)} was moved while it was used; try again"
    )


def make_own_folder(path: Path) -> None:
    """Creates the `registry` folder of an existing workspace, if the folder is missing.

    Args:
        path: The path of a file in this folder. For a file in another folder, nothing is created.

    Raises:
        ReplacedWorkspaceError: The path leads to another workspace than at its first use.
        OSError: The folder cannot be created.
    """
    if path.parent.name == GLOBAL_FOLDER:
        base = open_anchor(path.parent.parent)
        try:
            with tolerating(FileExistsError):
                make_folder(GLOBAL_FOLDER, base.fileno())
        finally:
            close_read(base)


def make_empty(path: Path, folder: int, mode: int, group: int | None = None) -> bool:
    """Creates an empty file, unless the file exists.

    A file that root creates gets the owner of the folder.

    Args:
        path: The path of the file.
        folder: The descriptor of the file's folder.
        mode: The permission bits. If `group` is None, the umask is applied to the bits.
        group: The id of the group for the file. If this user cannot set this group, the file's
            group gets no permission to write.

    Returns:
        Whether the file was created.

    Raises:
        UntrustedFileError: The path is a symlink.
        OSError: The file cannot be created.
    """

    def prepare(fd: int) -> None:
        give_away(fd, folder)
        if group is not None:
            with tolerating(OSError):
                os.fchown(fd, -1, group)
            os.fchmod(fd, mode if os.fstat(fd).st_gid == group else mode & ~0o020)

    with tolerating(FileNotFoundError):
        # Checked before the open, which would treat a dangling symlink like a missing file.
        named_status(path, folder)
        return False
    try:
        close_read(make_file(path.name, folder, mode, prepare))
    except FileExistsError as error:
        hand_on(error)
        with tolerating(FileNotFoundError):
            named_status(path, folder)
        return False
    return True


def open_own(path: Path, folder: int) -> Descriptor | None:
    """Opens a file for reading, without following links and without blocking.

    Returns:
        The descriptor; None if the file does not exist.

    Raises:
        NotARegularFileError: The file is, for example, a directory or a FIFO.
        UntrustedFileError: The path is a symlink.
        OSError: The file cannot be opened.
    """
    try:
        _check_regular(path, named_status(path, folder).st_mode)
        return open_past_lease(path.name, os.O_RDONLY | os.O_NOFOLLOW, folder)
    except FileNotFoundError as error:
        hand_on(error)
        return None


def _check_regular(path: Path, mode: int) -> None:
    if not stat.S_ISREG(mode):
        raise NotARegularFileError(path, kind_name(mode))


def named_status(path: Path, folder: int) -> os.stat_result:
    """Returns the status of a file, which must not be a symlink.

    Raises:
        UntrustedFileError: The path is a symlink.
        FileNotFoundError: The file does not exist.
    """
    named = os.stat(path.name, dir_fd=folder, follow_symlinks=False)
    if stat.S_ISLNK(named.st_mode):
        raise UntrustedFileError(path, "is a symlink; move it aside")
    return named


def check_same(path: Path, fd: int, folder: int) -> None:
    """Checks that a descriptor and a name in an open folder lead to the same file.

    Args:
        path: The path by which the descriptor was opened; its last part is the name.
        fd: The descriptor of the file.
        folder: The descriptor of the folder.

    Raises:
        UntrustedFileError: The files differ: a directory in the path was replaced by a link.
    """
    opened, named = os.fstat(fd), named_status(path, folder)
    if (opened.st_dev, opened.st_ino) != (named.st_dev, named.st_ino):
        raise UntrustedFileError(path, "was replaced while it was opened; try again")


def check_owner(path: Path, status: os.stat_result, folder: int) -> None:
    """Refuses a file that another user may have created in place of muster's own file.

    Args:
        path: The path of the file, for errors.
        status: The status of the open file.
        folder: The descriptor of the file's folder.

    Raises:
        NotARegularFileError: The file is, for example, a directory or a FIFO.
        UntrustedFileError: The file has a second hard link, or belongs to an untrusted user.
    """
    _check_regular(path, status.st_mode)
    # The number of links is 0 if another process removed the file meanwhile.
    if status.st_nlink > 1:
        raise UntrustedFileError(path, "has a second name (hard link); move it aside")
    ours = (os.geteuid(), 0, os.fstat(folder).st_uid)
    if status.st_uid not in ours or is_unmapped(status.st_uid):
        why = f"belongs to another user (user id {status.st_uid}); move it aside"
        raise UntrustedFileError(path, why)
