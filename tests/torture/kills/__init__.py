"""Faults that are made on purpose: writers killed at every moment of a commit."""
