"""Tests of `registry.schema`."""
