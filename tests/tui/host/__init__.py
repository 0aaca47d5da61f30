"""The promises that `tui.host` keeps, with real tmux, processes and files."""
