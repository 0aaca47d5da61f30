"""Tests of `tui.details`."""
