"""Secrets changed everywhere they are used, without printing: the new one in, proved, then the old one forgotten."""
