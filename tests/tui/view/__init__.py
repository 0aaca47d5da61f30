"""Tests of `tui.view`."""
