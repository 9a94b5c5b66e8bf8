"""Faults of every kind, done for real to a training on several nodes; `make faults` runs them."""
