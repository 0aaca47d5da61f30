"""Compiled modules of the programs that tests start, also where Python is told to keep none."""

from __future__ import annotations

import atexit
import os
import shutil
import sys
import tempfile


def keep_bytecode() -> None:
    """Has this process and those that it starts compile every module once, not each time.

    Where ``PYTHONDONTWRITEBYTECODE`` is set, the compiled modules lie in a directory that
    is gone afterwards: the checkout stays as clean as the user wants it.
    """
    if not sys.dont_write_bytecode:
        return
    directory, owner = tempfile.mkdtemp(prefix="mst-bytecode-"), os.getpid()
    # Tests have programs that run as other users.
    os.chmod(directory, 0o755)

    def remove() -> None:
        if os.getpid() == owner:
            shutil.rmtree(directory, ignore_errors=True)

    atexit.register(remove)
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    os.environ["PYTHONPYCACHEPREFIX"] = sys.pycache_prefix = directory
    sys.dont_write_bytecode = False
