"""Stands in for the agent in the tests of `host`; packed under its name."""
