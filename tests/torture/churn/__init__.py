"""Orchestrators and agents that work on one workspace at random, and kills; see `__main__`."""
