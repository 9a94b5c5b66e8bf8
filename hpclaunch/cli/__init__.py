"""The command line: one file a command that parses, calls and prints; no decisions."""
