"""The text formats a node's record is kept in: a module each, writing and reading together."""
