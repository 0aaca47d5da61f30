"""Finds, describes and repairs what is inconsistent in a workspace."""
