"""Tests of `registry.audit`."""
