"""The promises that `tui.host.process` keeps, with real tmux and processes."""
