"""Tests of `tui.actions`."""
