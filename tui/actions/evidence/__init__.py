"""The evidence for an action: what tmux, the processes, the files and the registries say now."""
