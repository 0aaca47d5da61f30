"""Tests with random kills, power cuts and crowds, which take long."""
