"""The roll kept up to date: collects what registries and tmux say and hands on the newest roll."""
