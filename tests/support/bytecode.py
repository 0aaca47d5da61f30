"""Compiled modules of the tests and of the programs that tests start.

pytest imports this module before its plugins, so that their compiled modules are kept, too.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest
from _pytest.assertion import rewrite
from _pytest.assertion.rewrite import assertstate_key

KEPT = Path(__file__).parents[2] / ".pytest_cache" / "bytecode"
"""The directory of compiled modules if Python must not write them beside the sources."""


def keep_bytecode() -> None:
    """Makes this process and its children keep the compiled modules.

    If ``PYTHONDONTWRITEBYTECODE`` is set, the compiled modules are kept in pytest's cache, because
    the user wants no such files beside the sources.
    """
    if not sys.dont_write_bytecode:
        return
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    os.environ["PYTHONPYCACHEPREFIX"] = sys.pycache_prefix = str(KEPT)
    sys.dont_write_bytecode = False


def compile_ahead(config: pytest.Config, paths: Iterable[Path], processes: int) -> None:
    """Compiles the changed test modules, so that each worker does not compile all of them.

    Args:
        config: pytest's configuration, for the rewriting of asserts.
        paths: The test modules.
        processes: The number of processes that share the work.
    """
    changed = [(path, compiled) for path in paths if not _is_kept(path, compiled := _kept(path))]
    children = []
    for number in range(processes if changed else 0):
        if (child := os.fork()) == 0:
            try:
                for path, compiled in changed[number::processes]:
                    compiled.parent.mkdir(parents=True, exist_ok=True)
                    source, code = rewrite._rewrite_test(path, config)
                    rewrite._write_pyc(config.stash[assertstate_key], code, source, compiled)
            finally:
                # The worker that imports a module reports a syntax error.
                os._exit(0)
        children.append(child)
    for child in children:
        os.waitpid(child, 0)


def _kept(path: Path) -> Path:
    return rewrite.get_cache_dir(path) / (path.stem + rewrite.PYC_TAIL)


def _is_kept(path: Path, compiled: Path) -> bool:
    return rewrite._read_pyc(path, compiled) is not None


keep_bytecode()
