"""muster: monitors the agents on a host, on a screen or with commands."""

__version__ = "0.1.0"
