"""muster's own files in a workspace, beneath which nothing is a link: whose they are.

A workspace's directory is trusted as it was named, and stays the same one
(`registry.storage.anchor`). What lies in it may have been put there by another user: so that
nobody can have root write elsewhere, or believe what it did not write, the `registry` folder
and the files in it must be no links, and must belong to this user, to root or to the
folder's owner.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from registry.errors import NotARegularFileError, UntrustedFileError
from registry.storage.anchor import checked, open_anchor
from registry.storage.descriptor import Descriptor, close_read, open_owned
from registry.storage.interruption import hand_on, tolerating
from registry.storage.new_file import give_away, make_file, make_folder
from registry.storage.partner import GLOBAL_FOLDER
from registry.storage.permissions import is_unmapped
from registry.text import shown_name

_LEASE_PATIENCE = 0.25
_LEASE_PAUSE = 0.002

_KINDS = {stat.S_IFIFO: "a FIFO", stat.S_IFDIR: "a directory", stat.S_IFSOCK: "a socket"}


@contextmanager
def own_folder(path: Path) -> Iterator[int]:
    """The folder that a file lies in, as a descriptor; no symlink is followed to it.

    The directory above it may be reached by symlinks. That directory must be the one that
    its path led to before. So must the folder, unless it is a workspace's `registry` folder.

    Raises:
        FileNotFoundError: It is not there.
        UntrustedFileError: A symlink or something else is in its place.
        ReplacedWorkspaceError: Its path leads to another directory than before.
        OSError: It cannot be opened.
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
            path, f"{shown_name(directory)} is a link or a file, no folder"
        ) from None
    finally:
        close_read(above)
    return folder if directory.name == GLOBAL_FOLDER else checked(directory, folder)


def check_folder(path: Path, folder: int) -> None:
    """Refuses to go on where a file's path no longer leads to the folder that is open.

    Raises:
        UntrustedFileError: It leads to another folder, or to none.
        OSError: It cannot be opened.
    """
    try:
        with own_folder(path) as there:
            if os.path.samestat(os.fstat(there), os.fstat(folder)):
                return
    except FileNotFoundError as error:
        hand_on(error)
    raise UntrustedFileError(
        path, f"{shown_name(path.parent)} was moved while it was used; try again"
    )


def make_own_folder(path: Path) -> None:
    """Makes the `registry` folder that a file is to lie in, in a workspace that is there.

    Raises:
        ReplacedWorkspaceError: Its path leads to another workspace than before.
        OSError: It cannot be made.
    """
    # What is made is made for a workspace that is there, never a workspace for that.
    if path.parent.name == GLOBAL_FOLDER:
        base = open_anchor(path.parent.parent)
        try:
            with tolerating(FileExistsError):
                make_folder(GLOBAL_FOLDER, base.fileno())
        finally:
            close_read(base)


def make_empty(path: Path, folder: int, mode: int, group: int | None = None) -> bool:
    """Makes an empty file where nothing is; one that root makes is the folder's owner's.

    Args:
        path: Where.
        folder: The folder that it lies in.
        mode: Its permission bits, as the umask leaves them; with a group, exactly these.
        group: The group to give it to, where this user may do that.

    Returns:
        Whether it was made.

    Raises:
        UntrustedFileError: A symlink is there.
        OSError: It cannot be made.
    """

    def prepare(fd: int) -> None:
        give_away(fd, folder)
        if group is not None:
            with tolerating(OSError):
                os.fchown(fd, -1, group)
            os.fchmod(fd, mode if os.fstat(fd).st_gid == group else mode & ~0o020)

    with tolerating(FileNotFoundError):
        # Before it is opened: a symlink that leads nowhere would look as if nothing were there.
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
    """Opens a file for reading, through no link; never blocks for what is no regular file.

    Returns:
        It; None if nothing is there.

    Raises:
        NotARegularFileError: Something else is there.
        UntrustedFileError: A symlink is there.
        OSError: It cannot be opened.
    """
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY
    # A writer that lets it go has a lease on it for a moment: then this open is refused.
    until = time.monotonic() + _LEASE_PATIENCE
    while True:
        try:
            _check_regular(path, named_status(path, folder).st_mode)
            return open_owned(path.name, flags, dir_fd=folder)
        except FileNotFoundError as error:
            hand_on(error)
            return None
        except BlockingIOError as error:
            hand_on(error)
            if time.monotonic() > until:
                raise
            time.sleep(_LEASE_PAUSE)


def _check_regular(path: Path, mode: int) -> None:
    if not stat.S_ISREG(mode):
        raise NotARegularFileError(path, _KINDS.get(stat.S_IFMT(mode), "a special file"))


def named_status(path: Path, folder: int) -> os.stat_result:
    """The status of what a path names.

    Raises:
        UntrustedFileError: That is a symlink.
        FileNotFoundError: Nothing is there.
    """
    named = os.stat(path.name, dir_fd=folder, follow_symlinks=False)
    if stat.S_ISLNK(named.st_mode):
        raise UntrustedFileError(path, "is a symlink; move it aside")
    return named


def check_same(path: Path, fd: int, folder: int) -> None:
    """Refuses a file that was opened by its whole path and is not the one in the folder.

    Raises:
        UntrustedFileError: It is another, and so a folder above is or was a link.
    """
    there, named = os.fstat(fd), named_status(path, folder)
    if (there.st_dev, there.st_ino) != (named.st_dev, named.st_ino):
        raise UntrustedFileError(path, "was replaced while it was opened; try again")


def check_owner(path: Path, status: os.stat_result, folder: int) -> None:
    """Refuses what another user put in the place of one of muster's files.

    Args:
        path: What errors call it.
        status: Of the open file.
        folder: The folder that it lies in.

    Raises:
        NotARegularFileError: It is none.
        UntrustedFileError: It has a second name, or belongs to somebody else.
    """
    _check_regular(path, status.st_mode)
    # None at all where it was put aside so often meanwhile that it is gone.
    if status.st_nlink > 1:
        raise UntrustedFileError(path, "has a second name (hard link); move it aside")
    ours = (os.geteuid(), 0, os.fstat(folder).st_uid)
    if status.st_uid not in ours or is_unmapped(status.st_uid):
        why = f"belongs to somebody else (user id {status.st_uid}); move it aside"
        raise UntrustedFileError(path, why)
