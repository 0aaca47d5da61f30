"""The host: its tmux server, its processes, its files' changes. I/O, no screen."""
