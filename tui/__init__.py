"""muster: shows and controls the AI agents on a host, in a terminal monitor or with commands."""

__version__ = "0.1.0"
