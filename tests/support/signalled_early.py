"""Runs muster for a test, and sends it a signal as soon as it has taken the terminal.

The first argument is the number of the signal. The other arguments are those of `alone.py`.
"""

from __future__ import annotations

import os
import runpy
import sys
from pathlib import Path

from textual.drivers.linux_driver import LinuxDriver

NUMBER = int(sys.argv.pop(1))
_take_terminal = LinuxDriver.start_application_mode


def take_terminal(driver: LinuxDriver) -> None:
    _take_terminal(driver)  # type: ignore[no-untyped-call]
    os.kill(os.getpid(), NUMBER)


LinuxDriver.start_application_mode = take_terminal  # type: ignore[method-assign]
runpy.run_path(str(Path(__file__).with_name("alone.py")), run_name="__main__")
