"""Tests of `tui.live`."""
