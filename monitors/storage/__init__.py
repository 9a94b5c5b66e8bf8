"""A node's samples on disk: compact blocks, and JSON lines for the newest minutes."""
