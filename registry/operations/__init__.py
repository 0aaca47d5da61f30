"""Changes of a registry that the orchestrator, its agents and muster make."""
