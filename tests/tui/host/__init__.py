"""Tests of `tui.host`, with real tmux, processes and files."""
