"""Kills writers at every moment of a commit, and checks the files."""
