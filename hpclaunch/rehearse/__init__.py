"""A fine-tune in small, before hours in a queue: every stage of it, forced stop and resume too."""
