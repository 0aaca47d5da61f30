"""The processes of this machine: reads their data from /proc, and finds those of a session."""
