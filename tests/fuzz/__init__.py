"""Hostile run folders against every command that reads one: `make fuzz`."""
