"""Finds, describes and repairs the inconsistencies in a workspace."""
