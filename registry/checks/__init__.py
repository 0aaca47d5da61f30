"""Consistency checks of a registry, and their repair."""
