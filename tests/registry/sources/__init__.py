"""Tests of `registry.sources`."""
