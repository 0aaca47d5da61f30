"""Tests of `tui.host.process`, with real tmux and processes."""
