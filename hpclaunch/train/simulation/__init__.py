"""A training step's peak memory on tensors without values."""
