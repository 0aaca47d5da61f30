"""Tests of `registry.agent_output`."""
