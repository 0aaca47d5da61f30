"""The processes of this machine: what /proc says of them, and which belong to a session."""
