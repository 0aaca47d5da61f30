"""The benchmarks: how fast muster is, compared with other programs in the same run.

python -m tests.benchmarks [--quick] [--json FILE] [--only start,change,...] [--rounds N]

A full run takes about half an hour. `--quick` takes a minute at most, and only shows that the
benchmarks work. A run fails if an update was lost, and never because of a time.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import platform
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

from tests.benchmarks import (
    changing,
    databases,
    idling,
    scaling,
    sending,
    soaking,
    starting,
    sweeping,
    waiting,
)
from tests.benchmarks.figures import Figure, table
from tests.support.seclusion import seclude

_SECTIONS: dict[str, tuple[str, Callable[[bool], list[Figure]]]] = {
    "start": ("Start", starting.measure),
    "change": ("From a change to the screen", changing.measure),
    "scale": ("Scale", scaling.measure),
    "idle": ("Idle", idling.measure),
    "database": ("One database, compared with JSON", databases.measure),
    "bytes": ("Bytes to the terminal", sending.measure),
    "soak": ("Long use", soaking.measure),
    "tmux": ("tmux", sweeping.measure),
    "locks": ("Locks", waiting.measure),
}


# This section alone takes half an hour.
_LONG = "soak"


def main(arguments: Sequence[str]) -> int:
    """Measures and prints, section by section."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a short run")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    parser.add_argument(
        "--only",
        default=",".join(name for name in _SECTIONS if name != _LONG),
        help=f"sections, separated by commas; by default all but {_LONG}",
    )
    parser.add_argument(
        "--rounds",
        type=int,
        default=soaking.ROUNDS,
        help=f"rounds of {_LONG}, three minutes each; {soaking.ROUNDS} by default",
    )
    options = parser.parse_args(arguments)
    names = options.only.split(",")
    if unknown := set(names) - _SECTIONS.keys():
        parser.error(f"no such section: {', '.join(sorted(unknown))}")
    logging.disable(logging.CRITICAL)
    print(f"Python {platform.python_version()}, {os.cpu_count()} cores")
    found: dict[str, object] = {"python": platform.python_version(), "cores": os.cpu_count()}
    for name in names:
        title, measure = _SECTIONS[name]
        before = os.getloadavg()[0]
        figures = measure(options.quick) if name != _LONG else _soak(options)
        load = f"{before:.1f} before, {os.getloadavg()[0]:.1f} after"
        print(f"\n## {title}\n\n{table(figures)}\n\nLoad of the machine: {load}.", flush=True)
        found[name] = [asdict(each) for each in figures]
    if options.json:
        options.json.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    return 0


def _soak(options: argparse.Namespace) -> list[Figure]:
    return soaking.measure(options.quick, options.rounds)


if __name__ == "__main__":
    seclude()
    sys.exit(main(sys.argv[1:]))
