"""Orchestrators and agents at random work on one workspace, some killed; see `__main__`."""
