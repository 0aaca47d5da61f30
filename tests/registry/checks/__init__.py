"""Tests of `registry.checks`."""
