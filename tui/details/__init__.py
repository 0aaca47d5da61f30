"""What the panel and `muster show` tell of one agent."""
