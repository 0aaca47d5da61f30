"""Tests of `tui.doctor`."""
