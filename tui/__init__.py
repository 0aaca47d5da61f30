"""muster: monitors the agents on a host, with a monitor or with commands."""

__version__ = "0.1.0"
