"""`muster demo`: a private tmux server with agents that work, stall, die and leak."""
