"""The monitor: calls the roll of the agents on a host, on a screen or without one."""

__version__ = "0.1.0"
