"""Tests of `tui.actions.evidence`."""
