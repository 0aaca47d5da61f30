"""Tests of `tui.text`."""
