"""The driver of the terminal, which leaves no picture of muster behind."""

from __future__ import annotations

from textual.drivers.linux_driver import LinuxDriver


class ClearingDriver(LinuxDriver):
    """Clears the screen before another program gets the terminal.

    Some terminals have no alternate screen, for example mosh, and GNU screen by default. They
    would keep the picture of muster, and show the shell's prompt in the picture.
    """

    def stop_application_mode(self) -> None:
        """Clears the screen, and restores the modes of the terminal."""
        self.write("\x1b[H\x1b[2J")
        super().stop_application_mode()
