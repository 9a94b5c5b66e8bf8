"""What runs on a node: the sidecar, its counters and its GPU devices."""
