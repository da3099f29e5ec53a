"""How fast, and how large: ratios of two measurements on one machine, never seconds. Needs the lab of `tests/lab`."""
