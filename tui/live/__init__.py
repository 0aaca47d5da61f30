"""Collects a roll call from registries and tmux, and delivers a new one after each change."""
